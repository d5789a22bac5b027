"""Each figure and table of the paper, drawn from what was measured, with the data behind it."""

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from fisherae.data.corruptions import CORRUPTIONS, corruption_levels
from fisherae.evaluation import figures
from fisherae.evaluation.generation import GenerationScore
from fisherae.evaluation.report import Cell, robustness_table
from fisherae.studies.claims import SYMBOLS, Points
from fisherae.studies.config import ITEMS, Item
from fisherae.studies.study import Study

__all__ = ["PRIORS", "Drawn", "Table", "draw", "generation", "point_rows"]

SHOWN = 32  # images in a panel of reconstructions
SAMPLES = 64
PRIORS = {
    "refit": "refitted",
    "mixture": "mixture",
    "trained": "trained",
    "svgd": "trained, SVGD",
}
"""How figures and tables name the priors that a model can have after training."""
PAPER_FID = {
    "VAE": (89.1, 1.1),
    "Fisher AE, Gaussian prior": (89.1, 0.9),
    "Fisher AE": (84.7, 0.8),
    "WAE-GAN": (75.2, 1.0),
}
"""Table 1: mean and spread, of Inception's features on CelebA."""


@dataclass(frozen=True)
class Table:
    """A table of an item: header, rows and what it says."""

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str


@dataclass(frozen=True)
class Drawn:
    """A figure or table of the paper, drawn.

    Attributes:
        figure: the picture.
        caption: what it shows.
        rows: the data behind it, a row of the CSV file each.
        tables: what people read beside the picture.
    """

    figure: Figure
    caption: str
    rows: list[dict[str, Any]]
    tables: list[Table] = field(default_factory=list)


def draw(name: str, study: Study) -> Drawn:
    """Draws the item of that name; what it needs and was not measured before is measured."""
    item = ITEMS[name]
    draws: dict[str, Callable[[Item, Study], Drawn]] = {
        "curves": _curves,
        "panels": _panels,
        "maps": _maps,
        "table": _generation,
        "priors": _priors,
    }
    return draws[item.kind](item, study)


def _curves(item: Item, study: Study) -> Drawn:
    results = study.points(item.corruption)
    label = CORRUPTIONS[item.corruption].label
    better = "higher" if item.measure in ("nmi", "nmi_tsne", "probe") else "lower"
    caption = f"{item.title}. Mean over seeds; {better} is better."
    table = Table(*robustness_table(results, item.measure), f"By {label}; {better} is better.")
    return Drawn(
        figures.error_curves(results, item.measure, label), caption, point_rows(results), [table]
    )


def point_rows(results: Points) -> list[dict[str, Any]]:
    """A row for every model, run and level."""
    return [
        {"model": model, "run": run, **dataclasses.asdict(point)}
        for model, runs in results.items()
        for run, points in enumerate(runs)
        for point in points
    ]


def _panels(item: Item, study: Study) -> Drawn:
    (corruption,) = corruption_levels(item.corruption, [item.level], study.first.value_range)
    clean = study.first.images[:SHOWN]
    strength = f"{SYMBOLS[item.corruption]} = {item.level:g}"
    answers = {strength: study.reconstructions(corruption, SHOWN)}
    if item.samples:
        answers["clean"] = study.reconstructions(None, SHOWN)
    panels = {
        title: {model: figures.interleaved(clean, images) for model, images in by_model.items()}
        for title, by_model in answers.items()
    }
    if item.samples:
        panels["samples"] = study.samples(SAMPLES)
    rows = [
        {"shown": title, "model": model, "image": index, "mse": error}
        for title, by_model in answers.items()
        for model, images in by_model.items()
        for index, error in enumerate((images - clean).square().flatten(1).mean(1).tolist())
    ]
    what = {"noise": "noise of variance", "mask": "a masked fraction of"}[item.corruption]
    caption = (
        f"Test images in the odd rows, reconstructions below them: under {what} {item.level:g}"
    )
    caption += ", clean; random samples from the refitted prior." if item.samples else "."
    return Drawn(figures.paper_panels(panels, study.first.value_range), caption, rows)


