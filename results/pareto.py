"""What models gain on clean images and in samples for what they lose under noise.

Trains every model of a comparison at a budget, unless it has been trained, and measures its error
on clean and on noisy images (variance 1) and the FID of its samples, the prior refitted. Stopped
and started again, it goes on where it was cut off.

    python results/pareto.py baselines digits
                              baselines: the Fisher AE's; variances: those of its decoder;
                              digits, mnist or celeba; writes results/pareto/BASELINES-DATA.md, .csv
                              and the figures -bce, -mse and -fid as PNG and SVG
    --models VAE "Fisher AE"      only these of the comparison: on MNIST all of them take hours
    --runs DIR                where the runs are kept, runs/pareto/BUDGET by default; for MNIST
                              take runs/reproduce/cpu, where those of `reproduce` are
    --budget smoke   --seeds 0 1 2   --out DIR
"""

import argparse
import dataclasses
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from fisherae.cli import exit_code
from fisherae.errors import InputError
from fisherae.evaluation.figures import pareto_front, tradeoff, write_csv
from fisherae.evaluation.report import Cell, Report
from fisherae.evaluation.robustness import HIGHER_IS_BETTER
from fisherae.files import require_folder, write_atomically
from fisherae.studies.config import BUDGETS, Budget
from fisherae.studies.measures import Measures, Protocol
from fisherae.studies.models import LABELS, run_of, train_once
from fisherae.studies.options import add_trainings, budget_of, study_command, study_parser
from fisherae.studies.pages import add_figure, begun

NOISE, PRIOR = 1.0, "refit"
# What the test shows is what these were trained for.
TOLD, GRADED = f"Denoising AE, σ² = {NOISE:g}", f"Denoising AE, σ² ≤ {NOISE:g}"
OURS = (LABELS["fisher"], LABELS["fisher-denoising"])


@dataclass(frozen=True)
class Comparison:
    """Models by label, each a recipe with fields of its objective; the noise that some have seen
    in training."""

    title: str
    ours: tuple[str, ...]
    models: dict[str, tuple[str, dict[str, Any]]]
    seen: dict[str, str]
    remark: str


COMPARISONS = {
    "baselines": Comparison(
        "The Fisher AE and its baselines",
        OURS,
        {
            **{LABELS[model]: (model, {}) for model in ("fisher", "fisher-denoising")},
            **{LABELS[model]: (model, {}) for model in ("vae", "beta-vae")},
            **{LABELS[model]: (model, {}) for model in ("gaussian-vae", "wae-gan", "wae-mmd")},
            **{LABELS[model]: (model, {}) for model in ("ae", "dae")},
            TOLD: ("dae", {"noise": NOISE}),
            GRADED: ("dae", {"noise": NOISE, "graded": True}),
            **{LABELS[model]: (model, {}) for model in ("cae", "rae")},
        },
        {
            LABELS["fisher-denoising"]: f"variances up to {NOISE:g}, most of them small",
            LABELS["dae"]: "variance 0.25",
            TOLD: f"variance {NOISE:g}",
            GRADED: f"variances up to {NOISE:g}, most of them small",
        },
        "All others have seen clean images only. To a model without a prior one is fitted "
        "afterwards, as to all here.",
    ),
    "variances": Comparison(
        "The variance of the Fisher AE's decoder",
        ("learned",),
        {
            "learned": ("fisher", {}),
            "learned per pixel": ("fisher", {"variances": "pixel"}),
            **{
                f"s² = {variance:g}": ("fisher", {"variance": variance, "learn_variance": False})
                for variance in (1.0, 0.1, 0.01)
            },
        },
        {},
        "Learning starts at s² = 0.1.",
    ),
}
AXES = {
    "bce": "BCE to the clean image (nats per pixel)",
    "mse": "MSE to the clean image (per pixel)",
}
Rows = list[dict[str, Any]]
Results = dict[str, Rows]


