r"""Corruption by reduction to edges."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from fisherae.data.corruptions.base import ImageCorruption, check_fraction, check_range
from fisherae.data.corruptions.whole import blur_matrix

__all__ = ["CannyEdges"]

WEAK, STRONG = 0.1, 0.2  # thresholds of an edge's height
TIE = 1e-9
SECTORS = ((0, 1), (1, 1), (1, 0), (1, -1))  # (rows, columns) to the next pixel across an edge


@dataclass(frozen=True)
class CannyEdges(ImageCorruption):
    r"""Fades each image into the drawing of its edges: x̃ = (1 − w) x + w (low or high).

    Canny's edges of the mean over the channels, white on black: blur with σ = 1/28 of the shorter
    side, at least half a pixel; gradient by Sobel's operator; thinning to the pixels whose gradient
    is largest across the edge; of those with a strength above 0.1 of the range, the ones that a
    chain of such pixels connects with one above 0.2. The strength of a straight step between two
    areas is their difference.

    Arguments:
        share: w in [0, 1]; 1 leaves the edges alone.
        value_range: (low, high) ends of the pixel range.

    Raises:
        InputError: the share or the range is not such; when called, x is not of shape
            (N, C, H, W).

    References:
        Canny (1986), A Computational Approach to Edge Detection,
        https://doi.org/10.1109/TPAMI.1986.4767851

        Mu and Gilmer (2019), MNIST-C: A Robustness Benchmark for Computer Vision,
        https://arxiv.org/abs/1906.02337 (there w = 1)

    Example:
        >>> half = (torch.arange(8) < 4).float().expand(1, 1, 8, 8)
        >>> CannyEdges(1.0)(half)[0, 0].sum(1)
        tensor([1., 1., 1., 1., 1., 1., 1., 1.])
    """

    name: ClassVar[str] = "canny-edges"
    label: ClassVar[str] = "canny edges, share w"

    share: float
    value_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        check_fraction("canny edges share", self.share)
        check_range(self.value_range)

    def _corrupt(
        self, x: Tensor, generator: torch.Generator | None, device: torch.device
    ) -> Tensor:
        low, high = self.value_range
        grey = (x.double().mean(1, keepdim=True) - low) / (high - low)
        edges = _canny(grey, max(min(x.shape[2:]) / 28, 0.5))
        return x.lerp(torch.where(edges, high, low).to(x), self.share)


def _canny(grey: Tensor, sigma: float) -> Tensor:
    """Where the edges are, shape (N, 1, H, W), of images in float64 and [0, 1]."""
    strength, sector = _gradient(grey, sigma)
    thin = torch.zeros_like(strength, dtype=torch.bool)
    for index, (down, right) in enumerate(SECTORS):
        ahead, behind = _moved(strength, -down, -right), _moved(strength, down, right)
        # Of two equal pixels on both sides of a step one is kept, whatever the rounding.
        largest = (strength > behind + TIE) & (strength > ahead - TIE)
        thin |= (sector == index) & largest
    weak, edges = thin & (strength > WEAK), thin & (strength > STRONG)
    while True:
        grown = weak & (F.max_pool2d(edges.to(grey), 3, stride=1, padding=1) > 0)
        if torch.equal(grown, edges):
            return edges
        edges = grown


def _gradient(grey: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """Its length, in units of what a step of height one gives, and its direction in eighths of a
    turn, opposite ones being one."""
    rows, columns = (blur_matrix(size, sigma).to(grey.device) for size in grey.shape[2:])
    smooth = F.pad(rows @ grey @ columns.T, (1, 1, 1, 1), mode="replicate")
    across = grey.new_tensor([-0.5, 0.0, 0.5]) * grey.new_tensor([[0.25], [0.5], [0.25]])
    dx, dy = F.conv2d(smooth, torch.stack([across, across.T])[:, None]).chunk(2, dim=1)
    k = torch.arange(-8, 9, device=grey.device, dtype=grey.dtype)
    weight = (k / sigma).square().div(-2).exp()
    step = (weight[8] + weight[9]) / weight.sum() / 2
    sector = (torch.atan2(dy, dx) / (torch.pi / 4)).round().long() % 4
    return torch.hypot(dx, dy) / step, sector


def _moved(x: Tensor, down: int, right: int) -> Tensor:
    """Each pixel moved, zeros coming in."""
    height, width = x.shape[2:]
    padded = F.pad(x, (1, 1, 1, 1))
    return padded[..., 1 - down : 1 - down + height, 1 - right : 1 - right + width]
