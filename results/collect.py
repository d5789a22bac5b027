"""Gathers what results/mnist.sh trained: one page of tables, one figure, the data behind both.

python results/collect.py RUNS STEM      writes STEM.md, STEM.csv and figures STEM-*
"""

import copy
import dataclasses
import sys
from pathlib import Path

import torch
from torch import Generator

from fisherae.autoencoder import Autoencoder
from fisherae.data.corruptions import GaussianNoise
from fisherae.data.images import to_float
from fisherae.evaluation import figures
from fisherae.evaluation.figures.files import render
from fisherae.evaluation.robustness import RobustnessPoint, corrupt
from fisherae.files import read_json, write_atomically
from fisherae.recipes.build import load_data
from fisherae.recipes.config import Recipe
from fisherae.recipes.evaluate import CORRUPTIONS, refit
from fisherae.recipes.run import latents_of, load_run
from fisherae.training.run import RunDirectory

MODELS = {
    "fisher": "Fisher AE",
    "vae": "VAE",
    "vae-batch-norm": "VAE, batch norm",
    "fisher-paper": "Fisher AE, paper preset",
    "vae-paper": "VAE, paper preset",
    "wae-gan": "WAE-GAN",
}
SHOWN_NOISE = 0.5


def main(runs: Path, stem: Path) -> None:
    present = {name: runs / key for key, name in MODELS.items() if (runs / key / "model").is_dir()}
    sections = ["# MNIST at a CPU budget", *protocol(present)]
    rows = []
    for corruption in CORRUPTIONS:
        results = {name: points(run, corruption) for name, run in present.items()}
        rows += [
            {"model": name, "corruption": corruption, **dataclasses.asdict(point)}
            for name, own in results.items()
            for point in own
        ]
        sections += tables(results, corruption)
        curves = {name: [own] for name, own in results.items()}
        for measure in ("bce", "nmi"):
            figure = figures.error_curves(curves, measure, CORRUPTIONS[corruption].label)
            figures.save_figure(figure, Path(f"{stem}-{corruption}-{measure}"))
        if corruption == "noise":
            sections += ratios(results)
    figures.write_csv(Path(f"{stem}.csv"), rows)
    pictures(present, stem)
    sections += [
        f"![{what}]({stem.name}-{what}.png)"
        for what in ("noise-bce", "noise-nmi", "mask-bce", "reconstructions", "samples")
    ]
    write_atomically(Path(f"{stem}.md"), "\n\n".join(sections) + "\n")


def points(run: Path, corruption: str) -> list[RobustnessPoint]:
    written = read_json(run / f"robustness-{corruption}.json")
    return [RobustnessPoint(**point) for point in written["points"]]


