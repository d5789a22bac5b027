"""Each figure and table of the paper, drawn from what was measured, with the data behind it."""

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from fisherae.autoencoder import decoded
from fisherae.data.corruptions import CORRUPTIONS, corruption_levels
from fisherae.evaluation import figures
from fisherae.evaluation.generation import GenerationScore
from fisherae.evaluation.report import Cell, robustness_table
from fisherae.evaluation.robustness import HIGHER_IS_BETTER, Measure
from fisherae.studies.claims import SYMBOLS
from fisherae.studies.config import ITEMS, Item
from fisherae.studies.study import Study

__all__ = ["PRIORS", "Drawn", "Table", "curves", "draw", "generation", "point_rows"]

SHOWN = 32  # images in a panel of reconstructions
SAMPLES = 64
FIRST = " Models of the first seed."
PRIORS = {
    "refit": "refitted",
    "mixture": "mixture",
    "trained": "trained",
    "svgd": "trained, SVGD",
    "pairwise": "pairwise",
    "energy": "energy",
}
"""How figures and tables name the priors that a model can have after training."""
PAPER_FID = {
    ("VAE", "trained"): (89.1, 1.1),
    ("Fisher AE, Gaussian prior", "svgd"): (89.1, 0.9),
    ("Fisher AE", "svgd"): (84.7, 0.8),
    ("WAE-GAN", "trained"): (75.2, 1.0),
}
"""Table 1: mean and spread, of Inception's features on CelebA, by model and prior."""


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
    return curves(study, item.corruption, item.measure, item.title)


def curves(study: Study, corruption: str, measure: Measure, title: str) -> Drawn:
    """One measure against the level of a corruption."""
    results = study.points(corruption)
    label = CORRUPTIONS[corruption].label
    better = "higher" if measure in HIGHER_IS_BETTER else "lower"
    seeds = max(len(runs) for runs in results.values())
    caption = f"{title}{'. Mean over seeds' if seeds > 1 else ''}; {better} is better."
    table = Table(*robustness_table(results, measure), f"By {label}; {better} is better.")
    figure = figures.error_curves(results, measure, label)
    return Drawn(figure, caption, point_rows(study, corruption), [table])


def point_rows(study: Study, corruption: str) -> list[dict[str, Any]]:
    """A row for every model, seed and level."""
    return [
        {"model": model, "seed": one.seed, **dataclasses.asdict(point)}
        for model, runs in study.models.items()
        for one in runs
        for point in one.points(corruption)
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
        panels["samples"] = study.samples(2 * len(clean))  # as many lines as the pairs have
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
    caption += FIRST
    return Drawn(figures.paper_panels(panels, study.first.value_range), caption, rows)


def _maps(item: Item, study: Study) -> Drawn:
    by_model, labels = study.maps(), study.map_labels()
    nmi = {
        model: {
            _variance(point.level): point.nmi_tsne
            for point in runs[0]
            if point.nmi_tsne is not None
        }
        for model, runs in study.points("noise").items()
    }
    named = {
        model: {_variance(level): points for level, points in maps.items()}
        for model, maps in by_model.items()
    }
    caption = "t-SNE maps of the posterior means of test images, by noise variance; in the corner "
    caption += "the NMI of k-means on the map." + FIRST
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
        {"model": model, "prior": prior, "seed": one.seed, **dataclasses.asdict(score)}
        for model, by_prior in scores.items()
        for prior, seeds in by_prior.items()
        for one, both in zip(study.models[model], seeds, strict=True)
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
    caption += " The floor is that of two disjoint parts of the test images."
    spreads = {
        model: spread
        for model, runs in study.models.items()
        if (spread := runs[0].svgd_spread()) is not None
    }
    if spreads:
        listed = ", ".join(f"{model} {spread:.2f}" for model, spread in spreads.items())
        caption += f" Spread of SVGD's samples over that of exact ones, first seed: {listed}."
    table = Table(*_generation_table(scores, against_paper), caption)
    figure = figures.generation_bars(bars, first.metric, first.floor)
    return Drawn(figure, caption, rows, [table])


def _generation_table(
    scores: dict[str, dict[str, list[list[GenerationScore]]]], against_paper: bool
) -> tuple[list[str], list[list[Cell]]]:
    fid, kid = next(iter(next(iter(scores.values())).values()))[0]
    header = ["model", "prior", fid.metric, kid.metric, f"floor of {fid.metric}"]
    if against_paper:
        header += ["paper, FID[Inception]", "difference"]
    rows: list[list[Cell]] = []
    for model, by_prior in scores.items():
        for prior, runs in by_prior.items():
            fids, kids = ([both[i].value for both in runs] for i in (0, 1))
            row: list[Cell] = [model, PRIORS[prior], _spread(fids), _spread(kids), runs[0][0].floor]
            rows.append(
                row + (_beside_paper(model, prior, fid.metric, fids) if against_paper else [])
            )
    return header, rows


def _beside_paper(model: str, prior: str, metric: str, values: Sequence[float]) -> list[Cell]:
    """The paper's FID where it has this one, and ours less the paper's if the features agree."""
    if (model, prior) not in PAPER_FID:
        return [None, None]
    mean, spread = PAPER_FID[model, prior]
    difference = statistics.fmean(values) - mean if metric == "fid[inception]" else None
    return [f"{mean} ± {spread}", difference]


def _priors(item: Item, study: Study) -> Drawn:
    """Samples of every prior of every model, side by side."""
    latents = {
        (model, prior): (runs[0], draw(SAMPLES))
        for model, runs in study.models.items()
        for prior, draw in runs[0].priors().items()
    }
    images = {key: decoded(one.model, z) for key, (one, z) in latents.items()}
    # White where a model has no such prior.
    nothing = torch.full_like(next(iter(images.values())), study.first.value_range[1])
    known = {prior for _, prior in images}
    pictures = {
        title: {model: images.get((model, prior), nothing) for model in study.models}
        for prior, title in PRIORS.items()
        if prior in known
    }
    rows = [
        {"model": model, "prior": prior, "sample": index}
        | {f"z{j}": round(value, 4) for j, value in enumerate(point)}
        for (model, prior), (_, z) in latents.items()
        for index, point in enumerate(z.tolist())
    ]
    caption = "Samples by model and prior: refitted (exponential family, in closed form), mixture "
    caption += (
        "of Gaussians, the trained prior sampled exactly, and by SVGD as in the paper." + FIRST
    )
    return Drawn(figures.paper_panels(pictures, study.first.value_range), caption, rows)


def _summary(values: Sequence[float]) -> tuple[float, float | None]:
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def _spread(values: Sequence[float]) -> str:
    mean, std = _summary(values)
    return f"{mean:.4g}" + ("" if std is None else f" ± {std:.2g}")
