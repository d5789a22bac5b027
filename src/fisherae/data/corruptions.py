r"""Corruptions of the input, under which the models are compared (Figures 1-10)."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from fisherae.errors import InputError

__all__ = ["Corruption", "GaussianNoise", "Mask"]


class Corruption(ABC):
    r"""A random map from clean images to corrupted ones, at one level.

    The random numbers are drawn in float32 on the generator's device (without a generator: on the
    image's), so a CPU generator gives one result for every device. They depend on the whole
    batch's shape: corrupt a set in one call, or in the same batches, to compare models.

    Attributes:
        name: short, for files and tables.
        label: for the axis of a figure.
        level: the strength; 0 leaves the images as they are.
    """

    name: ClassVar[str]
    label: ClassVar[str]

    @property
    @abstractmethod
    def level(self) -> float: ...

    def __call__(
        self, x: Shaped[Tensor, "batch *shape"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch *shape"]:
        """Returns a corrupted copy of x, not clipped.

        Raises:
            InputError: x does not hold floating point numbers.
        """
        if not x.is_floating_point():
            raise InputError(
                f"images are {x.dtype}: give floats, see fisherae.data.images.to_float"
            )
        return self._corrupt(x, generator, x.device if generator is None else generator.device)

    @abstractmethod
    def _corrupt(
        self, x: Tensor, generator: torch.Generator | None, device: torch.device
    ) -> Tensor:
        """Corrupts x with random numbers drawn on `device`."""


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

    variance: float

    def __post_init__(self) -> None:
        if not 0 <= self.variance < math.inf:
            raise InputError(f"noise variance is {self.variance}: give a finite number ≥ 0")

    @property
    def level(self) -> float:
        return self.variance

    def _corrupt(
        self, x: Tensor, generator: torch.Generator | None, device: torch.device
    ) -> Tensor:
        noise = torch.randn(x.shape, generator=generator, device=device)
        return x + math.sqrt(self.variance) * noise.to(x)


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
        if not 0 <= self.fraction <= 1:
            raise InputError(f"masked fraction is {self.fraction}: give a number in [0, 1]")

    @property
    def level(self) -> float:
        return self.fraction

    def _corrupt(
        self, x: Tensor, generator: torch.Generator | None, device: torch.device
    ) -> Tensor:
        flat = x.flatten(1)
        order = torch.rand(flat.shape, generator=generator, device=device).argsort(dim=1)
        masked = order[:, : round(self.fraction * flat.shape[1])].to(x.device)
        return flat.scatter(1, masked, 0.0).view_as(x)
