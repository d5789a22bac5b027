"""What a longer training does to robustness, by the decoder's variance.

A learned variance s² follows the mean squared error, which training lowers; the reconstruction term
weighs the error by 1/s⁴, and the stability term is worth less and less beside it. Does the encoder
stay stable? The Fisher AE is trained for several lengths, its variance learned or fixed, beside
one that sees noise and the VAE, with fully connected networks, of which a processor trains a
hundred epochs in minutes, or others. What was trained or measured before is taken as it is.

    python results/length.py RUNS OUT [--data mnist|digits] [--network mlp|small|mnist]
                             [--encoder-activation asinh] [--epochs 1 4 20 100]
                             [--budget cpu] [--seeds 0 1 2]
                                             RUNS gets the runs; writes OUT/DATA-NETWORK.md (or
                                             OUT/DATA-NETWORK-ACTIVATION.md), its figures and its
                                             numbers; on MNIST half an hour a seed, three hours with
                                             the small convolutional networks
"""

import dataclasses
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, get_args

from matplotlib.figure import Figure

from fisherae.cli import exit_code
from fisherae.distributions import GaussianLikelihood
from fisherae.errors import InputError
from fisherae.evaluation.figures import error_curves, write_csv
from fisherae.evaluation.report import Cell, Report, spread
from fisherae.evaluation.robustness import Measure, RobustnessPoint
from fisherae.files import write_atomically
from fisherae.recipes.config import Activation
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
    "Fisher AE, s² learned": ("fisher", {}),
    "Fisher AE, s² = 0.1": ("fisher", {"variance": 0.1, "learn_variance": False}),
    "Fisher AE, s² = 1": ("fisher", {"variance": 1.0, "learn_variance": False}),
    "Denoising Fisher AE, s² learned": ("fisher-denoising", {}),
    "VAE": ("vae", {}),
}
USUAL = "silu"  # of which a page and its file say nothing
EPOCHS = (1, 4, 20, 100)
NOISE = (0.0, 0.2, 1.0)
MEASURES: tuple[Measure, ...] = ("bce", "nmi")
SHOWN: tuple[tuple[Measure, float], ...] = (("bce", 1.0), ("bce", 0.0), ("nmi", 1.0))


class Trained(NamedTuple):
    """One training: its points by noise variance, and the decoder's variance if it has one."""

    points: dict[float, RobustnessPoint]
    variance: float | None


Found = dict[str, dict[int, list[Trained]]]  # by model, epochs and seed


def measured(
    data: str, networks: dict[str, str], model: str, budget: Budget, seed: int, runs: Path
) -> Trained:
    """One training, which is made unless it has been; `networks` are fields of its model."""
    name, fields = MODELS[model]
    root = runs / f"epochs-{budget.epochs}"
    run = run_of(data, name, "default", budget, seed, root, **networks, **fields)
    own = Measures(train_once(*run), Protocol.of(budget, map_images=0), runs / "extractors")
    likelihood = own.model.likelihood
    return Trained(
        {point.level: point for point in own.points("noise")},
        likelihood.variance.mean().item() if isinstance(likelihood, GaussianLikelihood) else None,
    )


def curves(found: Found, measure: Measure, level: float) -> Figure:
    """The measure under one noise against the length of the training."""
    by_length = {
        model: [
            [
                dataclasses.replace(run.points[level], level=float(epochs))
                for epochs, run in zip(own, of_seed, strict=True)
            ]
            for of_seed in zip(*own.values(), strict=True)
        ]
        for model, own in found.items()
    }
    figure = error_curves(by_length, measure, f"epochs (noise variance σ² = {level:g})")
    lengths = list(next(iter(found.values())))
    figure.axes[0].set_xscale("log")
    figure.axes[0].set_xticks(lengths, [str(epochs) for epochs in lengths])
    figure.axes[0].minorticks_off()
    return figure


