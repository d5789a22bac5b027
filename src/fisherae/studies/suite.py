"""The corruption suite: every model of a study under every corruption, and one score each."""

import dataclasses

from fisherae.data.corruptions import SUITE
from fisherae.evaluation import figures
from fisherae.evaluation.report import Cell, spread
from fisherae.evaluation.robustness import Measure, RobustnessPoint
from fisherae.evaluation.suite import SuiteScore, suite_score
from fisherae.studies.items import Drawn, Table
from fisherae.studies.study import Study

__all__ = ["suite", "suite_points"]

TITLES: dict[Measure, str] = {
    "bce": "BCE of the reconstruction to the clean image",
    "mse": "MSE of the reconstruction to the clean image",
    "probe": "Error of a linear probe on the latents",
}


def suite_points(study: Study) -> dict[str, list[dict[str, list[RobustnessPoint]]]]:
    """By model, for each seed, the points of every corruption of the suite."""
    return {
        label: [{name: one.points(name) for name in SUITE} for one in runs]
        for label, runs in study.models.items()
    }


def suite(study: Study) -> dict[str, Drawn]:
    """Map and curves of the reconstruction and, with labels, of the linear probe; in the tables the
    scores relative to the study's first model."""
    results = suite_points(study)
    first = next(iter(results.values()))
    rows = [
        {"model": model, "seed": one.seed, "corruption": name, "severity": severity}
        | dataclasses.asdict(point)
        for model, runs in study.models.items()
        for one, points in zip(runs, results[model], strict=True)
        for name, own in points.items()
        for severity, point in enumerate(own)
    ]
    point = first[0][SUITE[0]][0]
    measures: list[Measure] = ["mse" if point.bce is None else "bce"]
    measures += ["probe"] if point.probe is not None else []
    drawn = {}
    for measure in measures:
        scores = {
            model: [suite_score(points, first, measure) for points in runs]
            for model, runs in results.items()
        }
        label = f"{TITLES[measure]}, relative to {next(iter(results))}"
        seeds = "; mean ± standard deviation over seeds" if len(first) > 1 else ""
        table = Table(*score_table(scores), f"{label}{seeds}.")
        caption = f"{label}: blue is less error."
        drawn[f"{measure}-map"] = Drawn(figures.suite_map(scores, label), caption, rows, [table])
        curves = figures.suite_curves(results, measure)
        drawn[measure] = Drawn(curves, f"{TITLES[measure]}, by severity.", rows)
    return drawn


def score_table(scores: dict[str, list[SuiteScore]]) -> tuple[list[str], list[list[Cell]]]:
    """Models across; down the errors, the one score, and the relative error of each corruption."""
    rows: list[list[Cell]] = [
        ["clean error", *(spread([run.clean for run in runs]) for runs in scores.values())],
        [
            "corrupted error",
            *(spread([run.corrupted for run in runs]) for runs in scores.values()),
        ],
        ["mCE", *(spread([run.mce for run in runs]) for runs in scores.values())],
    ]
    for name in next(iter(scores.values()))[0].relative:
        rows.append(
            [name, *(spread([run.relative[name] for run in runs]) for runs in scores.values())]
        )
    return ["", *scores], rows
