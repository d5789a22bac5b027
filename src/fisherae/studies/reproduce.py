"""Trains what the paper's figures and tables compare, measures it, and writes a report."""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from fisherae.errors import InputError, NonFiniteError
from fisherae.evaluation import figures
from fisherae.evaluation.extractors import inception_extractor
from fisherae.evaluation.report import Report
from fisherae.files import require_folder, write_atomically, write_json
from fisherae.recipes.build import load_data
from fisherae.recipes.named import Preset, recipe
from fisherae.studies import pages
from fisherae.studies.claims import CLAIMS, NOT_MEASURABLE, Claim, Verdict
from fisherae.studies.config import BUDGETS, DATA, ITEMS, Budget, BudgetName, items_of
from fisherae.studies.items import draw
from fisherae.studies.measures import Protocol
from fisherae.studies.models import LABELS, MODELS, runs_of, train_once
from fisherae.studies.study import Study

__all__ = ["reproduce"]

# CelebA's faces may not be passed on: they are kept apart from the numbers.
FACES = "faces"
NAMES = {"mnist": "MNIST", "celeba": "CelebA"}
TABLE_MODELS = {"celeba": ("fisher", "fisher-gaussian", "vae", "wae-gan")}


def reproduce(
    names: Sequence[str],
    budget_name: BudgetName,
    presets: Sequence[Preset],
    runs: Path,
    out: Path,
    seeds: Sequence[int] | None = None,
    extractor: str | None = None,
    command: str = "",
) -> list[Path]:
    """Reproduces figures and tables; what was trained or measured before is taken as it is.

    Arguments:
        names: of the items, see `fisherae.studies.config.ITEMS`; "all" for every one.
        budget_name: smoke, cpu or paper.
        presets: of the recipes, each a study of its own models.
        runs: where the run directories are kept.
        out: gets a directory for each data set, with the report and every item as files; CelebA's
            pictures and report are in its subdirectory `faces`.
        seeds: None: those of the budget.
        extractor: of the features of CelebA's FID; None: that of the budget.
        command: that the reports name.

    Returns:
        The reports.

    Raises:
        InputError: if a name is unknown, or data or an extractor is not there.
        NonFiniteError: if a training diverges.
    """
    wanted = items_of(tuple(names))
    for folder in (runs, out):
        require_folder(folder)
    reports = []
    for data in DATA:
        items = [name for name in wanted if ITEMS[name].data == data]
        if not items:
            continue
        budget = _adapted(BUDGETS[budget_name][data], data, seeds, extractor)
        _require(data, items, budget)
        studies = {preset: _trained(data, items, preset, budget, runs) for preset in presets}
        reports.append(_write(data, items, studies, budget_name, budget, command, out / data))
    return reports


def _adapted(
    budget: Budget, data: str, seeds: Sequence[int] | None, extractor: str | None
) -> Budget:
    if extractor is not None and data == "celeba":
        budget = dataclasses.replace(budget, extractor=extractor)
    return budget.seeded(seeds)


def _require(data: str, items: Sequence[str], budget: Budget) -> None:
    """What items need, asked for before hours of training and not after."""
    tables = any(ITEMS[name].kind == "table" for name in items)
    if tables and budget.extractor == "inception":
        inception_extractor()
    classes = [name for name in items if ITEMS[name].needs_classes]
    if tables and budget.extractor == f"{data}-cnn":
        classes += [name for name in items if ITEMS[name].kind == "table"]
    if classes and load_data(recipe(f"{data}-fisher"), "test", limit=1).labels is None:
        raise InputError(f"{', '.join(classes)}: {data} has no labels here, which these need")


def _trained(data: str, items: Sequence[str], preset: Preset, budget: Budget, root: Path) -> Study:
    """The study of a preset, its models trained; seed by seed, so that one is soon complete."""
    table = any(ITEMS[name].kind == "table" for name in items)
    models = TABLE_MODELS.get(data, MODELS) if table else MODELS
    planned = runs_of(data, models, preset, budget, root)
    trained: dict[str, list[Path]] = {label: [] for label in planned}
    for own in zip(*planned.values(), strict=True):
        for label, (path, chosen) in zip(planned, own, strict=True):
            try:
                trained[label].append(train_once(path, chosen))
            except NonFiniteError as error:
                # One seed that diverges must not take the others with it.
                warnings.warn(f"{path} is left out: {error}", stacklevel=2)
    for label, paths in trained.items():
        if not paths:
            raise NonFiniteError(f"{label}, {preset} preset: every training diverged")
    return Study(trained, Protocol.of(budget), root / "extractors")


