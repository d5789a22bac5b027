"""Why masking is harder for the Fisher AE than noise: it takes contrast away.

Compares, on the same test images, masked ones, images that are only dimmed as much (x̃ = (1 − ν) x),
and masked ones that are brightened again (x̃ / (1 − ν)).

    python results/masking.py RUNS OUT [--data mnist|digits] [--budget cpu] [--seeds 0 1 2]
                                             RUNS holds the runs of `reproduce`, or gets them;
                                             writes OUT/summary.md and OUT/errors.csv
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import Tensor
from torch.nn.functional import binary_cross_entropy

from fisherae.autoencoder import decoded
from fisherae.cli import exit_code
from fisherae.data.corruptions import Mask
from fisherae.evaluation.figures import write_csv
from fisherae.evaluation.report import Cell
from fisherae.evaluation.robustness import corrupt, posterior_means
from fisherae.files import write_atomically
from fisherae.studies.config import Budget
from fisherae.studies.measures import Measures, Protocol
from fisherae.studies.models import LABELS, run_of, train_once
from fisherae.studies.options import (
    add_places,
    add_trainings,
    budget_of,
    study_command,
    study_parser,
)
from fisherae.studies.pages import begun

MODELS = ("fisher", "vae")
IMAGES = 2_000  # of the test
FRACTIONS = (0.0, 0.4, 0.6, 0.8)
INPUTS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "masked": lambda x, fraction: corrupt(x, Mask(fraction)),
    "dimmed": lambda x, fraction: (1 - fraction) * x,
    "masked, brightened": lambda x, fraction: corrupt(x, Mask(fraction)) / (1 - fraction),
}


def points(data: str, model: str, budget: Budget, seed: int, runs: Path) -> list[dict[str, Any]]:
    """What one training, which is made unless it has been, does with every input: BCE to the clean
    images, and how long the latents are beside those of the clean images."""
    run = train_once(*run_of(data, model, "default", budget, seed, runs))
    images = min(IMAGES, budget.test_images or IMAGES)
    protocol = Protocol.of(budget, test_images=images)
    one = Measures(run, protocol, runs / "extractors")
    length = posterior_means(one.model, one.images).norm(dim=1).mean()
    rows = []
    for what, change in INPUTS.items():
        for fraction in FRACTIONS:
            z = posterior_means(one.model, change(one.images, fraction))
            shown = decoded(one.model, z).clamp(1e-6, 1 - 1e-6)
            rows.append(
                {"model": LABELS[model], "seed": seed, "input": what, "fraction": fraction}
                | {"bce": binary_cross_entropy(shown, one.images).item()}
                | {"latent_length": (z.norm(dim=1).mean() / length).item()}
            )
    return rows


def main() -> None:
    parser = study_parser(__doc__)
    add_places(parser)
    add_trainings(parser)
    options = parser.parse_args()
    budget = budget_of(options, options.data)
    rows = [
        row
        for model in MODELS
        for seed in budget.seeds
        for row in points(options.data, model, budget, seed, options.runs)
    ]
    write_csv(options.out / "errors.csv", rows)
    report = begun(f"Why masking is harder than noise, on {options.data}", study_command()).text(
        f"{budget.in_words()}, {budget.seeds_in_words()}; means over them. At most "
        f"{IMAGES:,} test images. BCE to the clean image, and in brackets the length of the "
        "latents as a share of that of the clean image's."
    )
    report.table(*table(rows))
    report.text(
        " ".join(in_words(rows, LABELS[model]) for model in MODELS)
        + " What the Fisher AE's stability term asks for is an encoder that is nearly linear in "
        "its input: one whose latents shrink with the contrast."
    )
    write_atomically(options.out / "summary.md", report.markdown())


def table(rows: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[Cell]]]:
    lines: list[list[Cell]] = [
        [LABELS[model], what, *(cell(rows, LABELS[model], what, nu) for nu in FRACTIONS)]
        for model in MODELS
        for what in INPUTS
    ]
    return ["model", "input", *(f"ν = {fraction:g}" for fraction in FRACTIONS)], lines


def cell(rows: Sequence[dict[str, Any]], model: str, what: str, fraction: float) -> str:
    return "{:.3f} ({:.2f})".format(*means(rows, model, what, fraction))


def in_words(rows: Sequence[dict[str, Any]], model: str) -> str:
    """What of the harm of masking the loss of contrast explains, where most is masked."""
    fraction = max(FRACTIONS)
    clean, _ = means(rows, model, "masked", min(FRACTIONS))
    bce, length = zip(*(means(rows, model, what, fraction) for what in INPUTS), strict=True)
    harm, dimmed, left = (one - clean for one in bce)
    return (
        f"At ν = {fraction:g}, masking costs the {model} a BCE of {harm:.3f}. Dimming alone does "
        f"{dimmed / harm:.0%} of that, brightening the masked digit heals {1 - left / harm:.0%}, "
        f"and the latents of masked digits keep {length[0]:.0%} of their length."
    )


def means(
    rows: Sequence[dict[str, Any]], model: str, what: str, fraction: float
) -> tuple[float, float]:
    """BCE and length of the latents, over the seeds."""
    key = (model, what, fraction)
    own = [row for row in rows if (row["model"], row["input"], row["fraction"]) == key]
    return fmean(row["bce"] for row in own), fmean(row["latent_length"] for row in own)


if __name__ == "__main__":
    sys.exit(exit_code(main))
