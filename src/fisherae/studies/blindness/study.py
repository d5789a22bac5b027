"""The whole study: what is computed at each budget, kept, and written."""

import dataclasses
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fisherae.evaluation.figures import save_figure, write_csv
from fisherae.files import write_atomically
from fisherae.progress import tracked
from fisherae.studies.blindness import autoencoders, encoders, gaps, weights
from fisherae.studies.blindness.figures import (
    density_figure,
    encoder_figure,
    gap_figure,
    method_figure,
    weight_figure,
)
from fisherae.studies.blindness.report import Results, written
from fisherae.studies.blindness.trainings import METHODS
from fisherae.studies.blindness.truths import TRUTHS
from fisherae.studies.kept import Kept

__all__ = ["BUDGETS", "Budget", "run"]

WRONG = 0.75
"""The weight of the wrong model where the separation grows: the other way round."""
DECODER_VARIANCE = 0.1
BIMODAL = (8.0, 0.001)
"""Separation and weight of the left mode of the posterior that is to be inferred."""


@dataclass(frozen=True)
class Budget:
    """How much of everything.

    Attributes:
        seeds: of data sets, first weights and minibatches.
        steps: of each training.
        sets, points: data sets of each seed, and the points of each, of one weight.
        separations: of two Gaussians, and of three islands.
        barriers: between core and ring, in nats.
        core_sets, core_points: likewise.
        accuracy: of the auto-encoders' measures.
    """

    seeds: int = 3
    steps: int = 1_200
    sets: int = 30
    points: int = 1_000
    separations: tuple[float, ...] = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0)
    barriers: tuple[float, ...] = (1.0, 3.0, 5.0, 7.0, 9.0)
    core_sets: int = 10
    core_points: int = 2_000
    accuracy: autoencoders.Accuracy = field(default_factory=autoencoders.Accuracy)


BUDGETS = {
    "smoke": Budget(1, 10, 2, 100, (2.0, 8.0), (1.0, 5.0), 1, 200, autoencoders.Accuracy(100, 21)),
    "cpu": Budget(),
}


def run(out: Path, budget: str, folder: Path, command: str, progress: bool = True) -> None:
    """Computes what is not in the folder, and writes OUT/summary.md, its tables and its figures."""
    settings = BUDGETS[budget]
    folder = folder / budget
    kept = Kept(folder / "measured", {"budget": dataclasses.asdict(settings)})
    results = _results(settings, folder, kept, progress)
    for part in dataclasses.fields(Results):
        rows = [dataclasses.asdict(row) for row in getattr(results, part.name)]
        write_csv(out / f"{part.name}.csv", rows)
    pictures = _pictures(settings, folder, kept)
    figures = {
        "weights": weight_figure(results.curves, results.growing, results.needed, results.errors),
        "gaps": gap_figure(results.cores, results.islands),
        "encoder": encoder_figure(results.encoded, results.inferred),
        "densities": density_figure(pictures, results.fits),
        "methods": method_figure(results.fits, autoencoders.DISCONNECTED),
    }
    for what, figure in figures.items():
        save_figure(figure, out / what)
    text = written(results, command, settings.seeds, settings.steps)
    write_atomically(out / "summary.md", text)


def _results(settings: Budget, folder: Path, kept: Kept, progress: bool) -> Results:
    seeds = range(settings.seeds)

    def rows(name: str, kind: type[Any], measure: Iterable[Any]) -> list[Any]:
        """What a generator yields, unless it has been kept: it is not even begun then."""
        return kept.rows(name, {}, kind, lambda: list(measure))

    return Results(
        curves=_curves(),
        growing=_growing(),
        needed=rows("needed", weights.Needed, map(weights.needed, range(1, 13))),
        errors=rows(
            "errors",
            weights.Errors,
            weights.estimation_errors(settings.separations, seeds, settings.sets, settings.points),
        ),
        cores=rows(
            "cores",
            gaps.CoreMass,
            gaps.core_masses(settings.barriers, seeds, settings.core_sets, settings.core_points),
        ),
        islands=rows(
            "islands",
            gaps.IslandError,
            gaps.island_errors(settings.separations, seeds, settings.core_points),
        ),
        encoded=[
            encoders.best_encoder(w, DECODER_VARIANCE)
            for w in torch.linspace(0.05, 1.6, 40).tolist()
        ],
        inferred=[encoders.inferred(*BIMODAL, mean) for mean in torch.linspace(-7, 7, 71).tolist()],
        fits=[
            fit
            for method in tracked(METHODS, "auto-encoders", progress)
            for fit in _fits(method, settings, folder, kept)
        ],
    )


def _fits(method: str, settings: Budget, folder: Path, kept: Kept) -> list[autoencoders.Fit]:
    seeds, accuracy = range(settings.seeds), settings.accuracy
    measure = partial(autoencoders.fits, folder, method, settings.steps, seeds, accuracy)
    return kept.rows("fits", {"method": method}, autoencoders.Fit, measure)


def _curves() -> list[weights.Divergences]:
    models = torch.linspace(0.01, 0.99, 56).tolist()
    return list(itertools.starmap(weights.divergences, itertools.product((2.0, 4.0, 8.0), models)))


def _growing() -> list[weights.Divergences]:
    return [weights.divergences(d, WRONG) for d in torch.linspace(0.5, 12, 24).tolist()]


def _pictures(settings: Budget, folder: Path, kept: Kept) -> dict[str, dict[str, Tensor]]:
    seeds, cells = range(settings.seeds), settings.accuracy.cells
    pictures = {"truth": {truth: autoencoders.true_density(truth, cells) for truth in TRUTHS}}
    for method in autoencoders.COMPARED:
        measure = partial(autoencoders.densities, folder, method, settings.steps, seeds, cells)
        pictures[method] = kept.tensors("densities", {"method": method}, measure)
    return pictures
