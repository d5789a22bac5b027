"""Robustness in the wild: the corruption suite and latent attacks, on the embedded digits.

Trains VAE, Fisher AE, denoising Fisher AE and WAE-GAN, and measures each under the fifteen
corruptions of the suite and under perturbations that are made against it. What was trained or
measured before is taken as it is.

    python results/wild.py RUNS OUT [--budget cpu] [--seeds 0 1 2]
                                             RUNS holds the runs, or gets them; writes
                                             OUT/summary.md, its figures and its numbers
"""

import dataclasses
import math
import statistics
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from fisherae.cli import exit_code
from fisherae.data.corruptions import Corruption, GaussianNoise
from fisherae.evaluation.adversarial import LatentAttack, Norm
from fisherae.evaluation.figures import error_curves, write_csv
from fisherae.evaluation.figures.files import render
from fisherae.evaluation.report import spread
from fisherae.evaluation.robustness import Measure, RobustnessPoint, robustness
from fisherae.evaluation.suite import suite_score
from fisherae.files import write_atomically
from fisherae.recipes.evaluate import linear_probe
from fisherae.studies.measures import Measures, Protocol
from fisherae.studies.models import LABELS, run_of, train_once
from fisherae.studies.options import add_trainings, budget_of, study_command, study_parser
from fisherae.studies.pages import add_tables, begun
from fisherae.studies.study import Study
from fisherae.studies.suite import suite, suite_points

MODELS = ("vae", "fisher", "fisher-denoising", "wae-gan")
REFERENCE, *OURS, _ = (LABELS[model] for model in MODELS)
SHARES = (0.0, 0.05, 0.1, 0.2)  # of the pixel range, for each component
STEPS, RESTARTS = 50, 1


def threats(one: Measures, share: float) -> dict[str, Corruption]:
    """Perturbations of a share of the range for each component, by name."""
    root = math.sqrt(one.images[0].numel())

    def attack(norm: Norm, radius: float) -> LatentAttack:
        return LatentAttack(radius, one.model, norm=norm, steps=STEPS, restarts=RESTARTS)

    return {
        "random": GaussianNoise(share**2),
        "l2": attack("l2", share * root),
        "linf": attack("linf", share),
    }


def attacked(one: Measures) -> dict[str, list[RobustnessPoint]]:
    """The points of each kind of perturbation, at every share."""
    by_share = [threats(one, share) for share in SHARES]
    probe = linear_probe(one.model, one.recipe)
    return {
        kind: [
            dataclasses.replace(point, level=share)
            for share, point in zip(
                SHARES,
                robustness(
                    one.model, one.images, [own[kind] for own in by_share], one.test.labels,
                    one.value_range, probe=probe,
                ),
                strict=True,
            )
        ]
        for kind in by_share[0]
    }  # fmt: skip


def in_words(study: Study, label: str, measure: Measure, what: str) -> str:
    """How a model fares beside the reference."""
    results = suite_points(study)
    scores = [suite_score(points, results[REFERENCE], measure) for points in results[label]]
    relative = {
        name: statistics.fmean(score.relative[name] for score in scores)
        for name in scores[0].relative
    }
    order = sorted(relative, key=lambda name: relative[name])
    better = sum(value < 1 for value in relative.values())
    return (
        f"{what} of the {label} is smaller than the {REFERENCE}'s under {better} of the "
        f"{len(relative)} corruptions: {relative[order[0]]:.2f} of it under {order[0]}, "
        f"{relative[order[-1]]:.2f} under {order[-1]}, "
        f"{statistics.fmean(score.mce for score in scores):.2f} on average."
    )


def saved(figure: Figure, path: Path) -> str:
    write_atomically(path, render(figure, "png"))
    return path.name


def attack_table(points: dict[str, list[dict[str, list[RobustnessPoint]]]]) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for kind in next(iter(points.values()))[0]:
        for index, share in enumerate(SHARES[1:], 1):
            for model, runs in points.items():
                at = [run[kind][index] for run in runs]
                measures = ([getattr(p, m) for p in at] for m in ("shift", "bce", "probe"))
                rows.append([kind, f"{share:g}", model, *map(spread, measures)])
    return rows


def main() -> None:
    parser = study_parser(__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("out", type=Path)
    add_trainings(parser)
    options = parser.parse_args()
    budget = budget_of(options, "digits")
    out: Path = options.out
    runs = {
        LABELS[model]: [
            train_once(*run_of("digits", model, "default", budget, seed, options.runs))
            for seed in budget.seeds
        ]
        for model in MODELS
    }
    study = Study(runs, Protocol.of(budget, map_images=0), options.runs)
    drawn = suite(study)
    write_csv(out / "suite.csv", next(iter(drawn.values())).rows)
    report = begun("Robustness in the wild", study_command())
    report.text(
        f"The default recipes of the embedded digits. {budget.in_words()}, "
        f"{budget.seeds_in_words()}; {len(study.first.images)} test images. The encoder "
        f"of the {OURS[-1]} has seen Gaussian noise, of variances up to 1. "
        "The corruptions are those of docs/robustness.md, five severities each. The one score is "
        "mCE: for each corruption the error summed over the severities, divided by the VAE's, and "
        "the mean of that over the corruptions; below 1 is better than the VAE."
    )
    for label in OURS:
        report.text(in_words(study, label, "bce", "The reconstruction's BCE"))
        report.text(in_words(study, label, "probe", "The probe's error on the latents"))
    for name, one in drawn.items():
        report.text(f"![{one.caption}]({saved(one.figure, out / f'{name}.png')})")
        add_tables(report, one)
    points = {model: [attacked(one) for one in own] for model, own in study.models.items()}
    write_csv(
        out / "attack.csv",
        [
            {"model": model, "seed": seed, "perturbation": kind, **dataclasses.asdict(point)}
            for model, own in points.items()
            for seed, run in zip(budget.seeds, own, strict=True)
            for kind, at in run.items()
            for point in at
        ],
    )
    report.heading("Attacks on the latent").text(
        "For each image the perturbation that moves the posterior mean farthest (projected "
        f"gradient ascent, {STEPS} steps, {RESTARTS} restart), within a radius of so large a share "
        "of the pixel range for each component; l2 radii are that times √64. `random` is Gaussian "
        "noise of about the length of l2. Shift: how far the latents move, relative to their "
        "spread."
    )
    for kind in ("random", "l2"):
        shown = {model: [run[kind] for run in own] for model, own in points.items()}
        figure = error_curves(shown, "bce", f"perturbation per component, {kind}")
        name = saved(figure, out / f"attack-{kind}.png")
        report.text(f"![BCE under perturbations, {kind}]({name})")
    header = ["perturbation", "share", "model", "shift", "BCE", "probe accuracy"]
    report.table(header, attack_table(points), "Mean ± standard deviation over seeds.")
    write_atomically(out / "summary.md", report.markdown())


if __name__ == "__main__":
    sys.exit(exit_code(main))
