r"""A report as one HTML file that needs nothing else: no scripts, no network, no other files."""

import base64
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal, Self

from jinja2 import Environment, Template
from markupsafe import Markup
from matplotlib.figure import Figure

from fisherae.errors import InputError
from fisherae.evaluation.figures.files import render
from fisherae.evaluation.robustness import HIGHER_IS_BETTER, Measure, RobustnessPoint, over_runs
from fisherae.files import write_atomically

__all__ = ["Cell", "Report", "robustness_table", "spread"]

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

    def figure(
        self,
        figure: Figure,
        caption: str = "",
        alt: str = "",
        link: str | None = None,
        saved: tuple[Path, Path] | None = None,
    ) -> Self:
        """Adds a figure: as SVG, or as PNG where it shows images.

        Arguments:
            figure: a matplotlib figure, drawn at once.
            caption: below it.
            alt: what it shows, for those who cannot see it; the caption by default.
            link: a file that shows it too, for `markdown`, which says so where there is none.
            saved: what `save_figure` returned for it, so that it is not drawn again.
        """
        format: Literal["png", "svg"] = "png" if any(a.images for a in figure.axes) else "svg"
        mime = {"png": "image/png", "svg": "image/svg+xml"}[format]
        png, svg = saved or (None, None)
        file = png if format == "png" else svg
        content = render(figure, format) if file is None else file.read_bytes()
        # As an image and not as inline SVG: the ids of two inline figures would clash.
        source = f"data:{mime};base64,{base64.b64encode(content).decode()}"
        width = round(figure.get_figwidth() * 96)
        return self._add(
            "figure",
            {
                "source": source,
                "width": width,
                "caption": caption,
                "alt": alt or caption,
                "link": link,
            },
        )

    def html(self) -> str:
        """The whole page."""
        headings = [
            (index, text) for index, (kind, text) in enumerate(self._blocks) if kind == "heading"
        ]
        contents = headings if len(headings) > 3 else []
        return _template("report.html").render(
            title=self.title, blocks=self._blocks, contents=contents
        )

    def markdown(self) -> str:
        """The page as Markdown, to be read beside the files that its figures link to."""
        return _template("report.md").render(title=self.title, blocks=self._blocks)

    def write(self, path: Path | str) -> Path:
        """Writes the page, whole or not at all, and returns its path."""
        write_atomically(path, self.html())
        return Path(path)

    def _add(self, kind: str, content: Any) -> Self:
        self._blocks.append((kind, content))
        return self


def robustness_table(
    results: Mapping[str, Sequence[Sequence[RobustnessPoint]]], measure: Measure
) -> tuple[list[str], list[list[Cell]]]:
    r"""Header and rows for `Report.table`: models down, levels across, the best in bold.

    A cell is the mean over a model's runs (seeds), with ± one standard deviation if there are
    several. The best has the lowest mean BCE or MSE, the highest mean of the other measures;
    models whose means are equal to all digits shown share it.

    Raises:
        InputError: no results, or runs that were not measured at the same levels.

    Example:
        >>> points = {"VAE": [[RobustnessPoint(0.1, 0.15, 0.03, 0.4, 100, 0.1, 0.1)]],
        ...           "Fisher AE": [[RobustnessPoint(0.1, 0.13, 0.02, 0.5, 100, 0.1, 0.1)]]}
        >>> robustness_table(points, "bce")
        (['model', '0.1'], [['VAE', '0.150'], ['Fisher AE', Markup('<strong>0.130</strong>')]])
    """
    digits = 4 if measure == "mse" else 3  # of the squares of small numbers
    summaries = {name: over_runs(runs, measure) for name, runs in results.items()}
    levels = {tuple(level for level, _, _ in summary) for summary in summaries.values()}
    if len(levels) != 1:
        raise InputError(f"models at {len(levels)} sets of levels: measure all at the same levels")
    columns = zip(*summaries.values(), strict=True)
    best = max if measure in HIGHER_IS_BETTER else min
    winners = [
        best((round(mean, digits) for _, mean, _ in column if mean is not None), default=None)
        for column in columns
    ]
    rows: list[list[Cell]] = [
        [
            name,
            *(
                _measured(mean, std, digits, winner)
                for (_, mean, std), winner in zip(summary, winners, strict=True)
            ),
        ]
        for name, summary in summaries.items()
    ]
    return ["model", *(f"{level:g}" for level in levels.pop())], rows


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Mean ± standard deviation over runs; the mean alone of one.

    Example:
        >>> spread([0.1, 0.3]), spread([0.25], digits=2)
        ('0.200 ± 0.141', '0.25')
    """
    return _with_std(fmean(values), stdev(values) if len(values) > 1 else None, digits)


def _with_std(mean: float, std: float | None, digits: int) -> str:
    return f"{mean:.{digits}f}" + ("" if std is None else f" ± {std:.{digits}f}")


def _measured(mean: float | None, std: float | None, digits: int, winner: float | None) -> Cell:
    if mean is None:
        return None
    cell = _with_std(mean, std, digits)
    best = round(mean, digits) == winner
    return Markup("<strong>{}</strong>").format(cell) if best else cell


def _cell(value: Cell) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        return value  # str() would make plain text of a Markup
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def _is_number(cell: str) -> bool:
    with suppress(ValueError):
        float(Markup(cell).striptags().replace("–", "nan").partition(" ± ")[0])
        return True
    return False


@cache
def _template(name: str) -> Template:
    text = files("fisherae.evaluation").joinpath(name).read_text(encoding="utf-8")
    page = Environment(autoescape=name.endswith(".html"), trim_blocks=True, lstrip_blocks=True)
    page.filters["cell"] = _markdown_cell
    return page.from_string(text)


def _markdown_cell(cell: str) -> str:
    bold = str(cell).replace("<strong>", "**").replace("</strong>", "**")
    return bold.replace("|", "\\|")
