"""What models gain on clean images and in samples for what they lose under noise.

Trains every model of a comparison at a budget, unless it has been trained, and measures its error
on clean and on noisy images (variance 1) and the FID of its samples, the prior refitted. Stopped
and started again, it goes on where it was cut off.

    python results/pareto.py baselines digits --budget cpu
                              baselines: the Fisher AE's; variances: those of its decoder;
                              digits, mnist or celeba; writes results/pareto/BASELINES-DATA.md, .csv
                              and the figures -bce, -mse and -fid as PNG and SVG
    --runs runs/reproduce/cpu     where the runs are kept: with MNIST those of `reproduce` are used
    --seeds 0 1 2   --out DIR
"""

import argparse
import shlex
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fisherae.evaluation.figures import pareto_front, save_figure, tradeoff, write_csv
from fisherae.files import require_folder, write_atomically
from fisherae.studies.config import BUDGETS, Budget
from fisherae.studies.measures import Measures, Protocol
from fisherae.studies.models import LABELS, run_of, train_once

NOISE, PRIOR = 1.0, "refit"
# What the test shows is what these were trained for.
TOLD, OURS_TOLD = "Denoising AE, σ² = 1", "Fisher AE, σ² ≤ 1"


@dataclass(frozen=True)
class Comparison:
    """Models by label, each a recipe with fields of its objective."""

    title: str
    ours: tuple[str, ...]
    models: dict[str, tuple[str, dict[str, Any]]]
    remark: str


COMPARISONS = {
    "baselines": Comparison(
        "The Fisher AE and its baselines",
        (LABELS["fisher"], OURS_TOLD),
        {
            LABELS["fisher"]: ("fisher", {}),
            OURS_TOLD: ("fisher", {"noise": NOISE}),
            **{LABELS[model]: (model, {}) for model in ("vae", "beta-vae")},
            **{LABELS[model]: (model, {}) for model in ("gaussian-vae", "wae-gan", "wae-mmd")},
            **{LABELS[model]: (model, {}) for model in ("ae", "dae")},
            TOLD: ("dae", {"noise": NOISE}),
            **{LABELS[model]: (model, {}) for model in ("cae", "rae")},
        },
        f"{TOLD}, is trained on the noise of the test, {OURS_TOLD}, on noise of every variance up "
        "to it, and the Denoising AE on a quarter of it; all others have seen clean images only. "
        "AE, Denoising, Contractive and Regularised AE have no prior: one is fitted afterwards, as "
        "for all models here.",
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
        "Learning starts at s² = 0.1.",
    ),
}
AXES = {
    "bce": "BCE to the clean image (nats per pixel)",
    "mse": "MSE to the clean image (per pixel)",
}
Results = dict[str, list[dict[str, Any]]]


def main(words: Sequence[str]) -> None:
    options = parsed(words)
    comparison = COMPARISONS[options.comparison]
    budget = BUDGETS[options.budget][options.data]
    runs = options.runs or Path("runs/pareto") / options.budget
    require_folder(options.out)
    rows = [
        {"model": label, **measured(options.data, *model, budget, seed, runs)}
        for seed in options.seeds or budget.seeds
        for label, model in comparison.models.items()
    ]
    stem = options.out / f"{options.comparison}-{options.data}"
    write_csv(Path(f"{stem}.csv"), rows)
    about = (
        f"`{shlex.join(['python', 'results/pareto.py', *words])}`: {described(budget)}, seeds "
        f"{', '.join(str(seed) for seed in options.seeds or budget.seeds)}; means ± standard "
        f"deviations over the seeds. Noise of variance {NOISE:g}, not clipped."
    )
    results = {label: [row for row in rows if row["model"] == label] for label in comparison.models}
    title = f"# {comparison.title}, on {options.data}"
    paragraphs = [title, about, *report(comparison, results, stem)]
    write_atomically(f"{stem}.md", "\n\n".join(paragraphs) + "\n")


