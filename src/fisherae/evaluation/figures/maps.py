r"""Maps of the latents in the plane (Figure 4), one colour to a class."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from torch import Tensor

from fisherae.errors import InputError

__all__ = ["tsne_maps"]

# Petroff (2021), Accessible color sequences for data visualization, arXiv 2107.02270
_COLOURS = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)


def tsne_maps(
    maps: Mapping[str, Mapping[str, Float[Tensor, "images 2"]]],
    labels: Int[Tensor, "images"],
    nmi: Mapping[str, Mapping[str, float]] | None = None,
) -> Figure:
    r"""Models side by side, levels of corruption below each other, classes coloured.

    A class is also named where it is densest, if no other is named there. The points are one
    raster per panel, so that an SVG stays small.

    Arguments:
        maps: for each model and level, e.g. "σ² = 0.2", what `clustering.tsne` returned.
        labels: the classes of the mapped images, at most ten.
        nmi: of each map, shown in its corner.

    Raises:
        InputError: no maps, models with different levels, a map of more or fewer points than
            labels, or more than ten classes.

    Example:
        >>> points, labels = torch.randn(50, 2), torch.arange(50) % 10
        >>> figure = tsne_maps({"VAE": {"σ² = 0": points, "σ² = 0.2": points}}, labels)
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['σ² = 0', 'σ² = 0.2']
    """
    levels = list(next(iter(maps.values()), {}))
    _check(maps, levels, labels)
    classes = sorted(set(labels.tolist()))
    figure = Figure(figsize=(1.9 * len(maps) + 0.4, 1.9 * len(levels) + 0.6), layout="constrained")
    grid = figure.subplots(len(levels), len(maps), squeeze=False)
    for column, (model, by_level) in zip(grid.T, maps.items(), strict=True):
        column[0].set_title(model, fontsize=10)
        for axes, (level, points) in zip(column, by_level.items(), strict=True):
            _draw(axes, points.detach().cpu(), labels.cpu(), classes)
            if nmi is not None:
                _corner(axes, f"NMI {nmi[model][level]:.2f}")
    for axes, level in zip(grid[:, 0], levels, strict=True):
        axes.set_ylabel(level, fontsize=10)
    _legend(figure, classes)
    return figure


def _draw(axes: Axes, points: Tensor, labels: Tensor, classes: list[int]) -> None:
    colours = np.array(_COLOURS)[np.searchsorted(classes, labels.numpy())]
    # Fewer points may be larger; more than 10,000 need not be smaller.
    size = 1000 / min(max(len(points), 500), 10_000) + 0.15
    x, y = points.T.numpy()
    axes.scatter(x, y, s=size, c=colours, linewidths=0, antialiased=False, rasterized=True)
    _name(axes, points, labels, classes)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("0.8")


def _name(axes: Axes, points: Tensor, labels: Tensor, classes: list[int]) -> None:
    """Writes each class where it is densest, unless another is written there."""
    taken: list[Tensor] = []
    apart = 0.07 * (points.amax(0) - points.amin(0)).max()
    outline = [withStroke(linewidth=1.5, foreground="white")]
    for name in classes:
        own = points[labels == name]
        near = torch.cdist(own, own).kthvalue(len(own) // 10 + 1).values
        place = own[near.argmin()]
        if all((place - other).norm() > apart for other in taken):
            taken.append(place)
            x, y = place.tolist()
            axes.text(x, y, str(name), ha="center", va="center", fontsize=8, path_effects=outline)


def _legend(figure: Figure, classes: list[int]) -> None:
    dots = [
        Line2D([], [], marker="o", linestyle="", color=colour, label=str(name))
        for name, colour in zip(classes, _COLOURS, strict=False)
    ]
    figure.legend(
        handles=dots,
        loc="outside upper center",
        ncols=10,
        frameon=False,
        fontsize=9,
        columnspacing=0.8,
        handletextpad=0.0,
    )


def _corner(axes: Axes, text: str) -> None:
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.0}
    axes.text(0.03, 0.03, text, transform=axes.transAxes, fontsize=8, bbox=box)


def _check(maps: Mapping[str, Mapping[str, Tensor]], levels: list[str], labels: Tensor) -> None:
    if not levels or any(list(by_level) != levels for by_level in maps.values()):
        raise InputError("give at least one map, and the same levels in the same order per model")
    for model, by_level in maps.items():
        for level, points in by_level.items():
            if len(points) != len(labels):
                raise InputError(
                    f"{model!r}, {level!r}: {len(points)} points, {len(labels)} labels: give one "
                    "label per point"
                )
    count = len(set(labels.tolist()))
    if count > len(_COLOURS):
        raise InputError(f"{count} classes: no more than {len(_COLOURS)} can be told by colour")
