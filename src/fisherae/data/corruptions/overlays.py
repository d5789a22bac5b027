r"""Corruptions by light and weather: brightness, stripes, fog, spatter."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from fisherae.data.corruptions.base import Corruption, ImageCorruption, check_fraction, check_range
from fisherae.data.corruptions.whole import blur_matrix

__all__ = ["Brightness", "Fog", "Spatter", "Stripes"]


@dataclass(frozen=True)
class Brightness(Corruption):
    r"""Moves all components towards white: x̃ = (1 − b) x + b·high.

    On black and white it is the addition of b·(high − low), clipped.

    Arguments:
        share: b in [0, 1].
        value_range: (low, high) ends of the pixel range.

    Raises:
        InputError: the share is outside [0, 1], or the range is empty or not finite.

    References:
        Mu and Gilmer (2019), MNIST-C: A Robustness Benchmark for Computer Vision,
        https://arxiv.org/abs/1906.02337

    Example:
        >>> Brightness(0.5)(torch.tensor([[0.0, 1.0]]))
        tensor([[0.5000, 1.0000]])
    """

    name: ClassVar[str] = "brightness"
    label: ClassVar[str] = "brightness b"

    share: float
    value_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        check_fraction("brightness", self.share)
        check_range(self.value_range)

    def _corrupt(
        self, x: Tensor, generator: torch.Generator | None, device: torch.device
    ) -> Tensor:
        return x.lerp(x.new_tensor(self.value_range[1]), self.share)


@dataclass(frozen=True)
class Stripes(ImageCorruption):
    r"""Inverts every other one of eight upright stripes: x̃ = (1 − w) x + w (low + high − x).

    A stripe is an eighth of the image wide; where the first begins is random for each image.

    Arguments:
        inversion: w in [0, 1]; ½ leaves grey in the stripes, 1 the negative.
        value_range: (low, high) ends of the pixel range.

    Raises:
        InputError: the inversion or the range is not such; when called, x is not of shape
            (N, C, H, W).

    References:
        Mu and Gilmer (2019), https://arxiv.org/abs/1906.02337 (there three stripes, at fixed
        places)

    Example:
        >>> Stripes(1.0)(torch.zeros(1, 1, 8, 8)).mean()
        tensor(0.5000)
    """

    name: ClassVar[str] = "stripes"
    label: ClassVar[str] = "stripes, inversion w"

    inversion: float
    value_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        check_fraction("stripes inversion", self.inversion)
        check_range(self.value_range)

    def _corrupt(
        self, x: Tensor, generator: torch.Generator | None, device: torch.device
    ) -> Tensor:
        begin = torch.rand(len(x), 1, 1, 1, generator=generator, device=device).to(x.device)
        column = (torch.arange(x.shape[3], device=x.device) + 0.5) / x.shape[3]
        striped = (4 * column + begin) % 1 < 0.5
        return torch.where(striped, x.lerp(sum(self.value_range) - x, self.inversion), x)


@dataclass(frozen=True)
class Fog(ImageCorruption):
    r"""White fog of uneven density: x̃ = (1 − w f) x + w f·high.

    f is a random field for each image, the same in all its channels: bilinear noise on grids of 1,
    2, 4, … cells, each half as strong as the one before, brought to [0, 1].

    Arguments:
        density: w in [0, 1], where the fog is thickest; about half of it on average.
        value_range: (low, high) ends of the pixel range.

    Raises:
        InputError: the density or the range is not such; when called, x is not of shape
            (N, C, H, W).

    References:
        Mu and Gilmer (2019), https://arxiv.org/abs/1906.02337 (there from a plasma fractal, added)

    Example:
        >>> foggy = Fog(0.6)(torch.zeros(1, 1, 28, 28))
        >>> foggy.min(), foggy.max()
        (tensor(0.), tensor(0.6000))
    """

    name: ClassVar[str] = "fog"
    label: ClassVar[str] = "fog density w"

    density: float
    value_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        check_fraction("fog density", self.density)
        check_range(self.value_range)

    def _corrupt(
        self, x: Tensor, generator: torch.Generator | None, device: torch.device
    ) -> Tensor:
        field = torch.zeros(len(x), 1, *x.shape[2:], device=device)
        for octave in range(max(1, math.ceil(math.log2(max(x.shape[2:]))))):
            corners = 2**octave + 1
            grid = torch.rand(len(x), 1, corners, corners, generator=generator, device=device)
            field += 0.5**octave * F.interpolate(
                grid, size=x.shape[2:], mode="bilinear", align_corners=True
            )
        low, high = field.amin((1, 2, 3), keepdim=True), field.amax((1, 2, 3), keepdim=True)
        field = (field - low) / (high - low).clamp(min=1e-12)
        return x.lerp(x.new_tensor(self.value_range[1]), (self.density * field).to(x))


@dataclass(frozen=True)
class Spatter(ImageCorruption):
    r"""White drops on each image, in all channels.

    Exactly round(νHW) pixels become white, the high end: those where Gaussian noise, blurred with
    σ = a twentieth of the shorter side, is largest.

    Arguments:
        fraction: ν in [0, 1], of the area.
        value_range: (low, high) ends of the pixel range.

    Raises:
        InputError: the fraction or the range is not such; when called, x is not of shape
            (N, C, H, W).

    References:
        Mu and Gilmer (2019), https://arxiv.org/abs/1906.02337

    Example:
        >>> Spatter(0.2)(torch.zeros(2, 3, 10, 10)).flatten(1).sum(1)
        tensor([60., 60.])
    """

    name: ClassVar[str] = "spatter"
    label: ClassVar[str] = "spattered fraction ν"

    fraction: float
    value_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        check_fraction("spattered fraction", self.fraction)
        check_range(self.value_range)

    def _corrupt(
        self, x: Tensor, generator: torch.Generator | None, device: torch.device
    ) -> Tensor:
        height, width = x.shape[2:]
        noise = torch.randn(len(x), height, width, generator=generator, device=device)
        sigma = min(height, width) / 20
        rows, columns = (blur_matrix(size, sigma).to(device) for size in (height, width))
        field = (rows @ noise.double() @ columns.T).flatten(1).to(x.device)
        wet = field.topk(round(self.fraction * height * width), dim=1).indices
        drops = torch.zeros_like(field, dtype=torch.bool).scatter(1, wet, True)
        return x.masked_fill(drops.view(len(x), 1, height, width), self.value_range[1])