def main() -> None:
    options = parsed()
    comparison = chosen(COMPARISONS[options.comparison], options.models)
    budget = budget_of(options, options.data)
    runs = options.runs or Path("runs/pareto") / options.budget
    require_folder(options.out)
    rows = [
        {"model": label, **measured(options.data, *model, budget, seed, runs)}
        for seed in budget.seeds
        for label, model in comparison.models.items()
    ]
    stem = options.out / f"{options.comparison}-{options.data}"
    write_csv(Path(f"{stem}.csv"), rows)
    report = begun(f"{comparison.title}, on {options.data}", study_command()).text(
        f"{budget.in_words()}, {budget.means_in_words()}. Noise of variance {NOISE:g}, not clipped."
    )
    results = {label: [row for row in rows if row["model"] == label] for label in comparison.models}
    add_findings(report, comparison, results, stem)
    write_atomically(f"{stem}.md", report.markdown())


def parsed() -> argparse.Namespace:
    parser = study_parser(__doc__)
    parser.add_argument("comparison", choices=COMPARISONS)
    parser.add_argument("data", choices=BUDGETS["cpu"])
    add_trainings(parser)
    parser.add_argument("--models", nargs="+", metavar="LABEL")
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--out", type=Path, default=Path("results/pareto"))
    return parser.parse_args()


def chosen(comparison: Comparison, labels: Sequence[str] | None) -> Comparison:
    """Only some of the models, one of ours among them."""
    if labels is None:
        return comparison
    if unknown := [label for label in labels if label not in comparison.models]:
        raise InputError(f"unknown model {unknown[0]!r}; known: {', '.join(comparison.models)}")
    ours = tuple(label for label in comparison.ours if label in labels)
    if not ours:
        raise InputError(f"--models needs one of ours: {', '.join(comparison.ours)}")
    models = {label: model for label, model in comparison.models.items() if label in labels}
    return dataclasses.replace(comparison, ours=ours, models=models)


def add_findings(report: Report, comparison: Comparison, results: Results, stem: Path) -> None:
    """Figures, all numbers, who is on the front, and where each of ours wins and loses."""
    first = results[comparison.ours[0]][0]
    fid = next(name for name in first if name.startswith("fid["))
    errors = [measure for measure in AXES if f"{measure}_clean" in first]
    for measure in errors:
        vertical = f"{measure}_clean", f"{AXES[measure]}, clean"
        draw(report, results, comparison.ours, measure, vertical, stem)
    draw(report, results, comparison.ours, errors[0], (fid, f"{fid}, prior refitted"), stem)
    report.table(*table(results, comparison.ours))
    report.text(in_words(comparison, results, errors[0]))
    several = any(len(rows) > 1 for rows in results.values())
    counts = (
        "A difference counts where it is larger than the two standard deviations together."
        if several
        else "One seed only, so that every difference counts."
    )
    for ours in comparison.ours:
        report.heading(f"Where “{ours}” wins and loses")
        report.table(*against(ours, results, errors[0], fid), counts)


def measured(
    data: str, model: str, fields: dict[str, Any], budget: Budget, seed: int, runs: Path
) -> dict[str, Any]:
    """What one training, which is made unless it has been, comes to."""
    run = train_once(*run_of(data, model, "default", budget, seed, runs, **fields))
    measures = Measures(run, Protocol.of(budget, noise=(0.0, NOISE)), runs / "extractors")
    clean, noisy = measures.points("noise")
    score = measures.generation(PRIOR)[PRIOR][0]
    row: dict[str, Any] = {"seed": seed}
    for measure in ("bce", "mse", "nmi", "nmi_tsne", "probe"):
        if getattr(clean, measure) is not None:
            row[f"{measure}_clean"] = getattr(clean, measure)
            row[f"{measure}_noisy"] = getattr(noisy, measure)
    return {**row, score.metric: score.value, "real_against_real": score.floor}