def _write(
    data: str,
    items: Sequence[str],
    studies: Mapping[Preset, Study],
    budget_name: BudgetName,
    budget: Budget,
    command: str,
    out: Path,
) -> Path:
    """The report of a study, and beside it every item as vector, bitmap and data."""
    report = Report(f"Fisher auto-encoders on {NAMES[data]}: {budget_name} budget")
    provenance = _provenance(data, budget_name, budget)
    report.text(_about(provenance, budget)).command(command)
    verdicts = _verdicts(items, studies, budget)
    if verdicts:
        _add_claims(report, verdicts)
        write_json(out / "claims.json", verdicts)
    pictures = out / FACES if data == "celeba" else out
    for name in items:
        _add_item(report, name, studies, out, pictures, provenance)
    pages.add_runs(report, studies)
    pages.add_protocol(report, next(iter(studies.values())))
    write_atomically(out / "summary.md", report.markdown())
    return report.write(pictures / "report.html")


def _provenance(data: str, budget_name: BudgetName, budget: Budget) -> str:
    """What stands on every figure."""
    images = f"{budget.images:,} training images" if budget.images else "all training images"
    return (
        f"{NAMES[data]}, {budget_name} budget: {images}, {budget.epochs} "
        f"epoch{'s' if budget.epochs > 1 else ''}, {budget.seeds_in_words()}"
    )


def _about(provenance: str, budget: Budget) -> str:
    return (
        "Elkhalil, Hasan, Ding, Farsiu and Tarokh, Fisher Auto-Encoders, AISTATS 2021: its figures "
        f"and tables. {provenance}, {budget.precision}; the paper "
        "trained on all images for 100 epochs. The default preset trains soundly, with the same "
        "networks for all models; the paper preset takes the paper's values to the letter. The "
        "paper prints its curves without numbers; its one table stands beside ours."
    )


def _verdicts(
    items: Sequence[str], studies: Mapping[Preset, Study], budget: Budget
) -> list[dict[str, str]]:
    return [
        {"item": claim.item, "claim": claim.text, "models": models, **dataclasses.asdict(verdict)}
        for claim in CLAIMS
        if claim.item in items
        for models, study in _contests(claim, studies).items()
        for verdict in [_verdict(claim, study, budget)]
    ]


def _contests(claim: Claim, studies: Mapping[Preset, Study]) -> dict[str, Study]:
    """The models that a claim is checked on: those of each preset among themselves, and the default
    Fisher AE against the rivals of every preset, for a rival may be the better for another one."""
    shown = {preset: _shown(claim.item, study) for preset, study in studies.items()}
    contests = {f"{preset} preset": study for preset, study in shown.items()}
    if claim.of_robustness and len(shown) > 1:
        contests["default Fisher AE, rivals of every preset"] = shown["default"].joined(
            {
                f"{label}, {preset} preset": runs
                for preset, study in shown.items()
                for label, runs in study.models.items()
                if preset != "default" and label != LABELS["fisher"]
            }
        )
    return contests


def _verdict(claim: Claim, study: Study, budget: Budget) -> Verdict:
    verdict = claim.check(study)
    if budget.conclusive:
        return verdict
    return Verdict(NOT_MEASURABLE, f"Trained too little to tell. {verdict.evidence}")


def _add_claims(report: Report, verdicts: list[dict[str, str]]) -> None:
    report.heading("What the paper claims").text(
        "Each claim that a number can settle. Ahead means: in the mean over the seeds, by more "
        "than its standard error. Every model's samples are those of its own prior, an exponential "
        "family refitted."
    )
    rows = [
        [verdict[key] for key in ("item", "claim", "models", "status", "evidence")]
        for verdict in verdicts
    ]
    report.table(["item", "claim", "models", "verdict", "evidence"], rows)


def _add_item(
    report: Report,
    name: str,
    studies: Mapping[Preset, Study],
    out: Path,
    pictures: Path,
    provenance: str,
) -> None:
    item = ITEMS[name]
    report.heading(f"{name.replace('-', ' ').capitalize()}: {item.title}")
    for preset, study in studies.items():
        print(f"drawing {name}, {preset} preset", flush=True)
        drawn = draw(name, _shown(name, study))
        drawn.figure.supxlabel(f"{provenance}; {preset} preset", fontsize=7, color="0.4")
        stem = name if preset == "default" else f"{name}-{preset}"
        folder = pictures if item.kind == "panels" else out
        saved = figures.save_figure(drawn.figure, folder / stem)
        figures.write_csv(out / f"{stem}.csv", drawn.rows)
        link = f"{stem}.png" if folder == out else None
        caption = f"{preset.capitalize()} preset. {drawn.caption}"
        report.figure(drawn.figure, caption, link=link, saved=saved)
        pages.add_tables(report, drawn)


def _shown(name: str, study: Study) -> Study:
    """The study as an item shows it: only the table has the Gaussian prior too."""
    return study if ITEMS[name].kind == "table" else study.of([LABELS[model] for model in MODELS])
