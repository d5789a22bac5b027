"""What the user says about the data."""

from dataclasses import dataclass

from fisherae.errors import InputError

__all__ = ["DataConfig"]


@dataclass(frozen=True)
class DataConfig:
    """Which images, and how they are cut.

    Raises:
        InputError: a number that is not positive, or channels that are neither 1 nor 3.

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

    def __post_init__(self) -> None:
        for field in ("size", "crop", "limit"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise InputError(f"{field} is {value}: give a positive whole number")
        if self.channels not in (None, 1, 3):
            raise InputError(f"channels is {self.channels}: give 1 (grey) or 3 (colour)")