def draw(
    report: Report, results: Results, ours: Sequence[str], measure: str,
    vertical: tuple[str, str], stem: Path,
) -> None:  # fmt: skip
    """Error under noise against another measure."""
    column, ylabel = vertical
    points = {
        label: [(row[f"{measure}_noisy"], row[column]) for row in rows]
        for label, rows in results.items()
    }
    xlabel = f"{AXES[measure]}, at noise variance {NOISE:g}"
    name = "fid" if column.startswith("fid[") else measure
    figure = tradeoff(points, xlabel, ylabel, ours)
    add_figure(report, figure, Path(f"{stem}-{name}"), f"{ylabel}, against {xlabel}")


def in_words(comparison: Comparison, results: Results, error: str) -> str:
    """Who is on the front, and what was seen in training."""
    points = {
        label: (mean(rows, f"{error}_noisy"), mean(rows, f"{error}_clean"))
        for label, rows in results.items()
    }
    noise = [
        f"The {label} has seen noise of {noise}. "
        for label, noise in comparison.seen.items()
        if label in results
    ]
    return (
        f"On the Pareto front of {error.upper()} on noisy and on clean images: "
        f"{'; '.join(pareto_front(points))}. {''.join(noise)}{comparison.remark}"
    )


def table(results: Results, ours: Sequence[str]) -> tuple[list[str], list[list[Cell]]]:
    """All numbers: models down, measures across."""
    columns = [name for name in results[ours[0]][0] if name not in ("model", "seed")]
    rows: list[list[Cell]] = [
        [
            Markup("<strong>{}</strong>").format(label) if label in ours else label,
            *(cell(own, column) for column in columns),
        ]
        for label, own in results.items()
    ]
    return ["model", *(name.replace("_", " ") for name in columns)], rows


def against(us: str, results: Results, error: str, fid: str) -> tuple[list[str], list[list[Cell]]]:
    """Every other model beside ours."""
    compared = {
        f"{error.upper()} under noise": f"{error}_noisy",
        f"{error.upper()} on clean images": f"{error}_clean",
        "NMI under noise": "nmi_noisy",
        "NMI of t-SNE maps": "nmi_tsne_noisy",
        "probe under noise": "probe_noisy",
        fid: fid,
    }
    columns = {words: column for words, column in compared.items() if column in results[us][0]}

    def beside(theirs: Rows, column: str) -> str:
        ours, other = mean(results[us], column), mean(theirs, column)
        return (
            f"{outcome(results[us], theirs, column)}, {number(ours)} against {number(other)} "
            f"({ours / other - 1:+.1%})"
        )

    rows: list[list[Cell]] = [
        [label, *(beside(theirs, column) for column in columns.values())]
        for label, theirs in results.items()
        if label != us
    ]
    return ["against", *columns], rows


def outcome(ours: Rows, theirs: Rows, column: str) -> str:
    """Whether ours is better, by more than the spreads of both."""
    higher_is_better = column.rpartition("_")[0] in HIGHER_IS_BETTER
    gain = (mean(ours, column) - mean(theirs, column)) * (1 if higher_is_better else -1)
    if abs(gain) <= std(ours, column) + std(theirs, column):
        return "is level"
    return "wins" if gain > 0 else "loses"


def mean(rows: Rows, column: str) -> float:
    return statistics.fmean(row[column] for row in rows)


def std(rows: Rows, column: str) -> float:
    return statistics.stdev(row[column] for row in rows) if len(rows) > 1 else 0.0


def cell(rows: Rows, column: str) -> str:
    spread = f" ± {std(rows, column):.2g}" if len(rows) > 1 else ""
    return number(mean(rows, column)) + spread


def number(value: float) -> str:
    """Three digits."""
    return f"{value:#.3g}".rstrip(".")


if __name__ == "__main__":
    sys.exit(exit_code(main))
