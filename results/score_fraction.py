"""What it costs in quality to estimate the Fisher objective's score terms on a part of each batch.

Trains the default Fisher AE with the score terms on all, a half, a quarter and an eighth of the
batch, and measures each under noise. What was trained or measured before is taken as it is.

    python results/score_fraction.py RUNS OUT [--data mnist|digits] [--budget cpu] [--seeds 0 1 2]
                                             RUNS holds the runs of `reproduce`, and gets these;
                                             writes OUT/summary.md, its figures and its numbers
"""

import dataclasses
import sys
from pathlib import Path
from typing import NamedTuple

from fisherae.cli import exit_code
from fisherae.evaluation.figures import error_curves, write_csv
from fisherae.evaluation.report import Cell
from fisherae.evaluation.robustness import HIGHER_IS_BETTER, Measure, RobustnessPoint, over_runs
from fisherae.files import write_atomically
from fisherae.recipes.config import FisherRecipe
from fisherae.recipes.named import recipe
from fisherae.studies.config import Budget
from fisherae.studies.measures import Measures, Protocol
from fisherae.studies.models import run_of, train_once
from fisherae.studies.options import (
    add_places,
    add_trainings,
    budget_of,
    study_command,
    study_parser,
)
from fisherae.studies.pages import add_figure, begun

FRACTIONS = (1.0, 0.5, 0.25, 0.125)
MEASURES: tuple[Measure, ...] = ("bce", "nmi")
Points = dict[float, list[list[RobustnessPoint]]]  # by fraction, seed and level


class Summary(NamedTuple):
    level: float
    mean: float
    std: float | None  # of one seed there is none
    change: float
    counts: bool


def measured(
    data: str, budget: Budget, runs: Path, fraction: float, seed: int
) -> list[RobustnessPoint]:
    """The points under noise of one training, which is made unless it has been."""
    chosen = run_of(data, "fisher", "default", budget, seed, runs, score_fraction=fraction)
    protocol = Protocol.of(budget, map_images=0)
    return Measures(train_once(*chosen), protocol, runs / "extractors").points("noise")


def summary(points: Points, fraction: float, measure: Measure) -> list[Summary]:
    """Level, mean, standard deviation, how far the mean is from the full objective's, and whether
    by more than the two standard deviations together."""
    return [
        Summary(
            level,
            mean,
            std,
            mean / full - 1,
            None not in (std, full_std) and abs(mean - full) > (std or 0) + (full_std or 0),
        )
        for (level, mean, std), (_, full, full_std) in zip(
            *(over_runs(points[part], measure) for part in (fraction, 1.0)), strict=True
        )
        if mean is not None and full is not None
    ]


def label(fraction: float) -> str:
    return "the whole batch" if fraction == 1 else f"{fraction:g} of the batch"


def table(points: Points, measure: Measure) -> tuple[list[str], list[list[Cell]]]:
    """Parts of the batch down, levels of noise across."""
    header = [f"σ² = {one.level:g}" for one in summary(points, 1.0, measure)]
    rows: list[list[Cell]] = [
        [
            label(fraction),
            *(
                f"{one.mean:.4f}"
                + ("" if one.std is None else f" ± {one.std:.4f}")
                + (f" ({one.change:+.1%})" if part else "")
                for one in summary(points, fraction, measure)
            ),
        ]
        for part, fraction in enumerate(FRACTIONS)
    ]
    return ["score terms on", *header], rows


def differences(points: Points) -> tuple[list[str], list[list[Cell]]]:
    """How far each part is from the full objective where it is farthest, and where it is worst; and
    where that is more than chance."""
    rows: list[list[Cell]] = []
    for fraction in FRACTIONS[1:]:
        for measure in MEASURES:
            own = summary(points, fraction, measure)
            farthest = max(own, key=lambda one: abs(one.change))
            worst = (min if measure in HIGHER_IS_BETTER else max)(own, key=lambda one: one.change)
            rows.append(
                [
                    label(fraction),
                    measure.upper(),
                    *(f"{one.change:+.1%} at σ² = {one.level:g}" for one in (farthest, worst)),
                    ", ".join(f"{one.level:g}" for one in own if one.counts) or None,
                ]
            )
    heads = ["largest difference", "worst difference", "beyond the spreads at σ²"]
    return ["score terms on", "", *heads], rows


def main() -> None:
    parser = study_parser(__doc__)
    add_places(parser)
    add_trainings(parser)
    options = parser.parse_args()
    data, runs, out = options.data, options.runs, options.out
    budget = budget_of(options, data)
    points: Points = {fraction: [] for fraction in FRACTIONS}
    for seed in budget.seeds:
        for fraction in FRACTIONS:
            points[fraction].append(measured(data, budget, runs, fraction, seed))
    default = recipe(f"{data}-fisher")
    assert isinstance(default, FisherRecipe)
    report = begun(f"Score terms on a part of each batch, on {data}", study_command()).text(
        f"The default Fisher AE, whose recipe has them on "
        f"{label(default.objective.score_fraction)}. {budget.in_words()}, "
        f"{budget.means_in_words()}. In brackets the difference to the full objective. What a step "
        "costs: `python -m benchmarks step`."
    )
    report.table(
        *differences(points),
        "Beyond the spreads: larger than the two standard deviations over the seeds together.",
    )
    labelled = {label(fraction): own for fraction, own in points.items()}
    for measure in MEASURES:
        figure = error_curves(labelled, measure, "noise variance σ²")
        report.heading(measure.upper())
        add_figure(report, figure, out / measure, f"{measure.upper()} under noise")
        report.table(*table(points, measure))
    write_atomically(out / "summary.md", report.markdown())
    rows = [
        {"score_fraction": fraction, "seed": seed, **dataclasses.asdict(point)}
        for fraction, own in points.items()
        for seed, run in zip(budget.seeds, own, strict=True)
        for point in run
    ]
    write_csv(out / "points.csv", rows)


if __name__ == "__main__":
    sys.exit(exit_code(main))
