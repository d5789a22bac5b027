r"""Lines: error against corruption (Figures 1, 3, 5, 7 and 9), and training against steps."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fisherae.errors import InputError
from fisherae.evaluation.figures.style import line_styles, panel_grid, panels, plain_axes
from fisherae.evaluation.robustness import Measure, RobustnessPoint, over_runs

__all__ = ["error_curves", "training_curves"]

_MEASURES = {
    "bce": "BCE to the clean image (nats per pixel)",
    "mse": "MSE to the clean image (per pixel)",
    "nmi": "NMI of k-means clusters and classes",
    "nmi_tsne": "NMI of k-means on the t-SNE map and classes",
    "probe": "accuracy of a linear probe on the latents",
}
_BATCH = 128  # of the paper, over whose spread Figure 5 draws its error bars
_BOOKKEEPING = {"step", "epoch", "images", "learning_rate", "seconds", "grad_norm_max", "skipped"}
_POINTS = 300  # more a line cannot show

_Row = Mapping[str, Any]


def error_curves(
    results: Mapping[str, Sequence[Sequence[RobustnessPoint]]],
    measure: Measure,
    xlabel: str,
) -> Figure:
    r"""One measure of each model against the level of corruption: the mean over its runs.

    The band is one standard deviation to each side: over the runs, if a model has several; if
    all have one, of BCE and MSE over test batches of 128 images, of the others there is none. The
    legend says which.

    Arguments:
        results: for each model its runs (seeds), each the points that
            `fisherae.evaluation.robustness.robustness` returned.
        measure: "bce", "mse", "nmi", "nmi_tsne" or "probe".
        xlabel: what the level is, e.g. "noise variance σ²".

    Raises:
        InputError: an unknown measure, one that was not measured for a model, or runs of one model
            at different levels.

    Example:
        >>> points = [RobustnessPoint(v, 0.1 + v, 0.02, 0.5, 100, 0.05, 0.01) for v in (0.0, 0.5)]
        >>> figure = error_curves({"VAE": [points]}, "bce", "noise variance σ²")
        >>> len(figure.axes[0].lines)
        1
    """
    if measure not in _MEASURES:
        raise InputError(f"measure {measure!r} is unknown: choose one of {', '.join(_MEASURES)}")
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    most = max((len(runs) for runs in results.values()), default=0)
    of_batches = most == 1 and measure in ("bce", "mse")
    for name, style in line_styles(results).items():
        levels, means, spread = _summary(name, results[name], measure, of_batches)
        axes.plot(levels, means, label=name, linewidth=1.6, markersize=5, **style)
        axes.fill_between(
            levels, means - spread, means + spread, color=style["color"], alpha=0.15, linewidth=0
        )
    axes.set_xlabel(xlabel)
    axes.set_ylabel(_MEASURES[measure])
    images = min((point.images for run in results.values() for point in run[0]), default=_BATCH)
    over = f"test batches of {min(_BATCH, images)}" if of_batches else "runs" if most > 1 else None
    band = over and f"line: mean, band: ± 1 std over {over}"
    axes.legend(
        title=band, title_fontsize=8, alignment="left", frameon=False, fontsize=9, handlelength=3
    )
    plain_axes(axes)
    return figure


def training_curves(metrics: Mapping[str, Sequence[_Row]]) -> Figure:
    r"""One panel for each loss term, and one for the gradient norm, against the step.

    Long runs are averaged to a few hundred points. Where a term spans decades its scale is
    symmetric-logarithmic.

    Arguments:
        metrics: the metric lines of each run, by model, such as `RunDirectory.metrics()` gives;
            each number that is not bookkeeping (epoch, learning_rate, seconds, …) is a term.

    Raises:
        InputError: no line of any run has a step and a term.

    Example:
        >>> rows = [{"step": s, "total": 1 / s, "grad_norm": 10.0 / s} for s in range(1, 9)]
        >>> figure = training_curves({"Fisher AE": rows})
        >>> [axes.get_title() for axes in figure.axes]
        ['total', 'gradient norm']
    """
    terms = _terms(metrics)
    rows, columns = panel_grid(len(terms), most_columns=3)
    figure = Figure(figsize=(3.4 * columns + 0.4, 2.5 * rows + 0.5), layout="constrained")
    styles = {name: style | {"marker": ""} for name, style in line_styles(metrics).items()}
    for axes, term in zip(panels(figure, len(terms), (rows, columns)), terms, strict=True):
        _draw_term(axes, term, metrics, styles)
    lines_by_model = {str(line.get_label()): line for axes in figure.axes for line in axes.lines}
    figure.legend(
        handles=lines_by_model.values(),
        loc="outside upper center",
        ncols=3,
        frameon=False,
        fontsize=9,
    )
    return figure


def _summary(
    name: str, runs: Sequence[Sequence[RobustnessPoint]], measure: Measure, of_batches: bool
) -> npt.NDArray[np.float64]:
    """Levels, means and standard deviations (0 where there is no band) of one model."""
    levels, means, stds = zip(*over_runs(runs, measure), strict=True)
    if None in means:
        raise InputError(
            f"{measure} was not measured for {name!r}: BCE needs pixels in [0, 1], the others but "
            "MSE need labels, nmi_tsne also maps and probe a probe"
        )
    if of_batches:
        points = sorted(runs[0], key=lambda point: point.level)
        stds = tuple(
            getattr(point, f"{measure}_std") / math.sqrt(min(_BATCH, point.images))
            for point in points
        )
    return np.array([levels, means, [std or 0.0 for std in stds]])


def _terms(metrics: Mapping[str, Sequence[_Row]]) -> list[str]:
    """Names of the terms: the total first, the gradient norm last."""
    rows = [row for run in metrics.values() for row in run if "step" in row]
    order = dict.fromkeys(
        key
        for row in rows
        for key, value in row.items()
        if isinstance(value, int | float) and key.partition("/")[0] not in _BOOKKEEPING
    )
    if not order:
        raise InputError("there is nothing to draw: no metric line has a step and a loss term")
    return sorted(order, key=lambda name: (name == "grad_norm") - (name == "total"))


def _draw_term(
    axes: Axes, term: str, metrics: Mapping[str, Sequence[_Row]], styles: Mapping[str, _Row]
) -> None:
    values = [np.empty(0)]
    for name, rows in metrics.items():
        points = np.array(
            [(row["step"], row[term]) for row in rows if {"step", term} <= row.keys()]
        )
        if len(points):
            steps, means = _thin(points).T
            axes.plot(steps, means, label=name, linewidth=1.4, **styles[name])
            values.append(means)
    together = np.concatenate(values)
    threshold = _linear_threshold(together)
    if threshold:
        axes.set_yscale("symlog", linthresh=threshold)
    elif (together == together.round()).all():  # a count, such as of latents in use
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_title("gradient norm" if term == "grad_norm" else term, fontsize=10)
    axes.set_xlabel("step", fontsize=9)
    plain_axes(axes)


def _thin(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Means of consecutive (step, value) pairs, few enough to draw."""
    chunks = np.array_split(points, min(len(points), _POINTS))
    return np.stack([chunk.mean(axis=0) for chunk in chunks])


def _linear_threshold(values: npt.NDArray[np.float64]) -> float | None:
    """Below which a symlog scale is linear; None where the values do not span decades."""
    magnitudes = np.abs(values[np.isfinite(values) & (values != 0)])
    if magnitudes.size == 0:
        return None
    low, high = np.percentile(magnitudes, [5, 99])
    return float(10 ** np.floor(np.log10(low))) if high > 30 * low else None
