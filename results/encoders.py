r"""What noise does to an encoder, by its activation.

Noise of variance v scatters a latent μ(x + √v e) and shifts its mean, the more the more μ bends: by
½ v tr ∇²μ in small noise. The stability term sees the slope at clean images and limits the scatter,
not the shift. Here both are measured, with the errors they lead to, for several activations of the
encoder, of the Fisher AE, of one that sees noise, and of the VAE. What was trained or measured
before is taken as it is.

    python results/encoders.py RUNS OUT [--data mnist|digits] [--network small|mlp|mnist]
                               [--epochs 20] [--budget cpu] [--seeds 0 1 2]
                                             RUNS gets the runs; writes OUT/DATA-NETWORK.md, its
                                             figures and its numbers; on MNIST an hour a seed
"""

import dataclasses
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Generator, Tensor

from fisherae.autoencoder import Autoencoder
from fisherae.cli import exit_code
from fisherae.data.corruptions import GaussianNoise
from fisherae.evaluation.figures import error_curves, tradeoff, write_csv
from fisherae.evaluation.report import Cell, Report, spread
from fisherae.evaluation.robustness import RobustnessPoint, posterior_means
from fisherae.files import write_atomically
from fisherae.recipes.watch import active_latents
from fisherae.studies.config import Budget
from fisherae.studies.measures import Measures, Protocol
from fisherae.studies.models import run_of, train_once
from fisherae.studies.options import (
    NETWORKS,
    add_places,
    add_trainings,
    budget_of,
    study_command,
    study_parser,
)
from fisherae.studies.pages import add_figure, begun

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "Fisher AE": ("fisher", {"variance": 0.1, "learn_variance": False}),
    "Denoising Fisher AE": ("fisher-denoising", {}),
    "VAE": ("vae", {}),
}
ACTIVATIONS = {
    "asinh": "asinh",
    "asinh-silu": "asinh-SiLU",
    "tanh": "tanh",
    "silu": "SiLU",
}
NOISE = (0.0, 0.05, 0.2, 0.5, 1.0)
SHOWN = (0.0, 0.2, 1.0)
MOVED_BY = 0.2  # noise at which shift and scatter are told
DRAWS = 8
IMAGES = 1_000


class Movement(NamedTuple):
    """Of the latents under noise: root mean squares, relative to the spread of clean latents."""

    mean_shift: float
    scatter: float


class Trained(NamedTuple):
    """One training, under noise: errors and clusters, and how far its latents move; and how many
    latents it uses at all."""

    points: dict[float, RobustnessPoint]
    moved: dict[float, Movement]
    used: int


Found = dict[str, list[Trained]]  # of one model, by activation; a training for every seed


def movement(model: Autoencoder, images: Tensor, variance: float, draws: int = DRAWS) -> Movement:
    """How far noise moves the mean of a latent, and how far single draws lie from that mean."""
    noise, generator = GaussianNoise(variance), Generator().manual_seed(0)
    clean = posterior_means(model, images)
    noisy = torch.stack([posterior_means(model, noise(images, generator)) for _ in range(draws)])
    of_clean = (clean - clean.mean(0)).square().sum(1).mean()
    scatter = noisy.var(0).sum(1).mean()
    # The mean over few draws scatters as well, by its share.
    shift = (noisy.mean(0) - clean).square().sum(1).mean() - scatter / draws
    return Movement(*((part.clamp_min(0) / of_clean).sqrt().item() for part in (shift, scatter)))


def measured(
    data: str, network: str, model: str, activation: str, budget: Budget, seed: int, runs: Path
) -> Trained:
    """One training, which is made unless it has been."""
    name, fields = MODELS[model]
    chosen = {"network": network, "encoder_activation": activation, **fields}
    root = runs / f"epochs-{budget.epochs}"
    run = train_once(*run_of(data, name, "default", budget, seed, root, **chosen))
    own = Measures(run, Protocol.of(budget, map_images=0), runs / "extractors")
    some = own.images[:IMAGES]
    return Trained(
        {point.level: point for point in own.points("noise")},
        {level: movement(own.model, some, level) for level in NOISE[1:]},
        int(active_latents(own.model, some).sum()),
    )


def rows_of(found: Found) -> list[list[Cell]]:
    """Activations down; clean and noisy errors and clusters, and movements across."""
    return [
        [
            name,
            *(
                spread([getattr(run.points[level], measure) for run in runs])
                for measure in ("bce", "nmi")
                for level in SHOWN
            ),
            *_spread_movement(runs),
        ]
        for name, runs in found.items()
    ]


def _moved(runs: list[Trained]) -> list[Movement]:
    """Of the trainings that use a latent."""
    return [run.moved[MOVED_BY] for run in runs if run.used]


def _spread_movement(runs: list[Trained]) -> list[str]:
    return [spread(values) for values in zip(*_moved(runs), strict=True)] or ["–", "–"]


