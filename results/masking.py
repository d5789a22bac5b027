"""Why masking is harder for the Fisher AE than noise: it takes contrast away.

Compares, on the same test images, masked ones, images that are only dimmed as much (x̃ = (1 − ν) x),
and masked ones that are brightened again (x̃ / (1 − ν)).

    python results/masking.py RUNS OUT       RUNS holds mnist-fisher/ and mnist-vae/ of `reproduce`;
                                             writes OUT/summary.md and OUT/errors.csv
"""

import sys
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from fisherae.autoencoder import Autoencoder
from fisherae.data.corruptions import Mask
from fisherae.data.images import to_float
from fisherae.evaluation.figures import write_csv
from fisherae.evaluation.robustness import corrupt
from fisherae.files import write_atomically
from fisherae.recipes.build import load_data
from fisherae.recipes.run import load_run
from fisherae.studies.pages import begun

MODELS = {"Fisher AE": "mnist-fisher", "VAE": "mnist-vae"}
IMAGES = 2_000
FRACTIONS = (0.4, 0.6, 0.8)
INPUTS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "masked": lambda x, fraction: corrupt(x, Mask(fraction)),
    "dimmed": lambda x, fraction: (1 - fraction) * x,
    "masked, brightened": lambda x, fraction: corrupt(x, Mask(fraction)) / (1 - fraction),
}


@torch.no_grad()
def measure(model: Autoencoder, x: Tensor, shown: Tensor) -> tuple[float, float]:
    """BCE to the clean images, and how long the latents are beside those of the clean images."""
    z, clean = (model.encode(images).mean for images in (shown, x))
    decoded = model.decode(z).mean.clamp(1e-6, 1 - 1e-6)
    bce = torch.nn.functional.binary_cross_entropy(decoded, x).item()
    return bce, (z.norm(dim=1).mean() / clean.norm(dim=1).mean()).item()


def main(runs: Path, out: Path) -> None:
    rows: list[dict[str, Any]] = []
    for name, folder in MODELS.items():
        for run in sorted((runs / folder).glob("seed-*")):
            if not (run / "model").is_dir():
                continue
            model, recipe = load_run(run)
            images = load_data(recipe, "test", limit=IMAGES).images
            x = to_float(images, recipe.model.value_range)
            for what, change in INPUTS.items():
                for fraction in FRACTIONS:
                    bce, length = measure(model, x, change(x, fraction))
                    rows.append(
                        {"model": name, "run": run.name, "input": what, "fraction": fraction,
                         "bce": bce, "latent_length": length}
                    )  # fmt: skip
    write_csv(out / "errors.csv", rows)
    command = f"python results/masking.py {runs} {out}"
    report = begun("Why masking is harder than noise", command).text(
        f"{IMAGES:,} test images, mean over {len({row['run'] for row in rows})} seed(s). BCE to "
        "the clean image, and in brackets the length of the latents as a share of that of the "
        "clean image's."
    )
    report.table(
        ["model", "input", *(f"ν = {fraction:g}" for fraction in FRACTIONS)],
        [
            [name, what, *(cell(rows, name, what, fraction) for fraction in FRACTIONS)]
            for name in MODELS
            for what in INPUTS
        ],
    )
    report.text(
        "A masked digit has lost contrast before anything else: dimming it without masking does "
        "nearly the same harm, and brightening a masked digit heals most of it, for both models. "
        "The stability term makes the Fisher AE's encoder nearly linear in its input, so that its "
        "latents shrink with the contrast; the VAE's encoder saturates, and keeps most of their "
        "length."
    )
    write_atomically(out / "summary.md", report.markdown())


def cell(rows: list[dict[str, Any]], model: str, shown: str, fraction: float) -> str:
    own = [row for row in rows if (row["model"], row["input"], row["fraction"])
           == (model, shown, fraction)]  # fmt: skip
    bce, length = (fmean(row[key] for row in own) for key in ("bce", "latent_length"))
    return f"{bce:.3f} ({length:.2f})"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
