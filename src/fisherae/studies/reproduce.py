"""Trains what the paper's figures and tables compare, measures it, and writes a report."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from fisherae.evaluation import figures
from fisherae.evaluation.extractors import inception_extractor
from fisherae.evaluation.report import Report
from fisherae.files import write_atomically, write_json
from fisherae.recipes.named import Preset
from fisherae.studies import pages
from fisherae.studies.claims import CLAIMS, Verdict
from fisherae.studies.config import BUDGETS, DATA, ITEMS, Budget, BudgetName, items_of
from fisherae.studies.items import draw
from fisherae.studies.measures import Protocol
from fisherae.studies.models import LABELS, runs_of, train_once
from fisherae.studies.study import Study

__all__ = ["reproduce"]

MODELS = ("fisher", "vae", "wae-gan")
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
        out: gets a directory for each data set, with the report and every item as files.
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
    reports = []
    for data in DATA:
        items = [name for name in wanted if ITEMS[name].data == data]
        if not items:
            continue
        budget = _adapted(BUDGETS[budget_name][data], data, seeds, extractor)
        if budget.extractor == "inception" and any(ITEMS[name].kind == "table" for name in items):
            inception_extractor()  # before hours of training, not after
        studies = {preset: _trained(data, items, preset, budget, runs) for preset in presets}
        reports.append(_write(data, items, studies, budget_name, budget, command, out / data))
    return reports


def _adapted(
    budget: Budget, data: str, seeds: Sequence[int] | None, extractor: str | None
) -> Budget:
    if extractor is not None and data == "celeba":
        budget = dataclasses.replace(budget, extractor=extractor)
    return budget if seeds is None else dataclasses.replace(budget, seeds=tuple(seeds))


def _trained(data: str, items: Sequence[str], preset: Preset, budget: Budget, root: Path) -> Study:
    """The study of a preset, its models trained; seed by seed, so that one is soon complete."""
    table = any(ITEMS[name].kind == "table" for name in items)
    models = TABLE_MODELS.get(data, MODELS) if table else MODELS
    planned = runs_of(data, models, preset, budget, root)
    for own in zip(*planned.values(), strict=True):
        for path, recipe in own:
            train_once(path, recipe)
    protocol = Protocol(
        test_images=budget.test_images,
        map_images=budget.map_images,
        samples=budget.samples,
        svgd_steps=budget.svgd_steps,
        extractor=budget.extractor,
        noise=budget.noise,
    )
    paths = {label: [path for path, _ in own] for label, own in planned.items()}
    return Study(paths, protocol, root / "extractors")


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
    report.text(_about(data, budget_name, budget)).command(command)
    verdicts = _verdicts(items, studies, budget_name)
    if verdicts:
        _add_claims(report, verdicts)
        write_json(out / "claims.json", verdicts)
    for name in items:
        _add_item(report, name, studies, out)
    pages.add_runs(report, studies)
    pages.add_protocol(report, next(iter(studies.values())))
    write_atomically(out / "summary.md", report.markdown())
    return report.write(out / "report.html")


def _about(data: str, budget_name: BudgetName, budget: Budget) -> str:
    images = f"{budget.images:,}" if budget.images else "all"
    seeds = ", ".join(str(seed) for seed in budget.seeds)
    return (
        f"Elkhalil, Hasan, Ding, Farsiu and Tarokh, Fisher Auto-Encoders, AISTATS 2021: the "
        f"figures and tables on {NAMES[data]}, at the {budget_name} budget: {images} training "
        f"images, {budget.epochs} epochs, seeds {seeds}, {budget.precision}. The paper trained on "
        "all images for 100 epochs. The default preset trains soundly, with the same networks for "
        "all; the paper preset takes the paper's values to the letter. The paper prints its curves "
        "without numbers; its one table stands beside ours."
    )


def _verdicts(
    items: Sequence[str], studies: Mapping[Preset, Study], budget_name: BudgetName
) -> list[dict[str, str]]:
    too_cheap = Verdict(
        "not measurable at this budget", "Trained for seconds: this only shows that all runs."
    )
    return [
        {"item": claim.item, "claim": claim.text, "preset": preset, **dataclasses.asdict(verdict)}
        for claim in CLAIMS
        if claim.item in items
        for preset, study in studies.items()
        for verdict in [
            too_cheap if budget_name == "smoke" else claim.check(_shown(claim.item, study))
        ]
    ]


def _add_claims(report: Report, verdicts: list[dict[str, str]]) -> None:
    report.heading("What the paper claims").text(
        "Each claim that a number can settle, checked on the means over the seeds."
    )
    rows = [
        [verdict[key] for key in ("item", "claim", "preset", "status", "evidence")]
        for verdict in verdicts
    ]
    report.table(["item", "claim", "preset", "verdict", "evidence"], rows)


def _add_item(report: Report, name: str, studies: Mapping[Preset, Study], out: Path) -> None:
    item = ITEMS[name]
    report.heading(f"{name.replace('-', ' ').capitalize()}: {item.title}")
    for preset, study in studies.items():
        print(f"drawing {name}, {preset} preset", flush=True)
        drawn = draw(name, _shown(name, study))
        stem = out / (name if preset == "default" else f"{name}-{preset}")
        saved = figures.save_figure(drawn.figure, stem)
        figures.write_csv(Path(f"{stem}.csv"), drawn.rows)
        # CelebA's faces may not be passed on, so nothing refers to them from outside.
        passed_on = item.data != "celeba" or item.kind != "panels"
        link = f"{stem.name}.png" if passed_on else None
        caption = f"{preset.capitalize()} preset. {drawn.caption}"
        report.figure(drawn.figure, caption, link=link, saved=saved)
        for table in drawn.tables:
            report.table(table.header, table.rows, table.caption)


def _shown(name: str, study: Study) -> Study:
    """The study as an item shows it: only the table has the Gaussian prior too."""
    return study if ITEMS[name].kind == "table" else study.of([LABELS[model] for model in MODELS])
