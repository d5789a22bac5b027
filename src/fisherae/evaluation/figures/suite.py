r"""A suite of corruptions: curves against the severity, and a map of models and corruptions."""

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np
from matplotlib.figure import Figure

from fisherae.errors import InputError
from fisherae.evaluation.figures.style import line_styles, panel_grid, panels, plain_axes
from fisherae.evaluation.robustness import Measure, RobustnessPoint
from fisherae.evaluation.suite import SuiteScore, error_of

__all__ = ["suite_curves", "suite_map"]

_ERRORS = {
    "bce": "BCE to the clean image",
    "mse": "MSE to the clean image",
    "nmi": "1 − NMI",
    "probe": "error of a linear probe on the latents",
}


def suite_curves(
    results: Mapping[str, Sequence[Mapping[str, Sequence[RobustnessPoint]]]], measure: Measure
) -> Figure:
    r"""A panel for each corruption: the error of each model against the severity, 0 is clean.

    The line is the mean over a model's runs (seeds), the band one standard deviation to each side.

    Arguments:
        results: for each model its runs, each by corruption what `robustness` returned.
        measure: "bce", "mse", "nmi" or "probe".

    Raises:
        InputError: nothing to draw, an unknown measure, or one that was not measured.

    Example:
        >>> points = [RobustnessPoint(v, 0.1 + v, 0.02, 0.5, 100, 0.1, 0.1) for v in (0.0, 0.5)]
        >>> figure = suite_curves({"VAE": [{"fog": points, "scale": points}]}, "bce")
        >>> [axes.get_title() for axes in figure.axes]
        ['fog', 'scale']
    """
    if measure not in _ERRORS:
        raise InputError(f"measure {measure!r} is unknown: choose one of {', '.join(_ERRORS)}")
    names = list(next((run for runs in results.values() for run in runs), {}))
    if not names:
        raise InputError("there is nothing to draw: give at least one model and one corruption")
    rows, columns = panel_grid(len(names), most_columns=5)
    figure = Figure(figsize=(2.1 * columns + 0.5, 1.9 * rows + 0.6), layout="constrained")
    styles = line_styles(results)
    for axes, name in zip(panels(figure, len(names), (rows, columns)), names, strict=True):
        for model, runs in results.items():
            errors = np.array([[error_of(point, measure) for point in run[name]] for run in runs])
            mean = errors.mean(0)
            std = errors.std(0, ddof=1) if len(runs) > 1 else np.zeros_like(mean)
            severity = np.arange(len(mean))
            colour = styles[model]["color"]
            axes.plot(severity, mean, label=model, linewidth=1.4, markersize=3, **styles[model])
            axes.fill_between(severity, mean - std, mean + std, color=colour, alpha=0.15, lw=0)
        axes.set_title(name, fontsize=9)
        axes.set_ylim(0, 1.06 * axes.dataLim.ymax)  # or a mark at the top would be cut
        plain_axes(axes)
        axes.tick_params(labelsize=7)
    figure.supxlabel("severity", fontsize=9)
    figure.supylabel(_ERRORS[measure], fontsize=9)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    return figure


def suite_map(scores: Mapping[str, Sequence[SuiteScore]], label: str) -> Figure:
    r"""Models down, corruptions across, CE in each cell; first their mean, the mCE.

    Blue is less error than the reference model's, red more; the colour follows log CE.

    Arguments:
        scores: for each model those of its runs (seeds), whose mean is shown.
        label: what CE is of, below the map.

    Raises:
        InputError: no scores.

    Example:
        >>> scores = {"VAE": [SuiteScore(0.1, 0.2, {"fog": 1.0, "scale": 0.8})]}
        >>> figure = suite_map(scores, "probe error / that of the VAE")
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['0.90', '1.00', '0.80']
    """
    if not any(scores.values()):
        raise InputError("there is nothing to draw: give at least one model with one score")
    names = ["mCE", *next(iter(scores.values()))[0].relative]
    cells = np.array(
        [
            [fmean(run.mce for run in runs)]
            + [fmean(run.relative[name] for run in runs) for name in names[1:]]
            for runs in scores.values()
        ]
    )
    figure = Figure(
        figsize=(0.55 * len(names) + 1.6, 0.45 * len(scores) + 1.7), layout="constrained"
    )
    axes = figure.subplots()
    axes.imshow(np.log2(cells), cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(cells):
        strong = abs(np.log2(value)) > 0.7
        colour = "white" if strong else "black"
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color=colour)
    axes.axvline(0.5, color="white", linewidth=3)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=8)
    axes.set_yticks(range(len(scores)), list(scores), fontsize=9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(label, fontsize=9)
    return figure
