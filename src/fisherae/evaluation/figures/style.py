r"""How the figures look: one colour per family of models, quiet axes."""

import math
from collections.abc import Iterable
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

__all__ = ["line_styles", "log_axis", "panel_grid", "panels", "plain_axes"]

# Okabe and Ito (2008), Color Universal Design, https://jfly.uni-koeln.de/color/
_FAMILIES = {
    "fisher": "#0072B2",
    "fae": "#0072B2",
    "wae": "#009E73",
    "vae": "#D55E00",
}
_OTHERS = ("#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)))
_MARKERS = "os^DvPX<>"


def line_styles(models: Iterable[str]) -> dict[str, dict[str, Any]]:
    r"""Colour, line and marker of each model, as keywords of `Axes.plot`.

    The colour tells the family (the name contains "fisher", "vae" or "wae") and is the same in
    every figure; further members of a family are lighter. Line and marker tell models apart
    without colour.

    Example:
        >>> line_styles(["VAE", "Fisher AE"])["Fisher AE"]
        {'color': '#0072b2', 'linestyle': '--', 'marker': 's'}
    """
    others = cycle(_OTHERS)
    seen: dict[str, int] = {}
    styles = {}
    for index, name in enumerate(models):
        colour = _family_colour(name) or next(others)
        member = seen[colour] = seen.get(colour, -1) + 1
        styles[name] = {
            "color": _lighter(colour, 0.25 * min(member, 2)),
            "linestyle": _LINES[index % len(_LINES)],
            "marker": _MARKERS[index % len(_MARKERS)],
        }
    return styles


def log_axis(axes: Axes, which: str) -> None:
    """Makes "x" or "y" logarithmic, with the numbers 1, 2 and 5 of each decade.

    Example:
        >>> axes = Figure().subplots()
        >>> log_axis(axes, "x")
        >>> axes.get_xscale()
        'log'
    """
    axis, set_scale = (
        (axes.xaxis, axes.set_xscale) if which == "x" else (axes.yaxis, axes.set_yscale)
    )
    set_scale("log")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(ScalarFormatter())
    axis.set_minor_formatter(NullFormatter())


def panel_grid(count: int, most_columns: int) -> tuple[int, int]:
    """Rows and columns for so many panels, as even as they can be.

    Example:
        >>> panel_grid(4, most_columns=3)
        (2, 2)
    """
    rows = math.ceil(count / most_columns)
    return rows, math.ceil(count / rows)


def panels(figure: Figure, count: int, grid: tuple[int, int]) -> list[Axes]:
    """The first `count` axes of a grid of (rows, columns); the others are not drawn.

    Example:
        >>> len(panels(Figure(), 5, (2, 3)))
        5
    """
    axes: list[Axes] = list(figure.subplots(*grid, squeeze=False).flat)
    for surplus in axes[count:]:
        surplus.remove()
    return axes[:count]


def plain_axes(axes: Axes) -> None:
    """No frame but the two axes, a light grid behind the lines.

    Example:
        >>> axes = Figure().subplots()
        >>> plain_axes(axes)
        >>> axes.spines["top"].get_visible()
        False
    """
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("0.6")
    axes.tick_params(color="0.6", labelcolor="0.25", labelsize=9)
    axes.grid(color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)


def _family_colour(name: str) -> str | None:
    return next((colour for key, colour in _FAMILIES.items() if key in name.lower()), None)


def _lighter(colour: str, share_of_white: float) -> str:
    return to_hex(tuple(np.array(to_rgb(colour)) * (1 - share_of_white) + share_of_white))
