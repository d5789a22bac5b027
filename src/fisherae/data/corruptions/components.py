r"""Corruptions of single components: noise, shot noise, mask, salt and pepper."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fisherae.data.corruptions.base import Corruption, check_fraction, check_range
from fisherae.errors import InputError

__all__ = ["GaussianNoise", "Mask", "SaltAndPepper", "ShotNoise"]


@dataclass(frozen=True)
class GaussianNoise(Corruption):
    r"""Additive noise of the given variance: x̃ = x + ε, ε ~ N(0, σ²I). The result is not clipped.

    Arguments:
        variance: σ² ≥ 0, in the squared units of x.

    Raises:
        InputError: the variance is negative or not finite.

    References:
        Elkhalil et al. (2021), Fisher Auto-Encoders, section 4, https://arxiv.org/abs/2007.06120

    Example:
        >>> noisy = GaussianNoise(0.25)(torch.zeros(100, 1, 28, 28))
        >>> round(noisy.var().item(), 2)
        0.25
    """

    name: ClassVar[str] = "noise"
    label: ClassVar[str] = "noise variance σ²"
    keeps_range: ClassVar[bool] = False

    variance: float

    def __post_init__(self) -> None:
        if not 0 <= self.variance < math.inf:
            raise InputError(f"noise variance is {self.variance}: give a finite number ≥ 0")

    def _corrupt(
        self, x: Tensor, generator: torch.Generator | None, device: torch.device
    ) -> Tensor:
        noise = torch.randn(x.shape, generator=generator, device=device)
        return x + math.sqrt(self.variance) * noise.to(x)


@dataclass(frozen=True)
class ShotNoise(Corruption):
    r"""The noise of counted photons: x̃ = v·n, n ~ Poisson(x / v), pixels in units of the range.

    A component has the mean x and the variance v·x: black stays black, and white, where 1/v photons
    are expected, has the variance v. The result is not clipped. Components below the low end have
    no photons.

    Arguments:
        variance: v ≥ 0, at white, in squared units of the range.
        value_range: (low, high) ends of the pixel range.

    Raises:
        InputError: the variance is negative or not finite, or the range is empty or not finite.

    References:
        Mu and Gilmer (2019), MNIST-C: A Robustness Benchmark for Computer Vision,
        https://arxiv.org/abs/1906.02337

    Example:
        >>> noisy = ShotNoise(0.25)(torch.ones(100, 1, 28, 28))
        >>> round(noisy.mean().item(), 2), round(noisy.var().item(), 2)
        (1.0, 0.25)
    """

    name: ClassVar[str] = "shot-noise"
    label: ClassVar[str] = "shot noise, variance at white"
    keeps_range: ClassVar[bool] = False

    variance: float
    value_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if not 0 <= self.variance < math.inf:
            raise InputError(f"shot noise variance is {self.variance}: give a finite number ≥ 0")
        check_range(self.value_range)

    def _corrupt(
        self, x: Tensor, generator: torch.Generator | None, device: torch.device
    ) -> Tensor:
        low, high = self.value_range
        uniform = torch.rand(x.shape, generator=generator, device=device).to(x.device)
        rate = ((x.double() - low) / (high - low) / self.variance).clamp(min=0)
        photons = _poisson_quantile(uniform.double(), rate)
        return (low + (high - low) * self.variance * photons).to(x)


@dataclass(frozen=True)
class Mask(Corruption):
    r"""Sets a random fraction of each image's components to zero: x̃ = m ⊙ x.

    The mask m ∈ {0, 1}^D, D = C·H·W, has exactly round(νD) zeros, which are uniform among the
    components and independent between images; the colours of one pixel are separate components.
    "Zero" is the value 0 as in the paper: black for pixels in [0, 1], mid-grey for [−1, 1].

    Arguments:
        fraction: ν in [0, 1].

    Raises:
        InputError: the fraction is outside [0, 1].

    References:
        Elkhalil et al. (2021), Fisher Auto-Encoders, supplement, "Robustness to binary masking
        noise" (Figures 7-10), https://arxiv.org/abs/2007.06120

    Example:
        >>> (Mask(0.8)(torch.ones(2, 3, 10, 10)) == 0).flatten(1).sum(1)
        tensor([240, 240])
    """

    name: ClassVar[str] = "mask"
    label: ClassVar[str] = "masked fraction ν"

    fraction: float

    def __post_init__(self) -> None:
        check_fraction("masked fraction", self.fraction)

    def _corrupt(
        self, x: Tensor, generator: torch.Generator | None, device: torch.device
    ) -> Tensor:
        masked = _random_components(x, self.fraction, generator, device)
        return x.flatten(1).scatter(1, masked, 0.0).view_as(x)


@dataclass(frozen=True)
class SaltAndPepper(Corruption):
    r"""Sets a random fraction of each image's components to the ends of the pixel range.

    Of D = C·H·W components round(νD) are hit, uniformly and independently between images: one half
    becomes the low end ("pepper"), the other the high end ("salt"; it gets the odd one). The
    colours of one pixel are separate components.

    Arguments:
        fraction: ν in [0, 1].
        value_range: (low, high) ends of the pixel range.

    Raises:
        InputError: the fraction is outside [0, 1], or the range is empty or not finite.

    References:
        Hendrycks and Dietterich (2019), Benchmarking Neural Network Robustness to Common
        Corruptions and Perturbations ("impulse noise"), https://arxiv.org/abs/1903.12261

    Example:
        >>> hit = SaltAndPepper(0.5)(torch.full((2, 1, 10, 10), 0.3)).flatten(1)
        >>> (hit == 0).sum(1), (hit == 1).sum(1)
        (tensor([25, 25]), tensor([25, 25]))
    """

    name: ClassVar[str] = "salt-and-pepper"
    label: ClassVar[str] = "salt-and-pepper fraction ν"

    fraction: float
    value_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        check_fraction("salt-and-pepper fraction", self.fraction)
        check_range(self.value_range)

    def _corrupt(
        self, x: Tensor, generator: torch.Generator | None, device: torch.device
    ) -> Tensor:
        low, high = self.value_range
        hit = _random_components(x, self.fraction, generator, device)
        pepper, salt = hit.tensor_split([hit.shape[1] // 2], dim=1)
        return x.flatten(1).scatter(1, pepper, low).scatter(1, salt, high).view_as(x)


def _random_components(
    x: Tensor, fraction: float, generator: torch.Generator | None, device: torch.device
) -> Tensor:
    """Indices of round(νD) random ones of each image's D components, in random order."""
    flat = x.flatten(1)
    order = torch.rand(flat.shape, generator=generator, device=device).argsort(dim=1)
    return order[:, : round(fraction * flat.shape[1])].to(x.device)


def _poisson_quantile(uniform: Tensor, rate: Tensor) -> Tensor:
    """The least k with P(n ≤ k) ≥ u, n ~ Poisson(rate).

    `torch.poisson` draws more or fewer random numbers as the rates demand, so that what happens to
    an image would depend on those before it.
    """
    uniform = uniform.clamp(2**-25, 1 - 2**-25)  # between the numbers that are drawn
    normal = torch.special.ndtri(uniform)
    # Cornish and Fisher's expansion is off by one at most, but for small rates.
    k: Tensor = (rate + rate.sqrt() * normal + (normal.square() - 1) / 6).round().clamp(min=0)
    while (short := torch.special.gammaincc(k + 1, rate) < uniform).any():
        k = k + short.to(k)
    while (far := (k > 0) & (torch.special.gammaincc(k.clamp(min=1), rate) >= uniform)).any():
        k = k - far.to(k)
    return k