def _maps(item: Item, study: Study) -> Drawn:
    by_model, labels = study.maps(), study.map_labels()
    nmi = {
        model: {_variance(point.level): point.nmi_tsne or 0.0 for point in runs[0]}
        for model, runs in study.points("noise").items()
    }
    named = {
        model: {_variance(level): points for level, points in maps.items()}
        for model, maps in by_model.items()
    }
    caption = "t-SNE maps of the posterior means of test images, by noise variance; in the corner "
    caption += "the NMI of k-means on the map."
    return Drawn(figures.tsne_maps(named, labels, nmi), caption, _map_rows(by_model, labels))


def _map_rows(maps: dict[str, dict[float, Tensor]], labels: Tensor) -> list[dict[str, Any]]:
    """A row for each image, a pair of columns for each panel."""
    rows: list[dict[str, Any]] = [
        {"image": index, "class": label} for index, label in enumerate(labels.tolist())
    ]
    for model, by_level in maps.items():
        for level, points in by_level.items():
            for row, (x, y) in zip(rows, points.tolist(), strict=True):
                row |= {f"{model} {level:g} x": round(x, 1), f"{model} {level:g} y": round(y, 1)}
    return rows


def _variance(level: float) -> str:
    return f"{SYMBOLS['noise']} = {level:g}"


def _generation(item: Item, study: Study) -> Drawn:
    return generation(study, against_paper=item.data == "celeba")


def generation(study: Study, against_paper: bool = False) -> Drawn:
    """FID and KID of every model and prior, for Table 1 beside the paper's."""
    scores = study.generation()
    rows = [
        {"model": model, "prior": prior, "run": run, **dataclasses.asdict(score)}
        for model, by_prior in scores.items()
        for prior, seeds in by_prior.items()
        for run, both in enumerate(seeds)
        for score in both
    ]
    first = next(iter(next(iter(scores.values())).values()))[0][0]
    bars = {
        model: {
            PRIORS[prior]: _summary([both[0].value for both in seeds])
            for prior, seeds in own.items()
        }
        for model, own in scores.items()
    }
    images = f"{first.images:,} samples against {first.reference_images:,} test images"
    caption = f"{first.metric}: {images}; features: {first.extractor}. Lower is better."
    if first.biased:
        caption += " Below 2,048 images it is biased upwards: compare within this table only."
    table = Table(*_generation_table(scores, against_paper), caption)
    figure = figures.generation_bars(bars, first.metric, first.floor)
    return Drawn(figure, caption, rows, [table])


def _generation_table(
    scores: dict[str, dict[str, list[list[GenerationScore]]]], against_paper: bool
) -> tuple[list[str], list[list[Cell]]]:
    fid, kid = next(iter(next(iter(scores.values())).values()))[0]
    header = ["model", "prior", fid.metric, kid.metric, f"floor of {fid.metric}"]
    rows: list[list[Cell]] = [
        [
            model,
            PRIORS[prior],
            *(_spread([both[i].value for both in seeds]) for i in (0, 1)),
            seeds[0][0].floor,
        ]
        for model, by_prior in scores.items()
        for prior, seeds in by_prior.items()
    ]
    if not against_paper:
        return header, rows
    comparable = fid.metric == "fid[inception]"
    for row in rows:
        mean, spread = PAPER_FID[str(row[0])]
        ours = float(str(row[2]).partition(" ± ")[0])
        row += [f"{mean} ± {spread}", ours - mean if comparable else None]
    return [*header, "paper, FID[Inception]", "difference"], rows


def _priors(item: Item, study: Study) -> Drawn:
    """Samples of every prior of every model, side by side."""
    draws = {
        f"{model}: {PRIORS[prior]}": runs[0].priors()[prior](SAMPLES)
        for model, runs in study.models.items()
        for prior in runs[0].priors()
    }
    rows = [
        {"samples": name, "image": index, "mean": image.mean().item()}
        for name, images in draws.items()
        for index, image in enumerate(images)
    ]
    caption = "Samples by model and prior: refitted (exponential family, in closed form), mixture "
    caption += "of Gaussians, the trained prior sampled exactly, and by SVGD as in the paper."
    return Drawn(figures.samples(draws, study.first.value_range), caption, rows)


def _summary(values: Sequence[float]) -> tuple[float, float | None]:
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def _spread(values: Sequence[float]) -> str:
    mean, std = _summary(values)
    return f"{mean:.4g}" + ("" if std is None else f" ± {std:.2g}")
