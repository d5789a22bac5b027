r"""Corruptions that draw on images: a dotted line, a zigzag."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fisherae.data.corruptions.base import ImageCorruption, check_fraction, check_range

__all__ = ["DottedLine", "Zigzag"]

DASHES = 7
TEETH = 8
TOOTH = 0.1  # height of a tooth above and below the line, as a share of the height


@dataclass(frozen=True)
class DottedLine(ImageCorruption):
    r"""Draws seven white dashes across each image, on a line of random height and slope.

    The line goes from one side to the other, its ends at heights that are uniform and independent.
    A pixel is as white as the share of it that a stroke covers: x̃ = (1 − a) x + a·high with
    a = max(0, min(t, 1, (t + 1) / 2 − δ)), t the thickness in pixels and δ the distance to the
    nearest dash.

    Arguments:
        thickness: of the stroke in [0, 1], as a share of the shorter side.
        value_range: (low, high) ends of the pixel range.

    Raises:
        InputError: the thickness or the range is not such; when called, x is not of shape
            (N, C, H, W).

    References:
        Mu and Gilmer (2019), MNIST-C: A Robustness Benchmark for Computer Vision,
        https://arxiv.org/abs/1906.02337

    Example:
        >>> drawn = DottedLine(0.1)(torch.zeros(1, 1, 28, 28))
        >>> drawn.max(), bool(drawn.mean() < 0.2)
        (tensor(1.), True)
    """

    name: ClassVar[str] = "dotted-line"
    label: ClassVar[str] = "dotted line, thickness [share of the side]"

    thickness: float
    value_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        check_fraction("dotted line thickness", self.thickness)
        check_range(self.value_range)

    def _corrupt(
        self, x: Tensor, generator: torch.Generator | None, device: torch.device
    ) -> Tensor:
        places = torch.arange(DASHES, device=x.device)
        line = _lines(x, generator, device)
        begins, ends = (_on(line, (places + shift) / DASHES) for shift in (0.25, 0.75))
        return _painted(x, begins, ends, self.thickness, self.value_range[1])


@dataclass(frozen=True)
class Zigzag(ImageCorruption):
    r"""Draws a white zigzag of eight strokes across each image, along a line as `DottedLine`'s.

    Its corners lie a tenth of the height above and below the line in turn.

    Arguments:
        thickness: of the stroke in [0, 1], as a share of the shorter side.
        value_range: (low, high) ends of the pixel range.

    Raises:
        InputError: the thickness or the range is not such; when called, x is not of shape
            (N, C, H, W).

    References:
        Mu and Gilmer (2019), https://arxiv.org/abs/1906.02337

    Example:
        >>> Zigzag(0.1)(torch.zeros(1, 1, 28, 28)).max()
        tensor(1.)
    """

    name: ClassVar[str] = "zigzag"
    label: ClassVar[str] = "zigzag, thickness [share of the side]"

    thickness: float
    value_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        check_fraction("zigzag thickness", self.thickness)
        check_range(self.value_range)

    def _corrupt(
        self, x: Tensor, generator: torch.Generator | None, device: torch.device
    ) -> Tensor:
        places = torch.arange(TEETH + 1, device=x.device)
        corners = _on(_lines(x, generator, device), places / TEETH)
        corners[..., 1] += TOOTH * x.shape[2] * (1 - 2 * (places % 2))
        return _painted(x, corners[:, :-1], corners[:, 1:], self.thickness, self.value_range[1])


def _lines(x: Tensor, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """For each image the ends (column, row) of a line across it, shape (N, 2, 2)."""
    height, width = x.shape[2:]
    heights = torch.rand(len(x), 2, generator=generator, device=device).to(x.device)
    sides = heights.new_tensor([0.0, 1.0]).expand_as(heights)
    return torch.stack([width * sides, height * heights], dim=-1) - 0.5


def _on(lines: Tensor, places: Tensor) -> Tensor:
    """The points at these shares of the way along each line, shape (N, places, 2)."""
    begin, end = lines[:, :1], lines[:, 1:]
    return begin + places[:, None] * (end - begin)


def _painted(x: Tensor, begins: Tensor, ends: Tensor, thickness: float, colour: float) -> Tensor:
    """Draws the strokes from begins to ends, (N, strokes, 2), as thick as a share of the side."""
    height, width = x.shape[2:]
    rows, columns = (torch.arange(n, device=x.device, dtype=torch.float32) for n in (height, width))
    pixels = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
    nearest = torch.full((len(x), height, width), torch.inf, device=x.device)
    for begin, end in zip(begins.unbind(1), ends.unbind(1), strict=True):
        along = end - begin
        offset = pixels - begin[:, None, None]
        share = torch.einsum("nhwi,ni->nhw", offset, along) / along.square().sum(1)[:, None, None]
        foot = share.clamp(0, 1)[..., None] * along[:, None, None]
        nearest = torch.minimum(nearest, (offset - foot).norm(dim=-1))
    thick = thickness * min(height, width)
    covered = ((thick + 1) / 2 - nearest).clamp(0, min(thick, 1))
    return x.lerp(x.new_tensor(colour), covered[:, None].to(x))
