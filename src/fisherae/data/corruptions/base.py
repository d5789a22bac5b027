r"""What a corruption is."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import ClassVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from fisherae.errors import InputError

__all__ = ["Corruption", "ImageCorruption", "check_fraction", "check_range"]


@dataclass(frozen=True)
class Corruption(ABC):
    r"""A map from clean images to corrupted ones, random or not, at one level.

    The random numbers are drawn on the generator's device (without a generator: on the image's) and
    in float32 whatever the images' precision, so a CPU generator gives one result for every device.
    They depend on the whole batch's shape: corrupt a set in one call, or in the same batches, to
    compare models. What happens to one image does not depend on the pixels of the others.

    Attributes:
        name: short, for files and tables.
        label: for the axis of a figure.
        level: the strength, a subclass's first field; 0 leaves the images as they are.
        keeps_range: whether the images stay between the ends of their range.
        dims: how many dimensions x must have; None: any.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    keeps_range: ClassVar[bool] = True
    dims: ClassVar[int | None] = None

    @property
    def level(self) -> float:
        strength: float = getattr(self, fields(self)[0].name)
        return strength

    def __call__(
        self, x: Shaped[Tensor, "batch *shape"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch *shape"]:
        """Returns a corrupted copy of x, not clipped.

        Raises:
            InputError: x does not hold floating point numbers, or, for an `ImageCorruption`, is not
                of shape (N, C, H, W).
        """
        if not x.is_floating_point():
            raise InputError(
                f"images are {x.dtype}: give floats, see fisherae.data.images.to_float"
            )
        if self.level == 0:
            return x.clone()
        if self.dims not in (None, x.dim()):
            raise InputError(
                f"{self.name}: images are of shape {tuple(x.shape)}: give the shape (N, C, H, W)"
            )
        return self._corrupt(x, generator, x.device if generator is None else generator.device)

    @abstractmethod
    def _corrupt(
        self, x: Tensor, generator: torch.Generator | None, device: torch.device
    ) -> Tensor:
        """Corrupts x with random numbers drawn on `device`."""


class ImageCorruption(Corruption):
    """A corruption of images as a whole, of shape (N, C, H, W), and not of single components."""

    dims: ClassVar[int | None] = 4


def check_fraction(name: str, value: float) -> None:
    """Raises an `InputError` unless the value lies in [0, 1]."""
    if not 0 <= value <= 1:
        raise InputError(f"{name} is {value}: give a number in [0, 1]")


def check_range(value_range: tuple[float, float]) -> None:
    """Raises an `InputError` unless the range has two finite ends, the lower one first."""
    low, high = value_range
    if not -math.inf < low < high < math.inf:
        raise InputError(f"value_range is {value_range}: give finite numbers, low < high")
