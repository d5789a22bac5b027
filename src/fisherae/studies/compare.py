"""Any trained runs side by side: the figures, the tables, one report."""

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup
from rich.console import Console
from rich.table import Table

from fisherae.data.corruptions import CORRUPTIONS
from fisherae.errors import InputError
from fisherae.evaluation import figures
from fisherae.evaluation.report import Report, robustness_table
from fisherae.evaluation.robustness import Measure
from fisherae.recipes.config import from_dict
from fisherae.studies import pages
from fisherae.studies.items import generation, point_rows
from fisherae.studies.measures import Protocol
from fisherae.studies.models import essence
from fisherae.studies.study import Study
from fisherae.training.run import RunDirectory

__all__ = ["compare_runs", "comparison", "grouped", "report_runs"]

TITLES: dict[Measure, str] = {
    "bce": "Binary cross-entropy per pixel, lower is better",
    "mse": "Squared error per pixel, lower is better",
    "nmi": "NMI of k-means on the latents, higher is better",
    "probe": "Accuracy of a linear probe on the latents, higher is better",
}
PAIRS = 12
SAMPLES = 64
STRENGTH = 2  # which of a corruption's levels the pictures show


def grouped(runs: Sequence[Path]) -> dict[str, list[Path]]:
    """Runs by model: those that differ by their seed alone are one model.

    A model is named after its recipe, or, where several share the recipe, its first directory.

    Raises:
        InputError: if a path is no run, or stands twice.
    """
    if len({run.resolve() for run in runs}) < len(runs):
        raise InputError("a run is named twice: name each once")
    groups: dict[str, list[Path]] = {}
    names: dict[str, str] = {}
    for run in runs:
        recipe = from_dict(RunDirectory.open(run).config)
        parts = {**essence(recipe), "training.seed": None}
        kind = str(sorted(parts.items()))
        groups.setdefault(kind, []).append(run)
        names.setdefault(kind, recipe.name)
    shared = list(names.values())
    return {
        name if name and shared.count(name) == 1 else groups[kind][0].as_posix(): groups[kind]
        for kind, name in names.items()
    }


def compare_runs(
    runs: Sequence[Path],
    out: Path,
    images: int | None,
    samples: int,
    extractor: str | None,
    seed: int,
    command: str,
) -> Path:
    """Measures runs alike, prints the errors, and writes `out/report.html` and its figures.

    Raises:
        InputError: if a run is not finished, or the runs or arguments do not go together.
    """
    if out.is_file():
        raise InputError(f"--out {out} is a file: give a directory")
    study = _study(runs, out, images, samples, extractor, seed)
    report = Report("Comparison of " + ", ".join(study.models)).command(command)
    page = comparison(report, study, out).write(out / "report.html")
    _print_errors(study)
    return page


def report_runs(
    runs: Sequence[Path], out: Path, images: int | None, seed: int, command: str
) -> Path:
    """Writes one page of runs.

    Raises:
        InputError: if a run is not finished, or the runs do not go together.
    """
    study = _study(runs, out.parent, images, 0, None, seed)
    return comparison(Report(", ".join(study.models)).command(command), study).write(out)


def _study(
    runs: Sequence[Path],
    cache: Path,
    images: int | None,
    samples: int,
    extractor: str | None,
    seed: int,
) -> Study:
    if not runs:
        raise InputError("no runs: name at least one run directory")
    if (images is not None and images < 1) or samples < 0 or seed < 0:
        raise InputError(
            f"images {images}, samples {samples}, seed {seed}: give at least one image, and the "
            "others ≥ 0"
        )
    protocol = Protocol(test_images=images, samples=samples, extractor=extractor, seed=seed)
    study = Study(grouped(runs), protocol, cache)
    if samples:
        _ = study.first.extractor  # before the measurements that take long
    return study


def _print_errors(study: Study) -> None:
    for corruption in ("noise", "mask"):
        results = study.points(corruption)
        measure: Measure = "mse" if next(iter(results.values()))[0][0].bce is None else "bce"
        header, rows = robustness_table(results, measure)
        table = Table(title=f"{measure.upper()} by {CORRUPTIONS[corruption].label}")
        for column in header:
            name = column == "model"
            table.add_column(column, justify="left" if name else "right", no_wrap=name)
        for row in rows:
            table.add_row(*(Markup(cell).striptags() for cell in row))
        Console().print(table)


def comparison(report: Report, study: Study, out: Path | None = None) -> Report:
    """Adds everything that is measured of a study, and writes the items to `out`, if there is one.

    Error and clusters under every corruption of the paper, reconstructions, samples, FID if the
    protocol draws samples for it, training curves, the runs and the protocol.
    """
    for corruption in ("noise", "mask"):
        _add_corruption(report, study, corruption, out)
    _add_samples(report, study, out)
    report.heading("Training").text(
        "Each loss term by itself. Objectives have different terms: compare within one only."
    )
    for label, runs in study.models.items():
        metrics = RunDirectory.open(runs[0].run).metrics()
        report.figure(figures.training_curves({label: metrics}), f"Loss terms of {label}.")
    pages.add_runs(report, {"": study})
    pages.add_protocol(report, study)
    return report


def _add_corruption(report: Report, study: Study, corruption: str, out: Path | None) -> None:
    label = CORRUPTIONS[corruption].label
    results = study.points(corruption)
    first = next(iter(results.values()))[0][0]
    report.heading(label.capitalize())
    for measure, title in TITLES.items():
        if getattr(first, measure) is None:
            continue
        curves = figures.error_curves(results, measure, label)
        report.figure(curves, f"{title}.").table(*robustness_table(results, measure))
        if out is not None:
            figures.save_figure(curves, out / f"{corruption}-{measure}")
    if out is not None:
        figures.write_csv(out / f"{corruption}.csv", point_rows(study, corruption))
    level = study.first.levels(corruption)[STRENGTH]
    for strength in (None, level):
        clean = study.first.images[:PAIRS]
        corrupted = None if strength is None else study.shown(level, PAIRS)
        answers = study.reconstructions(strength, PAIRS)
        caption = f"{label.capitalize()} {level.level:g}." if strength else "Clean test images."
        if strength or corruption == "noise":
            pictures = figures.reconstructions(clean, answers, corrupted, study.first.value_range)
            report.figure(pictures, caption)


def _add_samples(report: Report, study: Study, out: Path | None) -> None:
    images = study.samples(SAMPLES)
    report.heading("Samples").text(
        "Each model's prior is refitted to its aggregated posterior: the exponential family of eq. "
        "(13), in closed form, sampled exactly."
    ).figure(figures.samples(images, study.first.value_range), "Decoded samples.")
    if study.protocol.samples:
        drawn = generation(study)
        report.figure(drawn.figure, drawn.caption)
        for table in drawn.tables:
            report.table(table.header, table.rows, table.caption)
        if out is not None:
            figures.save_figure(drawn.figure, out / "generation")
            figures.write_csv(out / "generation.csv", drawn.rows)