def table(found: Found) -> tuple[list[str], list[list[Cell]]]:
    """Models and lengths down, variances and measures across."""
    header = ["model", "epochs", "s²"]
    header += [f"{measure.upper()}, σ² = {level:g}" for measure in MEASURES for level in NOISE]
    rows: list[list[Cell]] = [
        [
            model,
            epochs,
            spread(s2, 4) if (s2 := [one.variance for one in runs if one.variance]) else None,
            *(
                spread([getattr(run.points[level], measure) for run in runs])
                for measure in MEASURES
                for level in NOISE
            ),
        ]
        for model, own in found.items()
        for epochs, runs in own.items()
    ]
    return header, rows


def _mean(runs: Sequence[Trained], level: float) -> float:
    """Of the BCE over the seeds."""
    return fmean(run.points[level].bce or math.nan for run in runs)


def conclusions(found: Found) -> list[str]:
    """For each model where its error under the largest noise is least, and what it is at last."""
    said = []
    for model, own in found.items():
        noisy = {epochs: _mean(runs, NOISE[-1]) for epochs, runs in own.items()}
        best, last = min(noisy, key=lambda epochs: noisy[epochs]), max(noisy)
        least = f"least after {best} epochs, {noisy[best]:.3f}"
        end = f"; after {last} it is {noisy[last]:.3f} ({noisy[last] / noisy[best] - 1:+.0%})"
        said.append(
            f"- {model}: the BCE at σ² = {NOISE[-1]:g} is {least}{end if best < last else ''}. On "
            f"clean images it is {_mean(own[last], 0.0):.3f} at last."
        )
    return said


def page(data: str, networks: dict[str, str], budget: Budget, found: Found, stem: Path) -> Report:
    report = begun(f"Robustness against the length of training, on {data}", study_command())
    images = "All images" if budget.images is None else f"{budget.images:,} images"
    activation = networks["encoder_activation"]
    report.text(
        f"{images}, {NETWORKS[networks['network']]}"
        f"{f' whose encoders have {activation}' if activation != USUAL else ''}, "
        f"{budget.means_in_words()}. The VAE's decoder is Bernoulli, without a variance s²."
    )
    report.text("\n".join(conclusions(found)))
    for measure, level in SHOWN:
        alt = f"{measure.upper()} at noise variance {level:g} against the epochs of training"
        own = stem.with_name(f"{stem.name}-{measure}-{level:g}")
        add_figure(report, curves(found, measure, level), own, alt)
    return report.table(*table(found))


def main() -> None:
    parser = study_parser(__doc__)
    add_places(parser)
    parser.add_argument("--network", choices=NETWORKS, default="mlp")
    parser.add_argument(
        "--encoder-activation",
        choices=get_args(Activation),
        default=USUAL,
        help="of all models (default: %(default)s)",
    )
    parser.add_argument("--epochs", type=int, nargs="+", default=EPOCHS)
    add_trainings(parser)
    options = parser.parse_args()
    data, lengths = options.data, sorted(set(options.epochs))
    networks = {"network": options.network, "encoder_activation": options.encoder_activation}
    if len(lengths) < 2 or lengths[0] < 1:
        raise InputError(f"epochs {lengths}: give two lengths or more, each at least 1")
    budget = dataclasses.replace(budget_of(options, data), noise=NOISE)
    found: Found = {model: {epochs: [] for epochs in lengths} for model in MODELS}
    for seed in budget.seeds:
        for epochs in lengths:
            cut = dataclasses.replace(budget, epochs=epochs)
            for model in MODELS:
                trained = measured(data, networks, model, cut, seed, options.runs)
                found[model][epochs].append(trained)
    stem = options.out / "-".join(name for name in (data, *networks.values()) if name != USUAL)
    report = page(data, networks, budget, found, stem)
    write_atomically(stem.with_name(f"{stem.name}.md"), report.markdown())
    rows = [
        {"model": model, "epochs": epochs, "seed": seed, "s2": run.variance}
        | dataclasses.asdict(point)
        for model, own in found.items()
        for epochs, runs in own.items()
        for seed, run in zip(budget.seeds, runs, strict=True)
        for point in run.points.values()
    ]
    write_csv(stem.with_name(f"{stem.name}.csv"), rows)


if __name__ == "__main__":
    sys.exit(exit_code(main))
