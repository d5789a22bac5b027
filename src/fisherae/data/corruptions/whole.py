r"""Corruptions of the whole image: occlusion, blur, contrast."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fisherae.data.corruptions.base import Corruption, ImageCorruption, check_fraction
from fisherae.errors import InputError

__all__ = ["Blur", "Contrast", "Occlusion", "blur_matrix"]


@dataclass(frozen=True)
class Occlusion(ImageCorruption):
    r"""Sets one random square of each image to zero, in all channels.

    The square has round(√ν·H) rows and round(√ν·W) columns, hence about a fraction ν of the area
    (in an oblong image it is as oblong). Its place is uniform among those inside the image, and
    independent between images. "Zero" is the value 0 as in `Mask`: black for pixels in [0, 1],
    mid-grey for [−1, 1].

    Arguments:
        fraction: ν in [0, 1].

    Raises:
        InputError: the fraction is outside [0, 1]; when called, x is not of shape (N, C, H, W).

    References:
        DeVries and Taylor (2017), Improved Regularization of Convolutional Neural Networks with
        Cutout, https://arxiv.org/abs/1708.04552 (here the square never leaves the image)

    Example:
        >>> (Occlusion(0.25)(torch.ones(2, 3, 10, 10)) == 0).flatten(1).sum(1)
        tensor([75, 75])
    """

    name: ClassVar[str] = "occlusion"
    label: ClassVar[str] = "occluded fraction ν"

    fraction: float

    def __post_init__(self) -> None:
        check_fraction("occluded fraction", self.fraction)

    def _corrupt(
        self, x: Tensor, generator: torch.Generator | None, device: torch.device
    ) -> Tensor:
        inside = []
        for size in x.shape[2:]:
            side = round(math.sqrt(self.fraction) * size)
            first = torch.randint(
                size - side + 1, (len(x), 1), generator=generator, device=device
            ).to(x.device)
            position = torch.arange(size, device=x.device)
            inside.append((first <= position) & (position < first + side))
        rows, columns = inside
        return x.masked_fill(rows[:, None, :, None] & columns[:, None, None, :], 0.0)


@dataclass(frozen=True)
class Blur(ImageCorruption):
    r"""Gaussian blur, the same for every image: x̃ = G_H x G_Wᵀ in each channel.

    G_n is the n×n matrix of a convolution with the weights w_k ∝ exp(−k²/2σ²), k whole, Σ w_k = 1,
    the image continued beyond its edges by reflection (d c b a | a b c d | d c b a, scipy's
    "reflect"), as often as σ demands. It keeps each channel's mean; as σ → ∞ that is all it keeps.

    Arguments:
        sigma: σ ≥ 0, the standard deviation in pixels.

    Raises:
        InputError: σ is negative or not finite; when called, x is not of shape (N, C, H, W).

    References:
        Hendrycks and Dietterich (2019), Benchmarking Neural Network Robustness to Common
        Corruptions and Perturbations, https://arxiv.org/abs/1903.12261

    Example:
        >>> dot = torch.zeros(1, 1, 9, 9)
        >>> dot[..., 4, 4] = 1
        >>> spread = Blur(1.0)(dot)
        >>> round(spread.max().item(), 3), round(spread.sum().item(), 3)
        (0.159, 1.0)
    """

    name: ClassVar[str] = "blur"
    label: ClassVar[str] = "blur σ [pixels]"

    sigma: float

    def __post_init__(self) -> None:
        if not 0 <= self.sigma < math.inf:
            raise InputError(f"blur sigma is {self.sigma}: give a finite number of pixels ≥ 0")

    def _corrupt(
        self, x: Tensor, generator: torch.Generator | None, device: torch.device
    ) -> Tensor:
        rows, columns = (blur_matrix(size, self.sigma).to(x.device) for size in x.shape[2:])
        # In float32, white would round to more than 1, which a Bernoulli decoder does not take.
        return (rows @ x.double() @ columns.T).to(x)


@dataclass(frozen=True)
class Contrast(Corruption):
    r"""Takes contrast away: x̃ = m + (1 − r)(x − m), m the mean of all the image's components.

    Arguments:
        reduction: r in [0, 1]; 1 leaves a uniform image of the value m.

    Raises:
        InputError: the reduction is outside [0, 1].

    References:
        Hendrycks and Dietterich (2019), Benchmarking Neural Network Robustness to Common
        Corruptions and Perturbations (there m is one mean per channel),
        https://arxiv.org/abs/1903.12261

    Example:
        >>> Contrast(0.5)(torch.tensor([[0.0, 1.0]]))
        tensor([[0.2500, 0.7500]])
    """

    name: ClassVar[str] = "contrast"
    label: ClassVar[str] = "contrast reduction r"

    reduction: float

    def __post_init__(self) -> None:
        check_fraction("contrast reduction", self.reduction)

    def _corrupt(
        self, x: Tensor, generator: torch.Generator | None, device: torch.device
    ) -> Tensor:
        flat = x.flatten(1)
        return flat.lerp(flat.mean(1, keepdim=True), self.reduction).view_as(x)


def blur_matrix(n: int, sigma: float) -> Tensor:
    """G_n of `Blur` in float64, symmetric, of shape (n, n)."""
    period = 2 * n  # of the reflected line, on which j and 2n − 1 − j are one pixel
    # From σ = 2n on the weights, summed over the periods, are uniform to 10⁻⁸.
    sigma = min(sigma, period)
    radius = math.ceil(6 * sigma)
    k = torch.arange(-radius, radius + 1)
    weight = (k.double() / sigma).square().div(-2).exp()
    weight = weight / weight.sum()
    folded = weight.new_zeros(period).index_add(0, k % period, weight)
    i, j = torch.arange(n)[:, None], torch.arange(n)
    return folded[(j - i) % period] + folded[(-1 - j - i) % period]
