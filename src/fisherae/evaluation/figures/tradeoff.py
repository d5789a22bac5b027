r"""Points: what models gain in one measure for what they lose in another, and the Pareto front."""

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from fisherae.errors import InputError
from fisherae.evaluation.figures.style import line_styles, log_axis, plain_axes

__all__ = ["pareto_front", "tradeoff"]

_DECADES = 5  # a ratio of largest and smallest from which an axis is logarithmic
_BESIDE = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
# Where a name may stand, in points from its own; the first that are free are the nearest.
_PLACES = [(radius * x, radius * y) for radius in (9, 18, 28, 40, 54, 70, 88) for x, y in _BESIDE]
_LED = 18  # from which distance on a line leads to the name

_Point = tuple[float, float]


def pareto_front(points: Mapping[str, _Point]) -> list[str]:
    r"""The names of the points that no other one beats: one that is at most as large in both
    coordinates and smaller in one. By the first coordinate.

    Example:
        >>> pareto_front({"a": (1.0, 5.0), "b": (2.0, 2.0), "c": (3.0, 3.0), "d": (4.0, 1.0)})
        ['a', 'b', 'd']
    """
    unbeaten = [
        name
        for name, (x, y) in points.items()
        if not any(a <= x and b <= y and (a, b) != (x, y) for a, b in points.values())
    ]
    return sorted(unbeaten, key=lambda name: points[name])


def tradeoff(
    results: Mapping[str, Sequence[_Point]], xlabel: str, ylabel: str, highlighted: Sequence[str]
) -> Figure:
    r"""One point for each model, of two measures of which smaller is better.

    A point is the mean over the runs, its bars one standard deviation to each side. The dashed line
    steps along the Pareto front: models beyond it are beaten in both measures by one on it. An axis
    is logarithmic where its values span a ratio of 5.

    Arguments:
        results: for each model the two measures of each run.
        xlabel: the first measure.
        ylabel: the second measure.
        highlighted: the models that are to be seen first.

    Raises:
        InputError: no models, or one without runs.

    Example:
        >>> results = {"VAE": [(0.6, 0.11), (0.62, 0.12)], "Fisher AE": [(0.25, 0.12)]}
        >>> figure = tradeoff(results, "BCE, noisy", "BCE, clean", highlighted=["Fisher AE"])
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['Fisher AE', 'VAE']
    """
    if not results or not all(results.values()):
        raise InputError("a trade-off needs at least one model, and of each at least one run")
    figure = Figure(figsize=(6.8, 4.8), layout="constrained")
    axes = figure.subplots()
    means = {name: _of_runs(runs, statistics.fmean) for name, runs in results.items()}
    spreads = {name: _of_runs(runs, _std) for name, runs in results.items()}
    for name, style in line_styles(results).items():
        _draw_point(axes, means[name], spreads[name], style, name in highlighted)
    corners = _draw_front(axes, [means[name] for name in pareto_front(means)])
    _scale(axes, list(means.values()))
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    most = max(map(len, results.values()))
    bars = f"; bars: ± 1 std over {most} runs" if most > 1 else ""
    axes.set_title(f"lower left is better; dashed: Pareto front{bars}", fontsize=9, color="0.35")
    plain_axes(axes)
    figure.draw_without_rendering()  # settles the layout
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    steps = axes.transData.transform(corners)
    taken = [Bbox(pair).padded(2) for pair in itertools.pairwise(steps)]
    taken += [box for name in means for box in _covered_by(axes, means[name], spreads[name])]
    for name in sorted(means, key=lambda name: name not in highlighted):
        weight = "bold" if name in highlighted else "normal"
        _write(name, axes, means, weight, taken, renderer)
    return figure


def _of_runs(runs: Sequence[_Point], summary: Any) -> _Point:
    x, y = (summary(values) for values in zip(*runs, strict=True))
    return x, y