def collapses(found: Found) -> str:
    """Of one model: how many trainings ended at the mean image, by activation."""
    failed = {name: sum(not run.used for run in runs) for name, runs in found.items()}
    told = [f"{failed[name]} of {len(found[name])} with {name}" for name in found if failed[name]]
    return f" Trainings that never left the mean image: {', '.join(told)}." if told else ""


def conclusion(found: Found) -> str:
    """Of one model: under the largest noise the best activation, and the worst."""
    noisy = {
        name: fmean(run.points[NOISE[-1]].bce or math.nan for run in runs)
        for name, runs in found.items()
    }
    best, worst = min(noisy, key=lambda name: noisy[name]), max(noisy, key=lambda name: noisy[name])
    first, second = (_spread_movement(found[of])[0] for of in (best, worst))
    return (
        f"The BCE at σ² = {NOISE[-1]:g} is least with {best}, {noisy[best]:.3f}, and most with "
        f"{worst}, {noisy[worst]:.3f}. Noise of σ² = {MOVED_BY:g} shifts the latents of the one by "
        f"{first} of their spread, of the other by {second}.{collapses(found)}"
    )


def curves(found: Found, highest: float) -> Figure:
    """Of one model: errors under noise, by activation."""
    points = {name: [list(run.points.values()) for run in runs] for name, runs in found.items()}
    figure = error_curves(points, "bce", "noise variance σ²")
    figure.axes[0].set_ylim(0, highest)  # the same for every model
    return figure


def movements(found: Mapping[str, Found]) -> Figure:
    """Of all models: how far latents shift, and how far they scatter."""
    of_what = f"of the latents at σ² = {MOVED_BY:g}, share of their spread"
    return tradeoff(
        {
            f"{model}, {name}": [(moved.scatter, moved.mean_shift) for moved in _moved(runs)]
            for model, own in found.items()
            for name, runs in own.items()
            if _moved(runs)
        },
        f"scatter {of_what}",
        f"shift {of_what}",
        [f"{model}, {name}" for model, own in found.items() if "Fisher" in model for name in own],
    )


def page(data: str, network: str, budget: Budget, found: Mapping[str, Found], out: Path) -> Report:
    report = begun(f"What noise does to an encoder, by its activation, on {data}", study_command())
    report.text(
        f"{budget.in_words()}, {NETWORKS[network]}, {budget.seeds_in_words()}. The decoder of the "
        "Fisher AE that sees clean images has s² = 0.1, fixed."
    )

    def draw(figure: Figure, kind: str, alt: str) -> None:
        add_figure(report, figure, out / f"{data}-{network}-{kind}", alt)

    if any(_moved(runs) for own in found.values() for runs in own.values()):
        draw(movements(found), "movement", "how far noise shifts latents, and scatters them")
    header = ["encoder"] + [f"{name}, σ² = {level:g}" for name in ("BCE", "NMI") for level in SHOWN]
    highest = 1.1 * max(
        run.points[NOISE[-1]].bce or 0
        for own in found.values()
        for runs in own.values()
        for run in runs
    )
    for model, own in found.items():
        report.heading(model).text(conclusion(own))
        kind = model.lower().replace(" ", "-")
        draw(curves(own, highest), kind, f"BCE of the {model} against noise variance")
        report.table([*header, "shift", "scatter"], rows_of(own))
    return report.text(
        "Shift: how far noise moves the mean of a latent, over draws of the noise; scatter: how "
        f"far single draws lie from that mean; both at σ² = {MOVED_BY:g}, root mean squares "
        "relative to the spread of clean latents, of trainings that use a latent. Numbers are "
        "means and standard deviations over the seeds."
    )


def main() -> None:
    parser = study_parser(__doc__)
    add_places(parser)
    parser.add_argument("--network", choices=NETWORKS, default="small")
    parser.add_argument("--epochs", type=int, default=20)
    add_trainings(parser)
    options = parser.parse_args()
    data, network = options.data, options.network
    budget = budget_of(options, data)
    budget = dataclasses.replace(budget, epochs=options.epochs, noise=NOISE)
    found: dict[str, Found] = {
        model: {
            written: [
                measured(data, network, model, activation, budget, seed, options.runs)
                for seed in budget.seeds
            ]
            for activation, written in ACTIVATIONS.items()
        }
        for model in MODELS
    }
    report = page(data, network, budget, found, options.out)
    write_atomically(options.out / f"{data}-{network}.md", report.markdown())
    rows = [
        {"model": model, "activation": name, "seed": seed, "latents_used": run.used}
        | dataclasses.asdict(point)
        | (run.moved[level]._asdict() if level in run.moved else {})
        for model, own in found.items()
        for name, runs_of_all in own.items()
        for seed, run in zip(budget.seeds, runs_of_all, strict=True)
        for level, point in run.points.items()
    ]
    write_csv(options.out / f"{data}-{network}.csv", rows)


if __name__ == "__main__":
    sys.exit(exit_code(main))
