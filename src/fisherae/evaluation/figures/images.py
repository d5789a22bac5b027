r"""Grids of images (Figures 2, 6, 8 and 10): pixels as they are, one raster per panel."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from fisherae.data.images import to_unit
from fisherae.errors import InputError
from fisherae.evaluation.figures.style import panel_grid, panels

__all__ = ["image_grid", "interleaved", "paper_panels", "reconstructions", "samples"]

_Picture = tuple[str, Sequence[str], npt.NDArray[np.float32]]  # title, row labels, raster


def image_grid(
    rows: Sequence[Float[Tensor, "_ _ _ _"]],
    row_labels: Sequence[str] = (),
    value_range: tuple[float, float] = (0.0, 1.0),
    title: str = "",
) -> Figure:
    r"""Rows of images, grey or colour, each with its label.

    Arguments:
        rows: one tensor per row, shape (images, channels, height, width), channels 1 or 3.
        row_labels: one per row, or none.
        value_range: black and white; what lies outside is clipped for display.
        title: above the grid.

    Raises:
        InputError: no rows, images of different shapes, neither 1 nor 3 channels, or as many
            labels as there are not rows.

    Example:
        >>> figure = image_grid([torch.rand(8, 1, 28, 28)] * 2, ["original", "Fisher AE"])
        >>> len(figure.axes)
        1
    """
    if row_labels and len(row_labels) != len(rows):
        raise InputError(f"{len(row_labels)} labels for {len(rows)} rows: give one label per row")
    size = (len(rows), max((len(row) for row in rows), default=0))
    picture = (title, row_labels, _raster(rows, size, value_range))
    return _figure([picture], (1, 1), rows[0].shape[-1])


def reconstructions(
    originals: Float[Tensor, "images channels height width"],
    models: Mapping[str, Float[Tensor, "_ _ _ _"]],
    corrupted: Float[Tensor, "images channels height width"] | None = None,
    value_range: tuple[float, float] = (0.0, 1.0),
    columns: int = 12,
) -> Figure:
    r"""Originals, what the models were shown if it was corrupted, and each model's answer.

    One image to a column, so that each reconstruction stands under its original; after
    `columns` images a new block begins.

    Raises:
        InputError: a model's images do not have the shape of the originals.

    Example:
        >>> images = torch.rand(24, 1, 28, 28)
        >>> figure = reconstructions(images, {"VAE": images, "Fisher AE": images})
        >>> len(figure.axes)  # two blocks of twelve columns
        2
    """
    inputs = {} if corrupted is None else {"input": corrupted}
    rows = {"original": originals, **inputs, **models}
    for name, images in rows.items():
        if images.shape != originals.shape:
            raise InputError(
                f"{name!r}: images of shape {tuple(images.shape)}, but the originals are "
                f"{tuple(originals.shape)}: give one reconstruction per original"
            )
    columns = min(columns, len(originals))
    blocks = zip(*(torch.split(images, columns) for images in rows.values()), strict=True)
    pictures = [
        ("", list(rows), _raster(block, (len(rows), columns), value_range)) for block in blocks
    ]
    return _figure(pictures, (len(pictures), 1), originals.shape[-1])


def samples(
    models: Mapping[str, Float[Tensor, "_ _ _ _"]],
    value_range: tuple[float, float] = (0.0, 1.0),
    most_columns: int = 3,
) -> Figure:
    r"""A square of samples for each model, its name above.

    Raises:
        InputError: no model, images of different shapes, or neither 1 nor 3 channels.

    Example:
        >>> images = torch.rand(64, 1, 28, 28)
        >>> figure = samples({"VAE": images, "Fisher AE": images})
        >>> [axes.get_title() for axes in figure.axes]
        ['VAE', 'Fisher AE']
    """
    most = max((len(images) for images in models.values()), default=0)
    if most == 0:
        raise InputError("there are no samples to show: give at least one model with one image")
    columns = math.ceil(math.sqrt(most))
    size = (math.ceil(most / columns), columns)
    pictures: list[_Picture] = [
        (name, (), _raster(torch.split(images, columns), size, value_range))
        for name, images in models.items()
    ]
    width = next(iter(models.values())).shape[-1]
    return _figure(pictures, panel_grid(len(pictures), most_columns), width)


def paper_panels(
    rows: Mapping[str, Mapping[str, Float[Tensor, "_ _ _ _"]]],
    value_range: tuple[float, float] = (0.0, 1.0),
    columns: int = 8,
) -> Figure:
    r"""The paper's arrangement: a panel of images for each task and model, models side by side.

    Arguments:
        rows: for each row of panels its title, and under it each model's images, shape
            (images, channels, height, width). Reconstructions come `interleaved` with the truth.
        value_range: black and white; what lies outside is clipped for display.
        columns: images in one line of a panel.

    Raises:
        InputError: no images, images of different shapes, neither 1 nor 3 channels, or rows with
            different models.

    Example:
        >>> truth, images = torch.rand(32, 1, 28, 28), torch.rand(64, 1, 28, 28)
        >>> pairs = interleaved(truth, truth)
        >>> figure = paper_panels({"reconstructions": {"VAE": pairs}, "samples": {"VAE": images}})
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['reconstructions', 'samples']
    """
    models = list(next(iter(rows.values()), {}))
    if any(list(row) != models for row in rows.values()):
        raise InputError(
            "the rows show different models: give the same, in the same order, in each"
        )
    shown = [(name, images) for row in rows.values() for name, images in row.items()]
    lines = math.ceil(max((len(images) for _, images in shown), default=0) / columns)
    pictures: list[_Picture] = [
        (
            name if index < len(models) else "",
            (),
            _raster(torch.split(images, columns), (lines, columns), value_range),
        )
        for index, (name, images) in enumerate(shown)
    ]
    if not pictures:
        raise InputError("there are no images to show: give at least one row with one model")
    figure = _figure(pictures, (len(rows), len(models)), shown[0][1].shape[-1], scale=0.6)
    for axes, title in zip(figure.axes[:: len(models)], rows, strict=True):
        axes.set_ylabel(title, fontsize=10)
    return figure


def interleaved(
    truth: Float[Tensor, "images channels height width"],
    answers: Float[Tensor, "images channels height width"],
    columns: int = 8,
) -> Float[Tensor, "_ channels height width"]:
    r"""Lines of true images, each with the line of their reconstructions below it.

    A last line that is not full is left out, so that each image stands under its original.

    Raises:
        InputError: different shapes.

    Example:
        >>> pairs = interleaved(torch.zeros(16, 1, 2, 2), torch.ones(16, 1, 2, 2))
        >>> [line.mean().item() for line in torch.split(pairs, 8)]
        [0.0, 1.0, 0.0, 1.0]
    """
    if truth.shape != answers.shape:
        raise InputError(
            f"{tuple(answers.shape)} answers to {tuple(truth.shape)} images: give one to each"
        )
    full = len(truth) - len(truth) % columns
    lines = [images[:full].reshape(-1, columns, *images.shape[1:]) for images in (truth, answers)]
    return torch.stack(lines, dim=1).flatten(0, 2)


def _raster(
    rows: Sequence[Tensor], size: tuple[int, int], value_range: tuple[float, float]
) -> npt.NDArray[np.float32]:
    """Images as one picture with size = (rows, columns), (height, width, 3), white between them."""
    if 0 in size:
        raise InputError("there are no images to show: give at least one")
    channels, height, width = rows[0].shape[1:]
    if channels not in (1, 3) or any(row.shape[1:] != rows[0].shape[1:] for row in rows):
        shapes = sorted({tuple(row.shape[1:]) for row in rows})
        raise InputError(f"images of {shapes}: all must have one shape, with 1 or 3 channels")
    gap = max(1, width // 14)
    top = gap // 2
    raster = np.ones((*size, height + gap, width + gap, 3), dtype=np.float32)
    for line, row in zip(raster, rows, strict=False):
        shown = to_unit(row.detach().cpu().float(), value_range)
        line[: len(row), top : top + height, top : top + width] = shown.permute(0, 2, 3, 1).numpy()
    return raster.swapaxes(1, 2).reshape(size[0] * (height + gap), -1, 3)


def _figure(
    pictures: Sequence[_Picture], grid: tuple[int, int], image_width: int, scale: float = 1.0
) -> Figure:
    """Pictures of equal size in a grid of (rows, columns), as large as their images deserve."""
    height, width = pictures[0][2].shape[:2]
    # Inches per pixel: half an inch for an image of 28 pixels, somewhat more for larger ones.
    scale *= max(0.4, 0.5 * math.sqrt(image_width / 28)) / image_width
    beside = 1.2 if any(labels for _, labels, _ in pictures) else 0.4
    above = 0.35 if any(title for title, _, _ in pictures) else 0.1
    size = (width * scale * grid[1] + beside, (height * scale + above) * grid[0])
    figure = Figure(figsize=size, layout="compressed")
    for axes, picture in zip(panels(figure, len(pictures), grid), pictures, strict=True):
        _show(axes, *picture)
    return figure


def _show(
    axes: Axes, title: str, row_labels: Sequence[str], raster: npt.NDArray[np.float32]
) -> None:
    axes.imshow(raster)
    axes.set_title(title, fontsize=10)
    axes.spines[:].set_visible(False)
    axes.set_xticks([])
    row_height = len(raster) / max(len(row_labels), 1)
    centres = [(row + 0.5) * row_height - 0.5 for row in range(len(row_labels))]
    axes.set_yticks(centres, row_labels, fontsize=9)
    axes.tick_params(length=0)