def _std(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _draw_point(
    axes: Axes, mean: _Point, spread: _Point, style: Mapping[str, Any], highlighted: bool
) -> None:
    axes.errorbar(
        *mean,
        xerr=spread[0],
        yerr=spread[1],
        color=style["color"],
        marker=style["marker"],
        markersize=12 if highlighted else 7,
        markeredgecolor="black" if highlighted else "white",
        elinewidth=1.2,
        zorder=4 if highlighted else 3,
    )


def _draw_front(axes: Axes, front: Sequence[_Point]) -> list[_Point]:
    """In steps, since between two models there is none; the corners."""
    corners = [front[0]]
    for (_, above), (right, below) in itertools.pairwise(front):
        corners += [(right, above), (right, below)]
    axes.plot(*zip(*corners, strict=True), color="0.55", linestyle="--", linewidth=1, zorder=1)
    return corners


def _scale(axes: Axes, points: Sequence[_Point]) -> None:
    axes.margins(0.14)
    for axis, values in zip(("x", "y"), zip(*points, strict=True), strict=True):
        if min(values) > 0 and max(values) > _DECADES * min(values):
            log_axis(axes, axis)


def _covered_by(axes: Axes, mean: _Point, spread: _Point) -> list[Bbox]:
    """What a point and its bars cover, on the screen."""
    (x, y), (dx, dy) = mean, spread
    bars = [[(x - dx, y), (x + dx, y)], [(x, y - dy), (x, y + dy)]]
    room = 4 * axes.figure.dpi / 72
    return [Bbox(axes.transData.transform(bar)).padded(room) for bar in bars]


def _write(
    name: str,
    axes: Axes,
    means: Mapping[str, _Point],
    weight: str,
    taken: list[Bbox],
    renderer: Any,
) -> None:
    """A name beside its point, where it covers the least of what is there, stays in the frame, and
    is nearer to its own point than to any other or led to by a line."""
    point, others = means[name], [one for label, one in means.items() if label != name]
    text = axes.annotate(name, point, (0, 0), textcoords="offset points", fontsize=9, weight=weight)
    text.set_in_layout(False)
    own, *rest = axes.transData.transform([point, *others])

    def hidden(place: tuple[int, int]) -> float:
        _put(text, place)
        box = text.get_window_extent(renderer)
        size = float(box.width * box.height)
        outside = size - _area(Bbox.intersection(box, axes.bbox))
        covered = sum(_area(Bbox.intersection(box, other)) for other in taken)
        leader = Path([own, own + np.array(place) * axes.figure.dpi / 72])
        crossed = [one for one in taken if leader.intersects_bbox(one) and not one.contains(*own)]
        astray = any(_gap(box, one) < _gap(box, own) for one in rest)
        unclear = len(crossed) if _led(place) else astray
        return covered + 2 * outside + size * unclear / 8  # to cover something is worse

    place = min(_PLACES, key=hidden)  # the first of equals
    _put(text, place)
    taken.append(text.get_window_extent(renderer))
    if _led(place):
        line = {"arrowstyle": "-", "color": "0.6", "linewidth": 0.7, "shrinkA": 0}
        leader = axes.annotate("", point, place, textcoords="offset points", arrowprops=line)
        leader.set_in_layout(False)


def _put(text: Annotation, place: tuple[int, int]) -> None:
    x, y = place
    text.set_position(place)
    text.set_horizontalalignment("left" if x > 0 else "right" if x < 0 else "center")
    text.set_verticalalignment("bottom" if y > 0 else "top" if y < 0 else "center")


def _led(place: tuple[int, int]) -> bool:
    return max(map(abs, place)) >= _LED


def _gap(box: Bbox, point: _Point) -> float:
    """How far a point is from a box; 0 in it."""
    (x, y), (left, bottom, right, top) = point, box.extents
    return math.hypot(max(left - x, 0, x - right), max(bottom - y, 0, y - top))


def _area(box: Bbox | None) -> float:
    return 0.0 if box is None else float(box.width * box.height)
