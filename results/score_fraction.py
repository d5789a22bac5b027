"""What it costs in quality to estimate the Fisher objective's score terms on a part of each batch.

Trains MNIST's Fisher AE with the score terms on all, a half, a quarter and an eighth of the batch,
and measures each under noise. What was trained or measured before is taken as it is.

    python results/score_fraction.py RUNS STEM [--seeds 0 1 2]
                                             RUNS holds the runs of `reproduce`, and gets these;
                                             writes STEM.md, STEM.csv and a figure of each measure
"""

import argparse
import dataclasses
from pathlib import Path

from fisherae.evaluation.figures import error_curves, save_figure, write_csv
from fisherae.evaluation.robustness import Measure, RobustnessPoint, over_runs
from fisherae.files import write_atomically
from fisherae.recipes.named import recipe
from fisherae.studies.config import BUDGETS, budgeted
from fisherae.studies.measures import Measures, Protocol
from fisherae.studies.models import train_once

FRACTIONS = (1.0, 0.5, 0.25, 0.125)
MEASURES: tuple[Measure, ...] = ("bce", "nmi")
NAME, BUDGET = "mnist-fisher", BUDGETS["cpu"]["mnist"]


def measured(runs: Path, fraction: float, seed: int) -> list[RobustnessPoint]:
    """The points under noise of one training, which is made unless it has been."""
    default = recipe(NAME).objective.score_fraction
    name = NAME if fraction == default else f"{NAME}-score-{fraction:g}"
    chosen = budgeted(NAME, "default", BUDGET, seed)
    objective = dataclasses.replace(chosen.objective, score_fraction=fraction)
    run = train_once(runs / name / f"seed-{seed}", dataclasses.replace(chosen, objective=objective))
    return Measures(run, Protocol(), runs / "extractors").points("noise")


def table(points: dict[float, list[list[RobustnessPoint]]], measure: Measure) -> str:
    """Means and standard deviations, and how far a mean is from the full objective's."""
    summaries = {fraction: over_runs(own, measure) for fraction, own in points.items()}
    full = {level: mean for level, mean, _ in summaries[1.0]}
    lines = [
        f"| {measure.upper()}, score terms on | "
        + " | ".join(f"σ² = {level:g}" for level in full)
        + " |",
        "|---" * (len(full) + 1) + "|",
    ]
    for fraction, summary in summaries.items():
        cells = [
            f"{mean:.4f} ± {std or 0:.4f} ({mean / full[level] - 1:+.1%})"
            for level, mean, std in summary
        ]
        lines.append(f"| {fraction:g} of the batch | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", type=Path)
    parser.add_argument("stem", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(BUDGET.seeds))
    options = parser.parse_args()
    points: dict[float, list[list[RobustnessPoint]]] = {fraction: [] for fraction in FRACTIONS}
    for seed in options.seeds:
        for fraction in FRACTIONS:
            points[fraction].append(measured(options.runs, fraction, seed))
    seeds = ", ".join(map(str, options.seeds))
    command = f"python results/score_fraction.py {options.runs} {options.stem} --seeds {seeds}"
    paragraphs = [
        "# Score terms on a part of each batch",
        f"`{command.replace(',', '')}`: the default Fisher AE on MNIST at the cpu budget "
        f"({BUDGET.images:,} images, {BUDGET.epochs} epochs), seeds {seeds}; mean and standard "
        "deviation over them, in brackets the difference to the full objective. What a step costs: "
        "`python -m benchmarks step`.",
        *(table(points, measure) for measure in MEASURES),
    ]
    write_atomically(options.stem.with_suffix(".md"), "\n\n".join(paragraphs) + "\n")
    rows = [
        {"score_fraction": fraction, "seed": seed, **dataclasses.asdict(point)}
        for fraction, own in points.items()
        for seed, run in zip(options.seeds, own, strict=True)
        for point in run
    ]
    write_csv(options.stem.with_suffix(".csv"), rows)
    labelled = {f"{fraction:g} of the batch": own for fraction, own in points.items()}
    for measure in MEASURES:
        figure = error_curves(labelled, measure, "noise variance σ²")
        save_figure(figure, options.stem.with_name(f"{options.stem.name}-{measure}"))


if __name__ == "__main__":
    main()