def protocol(present: dict[str, Path]) -> list[str]:
    runs = {name: RunDirectory.open(path) for name, path in present.items()}
    first = next(iter(runs.values()))
    environment = read_json(first.path / "environment.json")
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    config = first.config
    lines = [
        "| model | command | seconds | images/s | s² | clean MSE, running / batch statistics |",
        "|---|---|---|---|---|---|",
    ]
    for name, run in runs.items():
        last = run.metrics()[-1]
        images = max(line.get("images", 0) for line in run.metrics())
        command = " ".join(read_json(run.path / "environment.json")["command"][1:])
        model, recipe = load_run(run.path)
        variance = model.likelihood.variance.item() if run.config["family"] == "fisher" else None
        cells = [
            name,
            f"`fisherae {command}`",
            f"{last['seconds']:.0f}",
            f"{images / last['seconds']:.0f}",
            "–" if variance is None else f"{variance:.4f}",
            " / ".join(f"{error:.4f}" for error in decoder_statistics(model, recipe)),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    data, training = config["data"], config["training"]
    return [
        "Written by `results/mnist.sh` (which see for the commands) and `results/collect.py`.",
        f"MNIST, {data['limit']:,} training images, {training['epochs']} epochs, batch "
        f"{training['batch_size']}, one seed ({training['seed']}). Errors are those of the 10,000 "
        "test images against the clean image, mean per pixel; latents are posterior means, "
        "networks in eval mode, noise is not clipped; NMI is that of k-means on the latents.",
        f"{versions}; {environment['platform']}, {environment['processor']}, "
        f"{environment['threads']} thread per run, two runs at a time on a shared machine: seconds "
        "are an order of magnitude only.",
        "\n".join(lines),
        "The last column tells whether the decoder's batch normalisation has kept up with the "
        "latents: where its running statistics (which all other numbers here use) do much worse "
        "than those of a batch of 1,024 test images, training ended while the latents still moved.",
    ]


@torch.no_grad()
def decoder_statistics(model: Autoencoder, recipe: Recipe) -> list[float]:
    """Clean error with the decoder's running statistics, and with those of the batch."""
    x = to_float(load_data(recipe, "test").images[:1024], recipe.model.value_range)
    running = (model.reconstruct(x) - x).square().mean().item()
    z = model.encode(x).mean
    in_training = copy.deepcopy(model.decoder).train()
    return [running, (in_training(z) - x).square().mean().item()]


def tables(results: dict[str, list[RobustnessPoint]], corruption: str) -> list[str]:
    first = next(iter(results.values()))
    label = CORRUPTIONS[corruption].label
    header = f"| {label} | " + " | ".join(f"{point.level:g}" for point in first) + " |"
    rule = "|---" * (len(first) + 1) + "|"
    out = [f"## {label[0].upper()}{label[1:]}"]
    for measure, title in (("bce", "BCE, lower is better"), ("nmi", "NMI, higher is better")):
        best = min if measure == "bce" else max
        winners = [
            best(getattr(own[i], measure) for own in results.values()) for i in range(len(first))
        ]
        body = [
            f"| {name} | "
            + " | ".join(
                f"**{value:.3f}**" if value == winner else f"{value:.3f}"
                for value, winner in zip((getattr(p, measure) for p in own), winners, strict=True)
            )
            + " |"
            for name, own in results.items()
        ]
        out += [f"{title}:", "\n".join([header, rule, *body])]
    return out


def ratios(results: dict[str, list[RobustnessPoint]]) -> list[str]:
    """How the default Fisher auto-encoder stands to the VAEs, clean and at the strongest noise."""
    vaes = {name: own for name, own in results.items() if name.startswith("VAE")}
    if "Fisher AE" not in results or "VAE" not in vaes:
        return []
    fisher, same = results["Fisher AE"], vaes["VAE"]
    best = [min(own[i].bce for own in vaes.values()) for i in (0, -1)]
    return [
        f"The default Fisher AE's BCE at σ² = {fisher[-1].level:g} is"
        f" {fisher[-1].bce / same[-1].bce:.3f} of the same-network VAE's and"
        f" {fisher[-1].bce / best[1]:.3f} of the best VAE's there ({len(vaes)} encoders and"
        f" settings); on clean images {fisher[0].bce / same[0].bce:.3f} and"
        f" {fisher[0].bce / best[0]:.3f}."
    ]


@torch.no_grad()
def pictures(present: dict[str, Path], stem: Path) -> None:
    loaded = {name: load_run(path) for name, path in present.items()}
    recipe = next(iter(loaded.values()))[1]
    x = to_float(load_data(recipe, "test").images[:24], recipe.model.value_range)
    noisy = corrupt(x, GaussianNoise(SHOWN_NOISE))
    answers = {name: model.reconstruct(noisy) for name, (model, _) in loaded.items()}
    figure = figures.reconstructions(x, answers, noisy)
    write_atomically(f"{stem}-reconstructions.png", render(figure, "png"))
    images = {}
    for name, (model, _) in loaded.items():
        refit(model, latents_of(present[name]))
        images[name] = model.sample(64, generator=Generator().manual_seed(0))
    write_atomically(f"{stem}-samples.png", render(figures.samples(images), "png"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
