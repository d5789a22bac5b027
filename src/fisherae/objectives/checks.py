"""What the objectives ask of their arguments."""

import math

from torch import Tensor

from fisherae.counts import is_count
from fisherae.errors import InputError

__all__ = ["require_images", "require_noise", "require_positive", "require_samples"]


def require_images(x: Tensor) -> None:
    """Of a batch on which scores or Jacobians of the encoder depend."""
    if not x.is_floating_point():
        raise InputError(f"the images are {x.dtype}: give floats, on which a score depends")
    if not len(x):
        raise InputError("there are no images: give at least one")


def require_noise(noise: float) -> None:
    """Of the variance of noise that an objective adds to its images."""
    if not 0 <= noise < math.inf:
        raise InputError(f"the noise's variance must be a finite number ≥ 0, got {noise}")


def require_positive(what: str, value: float) -> None:
    """Of a weight."""
    if not 0 < value < math.inf:
        raise InputError(f"{what} must be positive and finite, got {value}")


def require_samples(samples: int) -> None:
    """Of the number L of Monte Carlo samples per image."""
    if not is_count(samples):
        raise InputError(f"samples must be a whole number, at least 1, got {samples!r}")
