"""Any trained runs side by side: the figures, the tables, one report."""

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup
from rich.console import Console
from rich.table import Table

from fisherae.data.corruptions import CORRUPTIONS, Corruption
from fisherae.errors import InputError
from fisherae.evaluation import figures
from fisherae.evaluation.report import Cell, Report, robustness_table
from fisherae.evaluation.robustness import Measure
from fisherae.files import require_folder
from fisherae.recipes.latent_prior import PriorKind
from fisherae.recipes.run import recipe_of
from fisherae.studies import pages
from fisherae.studies.items import Drawn, curves, generation
from fisherae.studies.measures import Protocol
from fisherae.studies.models import essence
from fisherae.studies.study import Study
from fisherae.studies.suite import suite
from fisherae.training.config import SEEDS
from fisherae.training.run import RunDirectory

__all__ = ["compare_runs", "comparison", "grouped", "report_runs"]

TITLES: dict[Measure, str] = {
    "bce": "Binary cross-entropy per pixel",
    "mse": "Squared error per pixel",
    "nmi": "NMI of k-means on the latents",
    "probe": "Accuracy of a linear probe on the latents",
}
PAIRS = 12
SAMPLES = 64
STRENGTH = 2  # which of a corruption's levels the pictures show


def grouped(runs: Sequence[Path]) -> dict[str, list[Path]]:
    """Runs by model: those that differ by their seed alone are one model.

    A model is named after its recipe, or, where several share the recipe, its first directory.

    Raises:
        InputError: if a path is no run, stands twice, or is another's training again: the same
            model with the same seed.
    """
    if len({run.resolve() for run in runs}) < len(runs):
        raise InputError("a run is named twice: name each once")
    groups: dict[str, list[Path]] = {}
    names: dict[str, str] = {}
    trained: dict[tuple[str, int], Path] = {}
    for run in runs:
        recipe = recipe_of(run)
        parts = {**essence(recipe), "training.seed": None}
        kind = str(sorted(parts.items()))
        twin = trained.setdefault((kind, recipe.training.seed), run)
        if twin != run:
            raise InputError(
                f"{twin} and {run} are one training: the same model with seed "
                f"{recipe.training.seed}; means are over trainings that differ: name one of them"
            )
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
    with_suite: bool,
    seed: int,
    command: str,
    priors: Sequence[PriorKind] = (),
) -> Path:
    """Measures runs alike, prints the errors, and writes `out/report.html` and its figures.

    Raises:
        InputError: if a run is not finished, or the runs or arguments do not go together.
    """
    require_folder(out)
    study = _study(runs, out, images, samples, extractor, seed, priors)
    report = Report("Comparison of " + ", ".join(study.models)).command(command)
    comparison(report, study, out)
    if with_suite:
        _add_suite(report, study, out)
    page = report.write(out / "report.html")
    _print_errors(study)
    return page


def report_runs(
    runs: Sequence[Path], out: Path, images: int | None, seed: int, command: str
) -> Path:
    """Writes one page of runs.

    Raises:
        InputError: if a run is not finished, or the runs do not go together.
    """
    require_folder(out.parent)
    study = _study(runs, out.parent, images, 0, None, seed)
    return comparison(Report(", ".join(study.models)).command(command), study).write(out)


def _study(
    runs: Sequence[Path],
    cache: Path,
    images: int | None,
    samples: int,
    extractor: str | None,
    seed: int,
    priors: Sequence[PriorKind] = (),
) -> Study:
    if not runs:
        raise InputError("no runs: name at least one run directory")
    if (images is not None and images < 1) or samples < 0 or seed not in SEEDS:
        raise InputError(
            f"images {images}, samples {samples}, seed {seed}: give at least one image, samples "
            "≥ 0, and a seed ≥ 0 and < 2³²"
        )
    if 0 < samples < 4 or (samples and images is not None and images < 8):
        raise InputError(
            f"images {images}, samples {samples}: FID and KID need at least 8 images and at least "
            "4 samples; samples 0 leaves them out"
        )
    protocol = Protocol(
        test_images=images,
        samples=samples,
        extractor=extractor,
        seed=seed,
        further_priors=tuple(priors),
    )
    study = Study(grouped(runs), protocol, cache)
    if samples:
        _ = study.first.yardstick  # before the measurements that take long
    return study


def _add_suite(report: Report, study: Study, out: Path) -> None:
    """The section of the corruption suite, and its scores printed."""
    report.heading("Corruption suite").text(
        "Fifteen corruptions at five severities (docs/robustness.md). The one score of a model is "
        f"its mean corruption error relative to {next(iter(study.models))}: below 1 is better."
    )
    for name, drawn in suite(study).items():
        _add(report, drawn, out, f"suite-{name}", data="suite")
        for table in drawn.tables:
            _print_table(table.caption, table.header, table.rows)


def _print_errors(study: Study) -> None:
    for corruption in ("noise", "mask"):
        results = study.points(corruption)
        measure: Measure = "mse" if next(iter(results.values()))[0][0].bce is None else "bce"
        header, rows = robustness_table(results, measure)
        _print_table(f"{measure.upper()} by {CORRUPTIONS[corruption].label}", header, rows)


def _print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    table = Table(title=title)
    for index, column in enumerate(header):
        table.add_column(column, justify="right" if index else "left", no_wrap=not index)
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
    first = next(iter(study.points(corruption).values()))[0][0]
    report.heading(label.capitalize())
    for measure, title in TITLES.items():
        if getattr(first, measure) is not None:
            drawn = curves(study, corruption, measure, title)
            _add(report, drawn, out, f"{corruption}-{measure}", data=corruption)
    if corruption == "noise":
        _add_reconstructions(report, study, None, "Clean test images.")
    level = study.first.levels(corruption)[STRENGTH]
    _add_reconstructions(report, study, level, f"{label.capitalize()} {level.level:g}.")


def _add_reconstructions(
    report: Report, study: Study, corruption: Corruption | None, caption: str
) -> None:
    clean = study.first.images[:PAIRS]
    corrupted = None if corruption is None else study.shown(corruption, PAIRS)
    answers = study.reconstructions(corruption, PAIRS)
    pictures = figures.reconstructions(clean, answers, corrupted, study.first.value_range)
    report.figure(pictures, caption)


def _add(report: Report, drawn: Drawn, out: Path | None, name: str, data: str) -> None:
    """A figure and its tables; in `out`, if there is one, as NAME.png, NAME.svg and DATA.csv."""
    saved = None
    if out is not None:
        saved = figures.save_figure(drawn.figure, out / name)
        figures.write_csv(out / f"{data}.csv", drawn.rows)
    report.figure(drawn.figure, drawn.caption, saved=saved)
    pages.add_tables(report, drawn)


def _add_samples(report: Report, study: Study, out: Path | None) -> None:
    images = study.samples(SAMPLES)
    report.heading("Samples").text(
        "Each model's prior is refitted to its aggregated posterior: the exponential family of eq. "
        "(13), in closed form, sampled exactly."
    ).figure(figures.samples(images, study.first.value_range), "Decoded samples.")
    if study.protocol.samples:
        _add(report, generation(study), out, "generation", data="generation")