def parsed(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("comparison", choices=COMPARISONS)
    parser.add_argument("data", choices=BUDGETS["cpu"])
    parser.add_argument("--budget", choices=BUDGETS, default="smoke")
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--out", type=Path, default=Path("results/pareto"))
    return parser.parse_args(words)


def report(comparison: Comparison, results: Results, stem: Path) -> list[str]:
    """Draws the figures; the paragraphs that show and explain them."""
    first = results[comparison.ours[0]][0]
    fid = next(name for name in first if name.startswith("fid["))
    errors = [measure for measure in AXES if f"{measure}_clean" in first]
    for measure in errors:
        vertical = f"{measure}_clean", f"{AXES[measure]}, clean"
        draw(results, comparison.ours, measure, vertical, stem)
    draw(results, comparison.ours, errors[0], (fid, f"{fid}, prior refitted"), stem)
    pictures = [f"![{name}]({stem.name}-{name}.png)" for name in (*errors, "fid")]
    return [
        *pictures,
        table(results, comparison.ours),
        *in_words(comparison, results, errors[0], fid),
    ]


def measured(
    data: str, model: str, fields: dict[str, Any], budget: Budget, seed: int, runs: Path
) -> dict[str, Any]:
    """What one training, which is made unless it has been, comes to."""
    run = train_once(*run_of(data, model, "default", budget, seed, runs, **fields))
    protocol = Protocol(
        test_images=budget.test_images,
        noise=(0.0, NOISE),
        samples=budget.samples,
        extractor=budget.extractor,
    )
    measures = Measures(run, protocol, runs / "extractors")
    clean, noisy = measures.points("noise")
    score = measures.generation(PRIOR)[PRIOR][0]
    row: dict[str, Any] = {"seed": seed}
    for measure in ("bce", "mse", "nmi", "probe"):
        if getattr(clean, measure) is not None:
            row[f"{measure}_clean"] = getattr(clean, measure)
            row[f"{measure}_noisy"] = getattr(noisy, measure)
    return {**row, score.metric: score.value, "real_against_real": score.floor}


def draw(
    results: Results, ours: Sequence[str], measure: str, vertical: tuple[str, str], stem: Path
) -> None:
    """Error under noise against another measure."""
    column, ylabel = vertical
    points = {
        label: [(row[f"{measure}_noisy"], row[column]) for row in rows]
        for label, rows in results.items()
    }
    xlabel = f"{AXES[measure]}, at noise variance {NOISE:g}"
    name = "fid" if column.startswith("fid[") else measure
    save_figure(tradeoff(points, xlabel, ylabel, ours), Path(f"{stem}-{name}"))


def in_words(comparison: Comparison, results: Results, error: str, fid: str) -> list[str]:
    """Who is on the front, and where each of ours wins and loses."""
    points = {
        label: (mean(rows, f"{error}_noisy"), mean(rows, f"{error}_clean"))
        for label, rows in results.items()
    }
    front = pareto_front(points)
    several = any(len(rows) > 1 for rows in results.values())
    paragraphs = [
        f"On the Pareto front of {error.upper()} on noisy and on clean images: "
        f"{'; '.join(front)}. {comparison.remark}",
        "Below, a difference counts where it is larger than the two standard deviations together."
        if several
        else "One seed only, so that every difference counts.",
    ]
    for ours in comparison.ours:
        others = [label for label in results if label != ours]
        paragraphs.append(f"## Where “{ours}” wins and loses")
        paragraphs.append(
            "\n".join(f"- {against(ours, label, results, error, fid)}" for label in others)
        )
    return paragraphs


def table(results: Results, ours: Sequence[str]) -> str:
    first = results[ours[0]][0]
    columns = [name for name in first if name not in ("model", "seed")]
    lines = ["| model | " + " | ".join(name.replace("_", " ") for name in columns) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for label, rows in results.items():
        name = f"**{label}**" if label in ours else label
        lines.append(f"| {name} | " + " | ".join(cell(rows, column) for column in columns) + " |")
    return "\n".join(lines)


def against(us: str, label: str, results: Results, error: str, fid: str) -> str:
    """One other model in words."""
    compared = {
        f"{error.upper()} under noise": f"{error}_noisy",
        f"{error.upper()} on clean images": f"{error}_clean",
        fid: fid,
    }
    outcomes: dict[str, list[str]] = {"wins": [], "loses": [], "is level": []}
    for words, column in compared.items():
        ours, theirs = mean(results[us], column), mean(results[label], column)
        values = f"{number(ours)} against {number(theirs)}"
        numbers = f"{words} ({values}, {ours / theirs - 1:+.1%})"
        outcomes[outcome(results[us], results[label], column)].append(numbers)
    said = "; ".join(f"{how} in {', '.join(where)}" for how, where in outcomes.items() if where)
    return f"against **{label}** it {said}."


def outcome(ours: list[dict[str, Any]], theirs: list[dict[str, Any]], column: str) -> str:
    """Whether ours is smaller, by more than the spreads of both."""
    difference = mean(theirs, column) - mean(ours, column)
    if abs(difference) <= std(ours, column) + std(theirs, column):
        return "is level"
    return "wins" if difference > 0 else "loses"


def mean(rows: list[dict[str, Any]], column: str) -> float:
    return statistics.fmean(row[column] for row in rows)


def std(rows: list[dict[str, Any]], column: str) -> float:
    return statistics.stdev(row[column] for row in rows) if len(rows) > 1 else 0.0


def cell(rows: list[dict[str, Any]], column: str) -> str:
    spread = f" ± {std(rows, column):.2g}" if len(rows) > 1 else ""
    return number(mean(rows, column)) + spread


def number(value: float) -> str:
    """Three digits."""
    return f"{value:#.3g}".rstrip(".")


def described(budget: Budget) -> str:
    images = "all images" if budget.images is None else f"{budget.images:,} images"
    much = "" if budget.conclusive else ", too little to tell anything"
    return f"{images}, {budget.epochs} epochs{much}"


if __name__ == "__main__":
    main(sys.argv[1:])
