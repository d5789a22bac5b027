r"""Bars: how well the samples of each model's priors resemble real images (Table 1)."""

from collections.abc import Mapping

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from fisherae.errors import InputError
from fisherae.evaluation.figures.style import line_styles, plain_axes

__all__ = ["generation_bars"]

_HATCHES = ("", "////", "\\\\\\\\", "xxxx", "----", "||||", "....")
_WIDTH = 0.24  # of a bar, where that leaves the groups apart
_GROUP = 0.96


def generation_bars(
    scores: Mapping[str, Mapping[str, tuple[float, float | None]]],
    ylabel: str,
    floor: float | None = None,
) -> Figure:
    r"""A group of bars for each model, in it a bar for each kind of prior.

    Arguments:
        scores: for each model and kind of prior the mean over runs and its standard deviation,
            None of a single run. A model need not have every kind.
        ylabel: the measure, e.g. "FID".
        floor: the score of real images against other real ones, a dashed line; the legend has it
            too, for it may lie on the axis.

    Raises:
        InputError: no scores, or more than seven kinds of prior.

    Example:
        >>> scores = {"VAE": {"N(0, I)": (89.1, 1.1)}, "Fisher AE": {"exponential": (84.7, 0.8)}}
        >>> figure = generation_bars(scores, "FID", floor=2.0)
        >>> len(figure.axes[0].patches)
        2
    """
    kinds = list(dict.fromkeys(kind for by_kind in scores.values() for kind in by_kind))
    if not 0 < len(kinds) <= len(_HATCHES):
        raise InputError(f"{len(kinds)} kinds of prior: give from 1 to {len(_HATCHES)}")
    hatches = dict(zip(kinds, _HATCHES, strict=False))
    width = min(_WIDTH, _GROUP / max(len(by_kind) for by_kind in scores.values()))
    inches = 1.6 * len(scores) * _WIDTH / width
    figure = Figure(figsize=(max(4.8, inches), 3.6), layout="constrained")
    axes = figure.subplots()
    for place, (model, style) in enumerate(line_styles(scores).items()):
        left = place - width * (len(scores[model]) - 1) / 2
        for index, (kind, score) in enumerate(scores[model].items()):
            _bar(axes, left + index * width, width, score, style["color"], hatches[kind])
    legend: list[Artist] = [
        Patch(facecolor="0.8", edgecolor="0.3", hatch=hatch, label=kind)
        for kind, hatch in hatches.items()
    ]
    if floor is not None:
        label = f"real against real images, {floor:.3g}"
        legend.append(axes.axhline(floor, color="0.3", linestyle="--", linewidth=1, label=label))
    figure.legend(handles=legend, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    axes.set_xticks(range(len(scores)), list(scores))
    axes.set_ylabel(ylabel)
    axes.margins(y=0.1)
    plain_axes(axes)
    axes.grid(visible=False, axis="x")
    return figure


def _bar(
    axes: Axes,
    x: float,
    width: float,
    score: tuple[float, float | None],
    colour: str,
    hatch: str,
) -> None:
    mean, std = score
    axes.bar(x, mean, 0.9 * width, color=colour, edgecolor="white", linewidth=0, hatch=hatch)
    axes.errorbar(x, mean, std, color="0.2", capsize=3, linewidth=1)
    axes.annotate(
        f"{mean:#.3g}".rstrip("."),
        (x, mean + (std or 0)),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        fontsize=8,
    )
