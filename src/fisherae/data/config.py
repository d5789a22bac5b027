"""What the user says about the data."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from fisherae.errors import InputError

__all__ = ["CorruptionName", "DataConfig"]

CorruptionName = Literal[
    "noise",
    "mask",
    "salt-and-pepper",
    "occlusion",
    "blur",
    "contrast",
    "shot-noise",
    "glass-blur",
    "motion-blur",
    "shear",
    "scale",
    "rotation",
    "brightness",
    "translation",
    "stripes",
    "fog",
    "spatter",
    "dotted-line",
    "zigzag",
    "canny-edges",
]


@dataclass(frozen=True)
class DataConfig:
    """Which images, how they are cut, and how those for training are contaminated.

    Raises:
        InputError: a number out of its range, channels that are neither 1 nor 3, an unknown
            corruption, one without a level, or a level or share without a corruption.

    Example:
        >>> DataConfig("celeba", size=64, crop=140).size
        64
    """

    data: str = "mnist"
    """"digits" (needs no download), "mnist", "celeba", a folder, or the name of a Hugging Face data
    set such as "ylecun/mnist"."""

    size: int | None = None
    """Side of the square images in pixels. None: the images as they are, all of one size."""

    channels: int | None = None
    """1 (grey) or 3 (colour). None: what the images have."""

    crop: int | None = None
    """Side of the square cut from the centre before the resize, in pixels. None: if a size is
    given, the largest square."""

    limit: int | None = None
    """Train on at most this many images: a random subset that depends on the seed. None: all."""

    corruption: CorruptionName | None = None
    """Corrupt training images, once and for all: the model never sees their clean versions. Images
    for validation and tests stay clean. None: no corruption."""

    corruption_level: float = 0.0
    """Strength of that corruption, > 0: variance of the noise (of shot noise: at white), standard
    deviation of the blur in pixels, degrees of the rotation, factor of the shear; of all others a
    fraction or share, 0 to 1 (docs/robustness.md)."""

    corrupted_share: float = 1.0
    """Share of the training images that is corrupted, 0 to 1; the seed says which."""

    def __post_init__(self) -> None:
        for field in ("size", "crop", "limit"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise InputError(f"{field} is {value}: give a positive whole number")
        if self.channels not in (None, 1, 3):
            raise InputError(f"channels is {self.channels}: give 1 (grey) or 3 (colour)")
        self._check_corruption()

    def _check_corruption(self) -> None:
        known = get_args(CorruptionName)
        if self.corruption not in (None, *known):
            raise InputError(f"unknown corruption {self.corruption!r}; known: {', '.join(known)}")
        level, share = self.corruption_level, self.corrupted_share
        if not 0 <= level < math.inf:
            raise InputError(f"corruption_level is {level}: give a finite number ≥ 0")
        if not 0 <= share <= 1:
            raise InputError(f"corrupted_share is {share}: give a number in [0, 1]")
        if self.corruption is None and (level, share) != (0, 1):
            raise InputError(
                f"corruption_level {level}, corrupted_share {share}: name the corruption as well"
            )
        if self.corruption is not None and level == 0:
            raise InputError(
                f"corruption {self.corruption} at corruption_level 0 changes nothing: give a "
                "level > 0, or leave the corruption out"
            )
