r"""Corruptions that move pixels: affine maps, motion and glass blur."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from fisherae.data.corruptions.base import ImageCorruption, check_fraction, check_range
from fisherae.errors import InputError

__all__ = ["GlassBlur", "MotionBlur", "Rotation", "Scale", "Shear", "Translation"]


@dataclass(frozen=True)
class Rotation(ImageCorruption):
    r"""Turns each image about its centre, clockwise or not at random: x̃(c + o) = x(c + R(±α) o).

    Between pixels values are bilinear; what comes from outside is black, the low end.

    Arguments:
        degrees: α in [0, 180].
        value_range: (low, high) ends of the pixel range.

    Raises:
        InputError: the angle or the range is not such; when called, x is not of shape
            (N, C, H, W).

    References:
        Mu and Gilmer (2019), MNIST-C: A Robustness Benchmark for Computer Vision,
        https://arxiv.org/abs/1906.02337

    Example:
        >>> corner = torch.zeros(1, 1, 3, 3)
        >>> corner[..., 0, 0] = 1
        >>> Rotation(180)(corner)[0, 0].round().tolist()
        [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """

    name: ClassVar[str] = "rotation"
    label: ClassVar[str] = "rotation [degrees]"

    degrees: float
    value_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if not 0 <= self.degrees <= 180:
            raise InputError(f"rotation is {self.degrees}: give degrees in [0, 180]")
        check_range(self.value_range)

    def _corrupt(
        self, x: Tensor, generator: torch.Generator | None, device: torch.device
    ) -> Tensor:
        angle = _signs(x, generator, device) * math.radians(self.degrees)
        cos, sin = angle.cos(), angle.sin()
        return _affine(x, ((cos, -sin), (sin, cos)), self.value_range[0])


@dataclass(frozen=True)
class Shear(ImageCorruption):
    r"""Shifts each row by its distance from the centre, to the right or left at random.

    The row at o_y pixels below the centre moves by ±s·o_y: x̃(c + o) = x(c + (o_x ± s·o_y, o_y)),
    bilinear; what comes from outside is black, the low end.

    Arguments:
        factor: s ≥ 0, the tangent of the angle.
        value_range: (low, high) ends of the pixel range.

    Raises:
        InputError: the factor or the range is not such; when called, x is not of shape
            (N, C, H, W).

    References:
        Mu and Gilmer (2019), https://arxiv.org/abs/1906.02337

    Example:
        >>> bar = torch.tensor([[0.0, 1.0, 0.0]] * 3).view(1, 1, 3, 3)
        >>> slanted = Shear(1.0)(bar)[0, 0]
        >>> slanted.sum(1).tolist(), slanted.trace().item() in (1.0, 3.0)
        ([1.0, 1.0, 1.0], True)
    """

    name: ClassVar[str] = "shear"
    label: ClassVar[str] = "shear factor"

    factor: float
    value_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if not 0 <= self.factor < math.inf:
            raise InputError(f"shear factor is {self.factor}: give a finite number ≥ 0")
        check_range(self.value_range)

    def _corrupt(
        self, x: Tensor, generator: torch.Generator | None, device: torch.device
    ) -> Tensor:
        slope = _signs(x, generator, device) * self.factor
        one, zero = torch.ones_like(slope), torch.zeros_like(slope)
        return _affine(x, ((one, slope), (zero, one)), self.value_range[0])


@dataclass(frozen=True)
class Scale(ImageCorruption):
    r"""Shrinks each image about its centre to the share 1 − r of its sides.

    x̃(c + o) = x(c + o / (1 − r)), bilinear; around it is black, the low end.

    Arguments:
        reduction: r in [0, 1).
        value_range: (low, high) ends of the pixel range.

    Raises:
        InputError: the reduction or the range is not such; when called, x is not of shape
            (N, C, H, W).

    References:
        Mu and Gilmer (2019), https://arxiv.org/abs/1906.02337

    Example:
        >>> Scale(0.5)(torch.ones(1, 1, 8, 8)).sum()  # a quarter of 64
        tensor(16.)
    """

    name: ClassVar[str] = "scale"
    label: ClassVar[str] = "scale reduction r"

    reduction: float
    value_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if not 0 <= self.reduction < 1:
            raise InputError(f"scale reduction is {self.reduction}: give a number in [0, 1)")
        check_range(self.value_range)

    def _corrupt(
        self, x: Tensor, generator: torch.Generator | None, device: torch.device
    ) -> Tensor:
        larger = torch.full((len(x),), 1 / (1 - self.reduction), device=x.device)
        zero = torch.zeros_like(larger)
        return _affine(x, ((larger, zero), (zero, larger)), self.value_range[0])


@dataclass(frozen=True)
class Translation(ImageCorruption):
    r"""Shifts each image by the share d of its sides, into a random direction.

    x̃(p) = x(p + d·(W cos φ, H sin φ)), φ uniform, bilinear; what comes from outside is black, the
    low end.

    Arguments:
        distance: d in [0, 1].
        value_range: (low, high) ends of the pixel range.

    Raises:
        InputError: the distance or the range is not such; when called, x is not of shape
            (N, C, H, W).

    References:
        Mu and Gilmer (2019), https://arxiv.org/abs/1906.02337

    Example:
        >>> Translation(1.0)(torch.ones(1, 1, 8, 8)).mean() < 0.1
        tensor(True)
    """

    name: ClassVar[str] = "translation"
    label: ClassVar[str] = "translation [share of the side]"

    distance: float
    value_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        check_fraction("translation", self.distance)
        check_range(self.value_range)

    def _corrupt(
        self, x: Tensor, generator: torch.Generator | None, device: torch.device
    ) -> Tensor:
        shift = self.distance * _directions(x, generator, device) * _sides(x)
        return _bilinear(x, _pixels(x) + shift[:, None, None], self.value_range[0])


@dataclass(frozen=True)
class MotionBlur(ImageCorruption):
    r"""Averages each image along a short line of random direction.

    x̃(p) = ∫ x(p + t·ℓ·(W cos φ, H sin φ)) dt over t ∈ [−½, ½], φ uniform, as the mean of bilinear
    values at most a pixel apart, the image continued by its outermost pixels.

    Arguments:
        length: ℓ in [0, 1], as a share of the sides.

    Raises:
        InputError: the length is outside [0, 1]; when called, x is not of shape (N, C, H, W).

    References:
        Mu and Gilmer (2019), https://arxiv.org/abs/1906.02337

    Example:
        >>> dot = torch.zeros(1, 1, 9, 9)
        >>> dot[..., 4, 4] = 1
        >>> moved = MotionBlur(0.5)(dot)
        >>> moved.max() < 0.5, round(moved.sum().item(), 2)
        (tensor(True), 1.0)
    """

    name: ClassVar[str] = "motion-blur"
    label: ClassVar[str] = "motion blur [share of the side]"

    length: float

    def __post_init__(self) -> None:
        check_fraction("motion blur length", self.length)

    def _corrupt(
        self, x: Tensor, generator: torch.Generator | None, device: torch.device
    ) -> Tensor:
        line = self.length * (_directions(x, generator, device) * _sides(x))[:, None, None]
        points = math.ceil(self.length * max(x.shape[2:])) + 1
        pixels, total = _pixels(x), torch.zeros_like(x, dtype=torch.float64)
        for t in torch.linspace(-0.5, 0.5, points).tolist():
            total += _bilinear(x, pixels + t * line)
        return (total / points).to(x)


@dataclass(frozen=True)
class GlassBlur(ImageCorruption):
    r"""As through frosted glass: each pixel shows what is at a random place near it.

    x̃(p) = x(p + r·(W a, H b)), a and b uniform in [−1, 1], for each pixel anew, bilinear, in all
    channels alike, the image continued by its outermost pixels.

    Arguments:
        displacement: r in [0, 1], as a share of the sides.

    Raises:
        InputError: the displacement is outside [0, 1]; when called, x is not of shape
            (N, C, H, W).

    References:
        Mu and Gilmer (2019), https://arxiv.org/abs/1906.02337 (there pixels are swapped, one after
        the other)

    Example:
        >>> GlassBlur(0.1)(torch.ones(2, 3, 8, 8)).unique()
        tensor([1.])
    """

    name: ClassVar[str] = "glass-blur"
    label: ClassVar[str] = "glass blur [share of the side]"

    displacement: float

    def __post_init__(self) -> None:
        check_fraction("glass blur displacement", self.displacement)

    def _corrupt(
        self, x: Tensor, generator: torch.Generator | None, device: torch.device
    ) -> Tensor:
        size = (len(x), *x.shape[2:], 2)
        places = 2 * torch.rand(size, generator=generator, device=device).to(x.device) - 1
        return _bilinear(x, _pixels(x) + self.displacement * _sides(x) * places)


def _affine(x: Tensor, matrix: tuple[tuple[Tensor, Tensor], ...], outside: float) -> Tensor:
    """x̃(c + o) = x(c + M o), c the centre; each entry of M of shape (N,)."""
    centre = (_sides(x) - 1) / 2
    rows = torch.stack([torch.stack(row, dim=-1) for row in matrix], dim=-2)
    offsets = torch.einsum("nij,hwj->nhwi", rows, _pixels(x) - centre)
    return _bilinear(x, centre + offsets, outside)


def _bilinear(x: Tensor, places: Tensor, outside: float | None = None) -> Tensor:
    """Values of x at places (column, row), shape (N, H, W, 2), in pixels. Outside is a constant, or
    with None the nearest pixel."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    base = 0.0 if outside is None else outside
    values = F.grid_sample(
        x.to(dtype) - base,
        ((2 * places + 1) / _sides(x) - 1).to(dtype),
        padding_mode="border" if outside is None else "zeros",
        align_corners=False,
    )
    # Rounding would lead out of the range, which a Bernoulli decoder does not take.
    ends = x.flatten(1).aminmax(dim=1)
    low, high = (end.to(dtype)[:, None, None, None] for end in ends)
    if outside is not None:
        low, high = low.clamp(max=outside), high.clamp(min=outside)
    return (values + base).clamp(low, high).to(x)


def _pixels(x: Tensor) -> Tensor:
    """(column, row) of each pixel, shape (H, W, 2)."""
    rows, columns = (torch.arange(n, device=x.device, dtype=torch.float32) for n in x.shape[2:])
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)


def _sides(x: Tensor) -> Tensor:
    """(width, height)."""
    return torch.tensor([x.shape[3], x.shape[2]], device=x.device, dtype=torch.float32)


def _signs(x: Tensor, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """+1 or −1 for each image."""
    bits = torch.randint(2, (len(x),), generator=generator, device=device)
    return (2 * bits - 1).to(x.device, torch.float32)


def _directions(x: Tensor, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """(cos φ, sin φ) for each image, φ uniform, shape (N, 2)."""
    angle = 2 * math.pi * torch.rand(len(x), generator=generator, device=device).to(x.device)
    return torch.stack([angle.cos(), angle.sin()], dim=-1)
