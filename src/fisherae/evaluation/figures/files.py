r"""How figures and the data behind them are written to files."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from matplotlib import rc_context
from matplotlib.figure import Figure

from fisherae.files import write_atomically

__all__ = ["render", "save_figure", "write_csv"]


def render(figure: Figure, format: Literal["png", "svg"]) -> bytes:
    """The figure as a file's bytes; figures made and drawn alike give the same bytes.

    Example:
        >>> render(Figure(), "png")[:4]
        b'\\x89PNG'
    """
    buffer = io.BytesIO()
    metadata = {"Date": None} if format == "svg" else {"Software": None}
    with rc_context({"svg.hashsalt": "fisherae"}):
        figure.savefig(buffer, format=format, dpi=200, metadata=metadata, facecolor="white")
    return buffer.getvalue()


def save_figure(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Writes `stem.png` and `stem.svg`.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> [path.name for path in save_figure(Figure(), folder / "figure-1")]
        ['figure-1.png', 'figure-1.svg']
    """
    png, svg = Path(f"{stem}.png"), Path(f"{stem}.svg")
    write_atomically(png, render(figure, "png"))
    write_atomically(svg, render(figure, "svg"))
    return png, svg


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Writes the data behind a figure; a column for every key, empty where a row lacks it.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "data.csv"
        >>> path = write_csv(target, [{"level": 0.1, "mse": 0.02}])
        >>> path.read_text().splitlines()
        ['level,mse', '0.1,0.02']
    """
    buffer = io.StringIO(newline="")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, buffer.getvalue())
    return path
