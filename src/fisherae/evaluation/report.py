r"""A report as one HTML file that needs nothing else: no scripts, no network, no other files."""

import base64
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self

from jinja2 import Environment, Template
from markupsafe import Markup
from matplotlib.figure import Figure

from fisherae.errors import InputError
from fisherae.evaluation.figures.files import render
from fisherae.evaluation.robustness import RobustnessPoint
from fisherae.files import write_atomically

__all__ = ["Report", "robustness_table"]

Cell = str | float | None


class Report:
    r"""Collects headings, text, tables, figures and commands, and writes them as one HTML file.

    All text is escaped; a `markupsafe.Markup` is taken as it is. The methods return the
    report, so that they chain. A table of contents appears from four headings on.

    Example:
        >>> report = Report("Robustness on MNIST").heading("Protocol").text("Seed 0 & no clipping.")
        >>> report.table(["model", "BCE"], [["VAE", 0.124]], "On the test set.") is report
        True
        >>> "Seed 0 &amp; no clipping." in report.html()
        True
    """

    def __init__(self, title: str):
        self.title = title
        self._blocks: list[tuple[str, Any]] = []  # kind, content

    def heading(self, text: str) -> Self:
        """Begins a section."""
        return self._add("heading", text)

    def text(self, text: str) -> Self:
        """Adds paragraphs, which empty lines separate."""
        for paragraph in text.split("\n\n"):
            self._add("text", paragraph)
        return self

    def command(self, text: str) -> Self:
        """Adds a command line, or several, to be copied."""
        return self._add("command", text.strip())

    def table(
        self, header: Sequence[str], rows: Sequence[Sequence[Cell]], caption: str = ""
    ) -> Self:
        """Adds a table. Floats get four significant digits, None a dash; numbers stand right.

        Raises:
            InputError: a row is not as long as the header.
        """
        for index, row in enumerate(rows):
            if len(row) != len(header):
                raise InputError(
                    f"row {index} has {len(row)} cells, the header {len(header)}: make them equal"
                )
        body = [[_cell(value) for value in row] for row in rows]
        numeric = [all(_is_number(row[column]) for row in body) for column in range(len(header))]
        return self._add(
            "table", {"header": header, "rows": body, "numeric": numeric, "caption": caption}
        )

    def figure(self, figure: Figure, caption: str = "", alt: str = "") -> Self:
        """Adds a figure: as SVG, or as PNG where it shows images.

        Arguments:
            figure: a matplotlib figure, drawn at once.
            caption: below it.
            alt: what it shows, for those who cannot see it; the caption by default.
        """
        format: Literal["png", "svg"] = "png" if any(a.images for a in figure.axes) else "svg"
        mime = {"png": "image/png", "svg": "image/svg+xml"}[format]
        # As an image and not as inline SVG: the ids of two inline figures would clash.
        source = f"data:{mime};base64,{base64.b64encode(render(figure, format)).decode()}"
        width = round(figure.get_figwidth() * 96)
        return self._add(
            "figure", {"source": source, "width": width, "caption": caption, "alt": alt or caption}
        )

    def html(self) -> str:
        """The whole page."""
        headings = [
            (index, text) for index, (kind, text) in enumerate(self._blocks) if kind == "heading"
        ]
        contents = headings if len(headings) > 3 else []
        return _template().render(title=self.title, blocks=self._blocks, contents=contents)

    def write(self, path: Path | str) -> Path:
        """Writes the page, whole or not at all, and returns its path."""
        write_atomically(path, self.html())
        return Path(path)

    def _add(self, kind: str, content: Any) -> Self:
        self._blocks.append((kind, content))
        return self


def robustness_table(
    results: Mapping[str, Sequence[RobustnessPoint]],
    measure: Literal["bce", "mse", "nmi"],
    digits: int = 3,
) -> tuple[list[str], list[list[Cell]]]:
    r"""Header and rows for `Report.table`: models down, levels across, the best in bold.

    The best is the lowest BCE or MSE, the highest NMI; models equal to all digits shown share it.

    Raises:
        InputError: the models were not measured at the same levels.

    Example:
        >>> points = {"VAE": [RobustnessPoint(0.1, 0.15, 0.03, 0.4, 100, 0.1, 0.1)],
        ...           "Fisher AE": [RobustnessPoint(0.1, 0.13, 0.02, 0.5, 100, 0.1, 0.1)]}
        >>> robustness_table(points, "bce", digits=2)
        (['model', '0.1'], [['VAE', '0.15'], ['Fisher AE', Markup('<strong>0.13</strong>')]])
    """
    levels = [[point.level for point in points] for points in results.values()]
    if any(own != levels[0] for own in levels):
        raise InputError("the models were measured at different levels: measure all at the same")
    shown = {
        name: [_rounded(getattr(point, measure), digits) for point in points]
        for name, points in results.items()
    }
    best = max if measure == "nmi" else min
    winners = [
        best((cell for cell in column if cell is not None), key=float, default=None)
        for column in zip(*shown.values(), strict=True)
    ]
    rows: list[list[Cell]] = [
        [
            name,
            *(_bold_if(cell, cell == winner) for cell, winner in zip(cells, winners, strict=True)),
        ]
        for name, cells in shown.items()
    ]
    return ["model", *(f"{level:g}" for level in levels[0])], rows


def _rounded(value: float | None, digits: int) -> str | None:
    return None if value is None else f"{value:.{digits}f}"


def _bold_if(cell: str | None, best: bool) -> Cell:
    return Markup("<strong>{}</strong>").format(cell) if cell is not None and best else cell


def _cell(value: Cell) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        return value  # str() would make plain text of a Markup
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def _is_number(cell: str) -> bool:
    with suppress(ValueError):
        float(Markup(cell).striptags().replace("–", "nan"))
        return True
    return False


@cache
def _template() -> Template:
    text = files("fisherae.evaluation").joinpath("report.html").read_text(encoding="utf-8")
    return Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(text)
