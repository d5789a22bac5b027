r"""What a corruption is."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import ClassVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from fisherae.errors import InputError

__all__ = ["Corruption", "check_fraction"]


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
    """

    name: ClassVar[str]
    label: ClassVar[str]

    @property
    def level(self) -> float:
        strength: float = getattr(self, fields(self)[0].name)
        return strength

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


def check_fraction(name: str, value: float) -> None:
    """Raises an `InputError` unless the value lies in [0, 1]."""
    if not 0 <= value <= 1:
        raise InputError(f"{name} is {value}: give a number in [0, 1]")
