"""From encoded pictures to images of one size."""

import io
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from fisherae.data.images import ImageDataset, random_subset
from fisherae.errors import InputError
from fisherae.progress import tracked

__all__ = ["Picture", "Pictures"]

# Naming them spares Pillow the trial of its fifty formats, a third of the time of a small picture.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")


class Picture(NamedTuple):
    """One encoded picture, and how an error message calls it."""

    where: str
    data: Path | memoryview


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures that are not decoded yet: a subset is taken before any work is done.

    Arguments:
        name: of the data set.
        pictures: files, or the bytes of files.
        labels: int64, shape (N,), or None.

    Example:
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (178, 218)).save(file, "JPEG")
        >>> pictures = Pictures("black", [Picture("in memory", memoryview(file.getvalue()))])
        >>> pictures.decode(size=64, crop=140).shape
        (3, 64, 64)
    """

    name: str
    pictures: Sequence[Picture]
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.pictures)

    def take(self, index: Iterable[int]) -> "Pictures":
        chosen = list(index)
        labels = None if self.labels is None else self.labels[chosen]
        return Pictures(self.name, [self.pictures[i] for i in chosen], labels)

    def subset(self, n: int, seed: int) -> "Pictures":
        """n random pictures, see `fisherae.data.images.random_subset`."""
        return self.take(random_subset(len(self), n, seed).tolist())

    def decode(
        self,
        size: int | None = None,
        channels: int | None = None,
        crop: int | None = None,
        progress: bool = False,
    ) -> ImageDataset:
        """Decodes all pictures.

        A square of side `crop` is cut from the centre, then resized to `size` with Pillow's
        bicubic filter, which is antialiased. Without a crop the largest square is resized, so that
        nothing is distorted. A picture that is `size` already, cut by someone before, stays as it
        is. Orientation marks of cameras are obeyed, transparency is
        dropped.

        Raises:
            InputError: a picture that is damaged, smaller than the crop, of 16 bits per channel or
                of 90 million pixels; different sizes without `size`, or grey beside colour without
                `channels`.
        """
        with warnings.catch_warnings():
            # A small file may hold a picture that fills the memory; no picture to learn from does.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            first = _pixels(self.pictures[0], size, channels, crop)
            images = np.empty((len(self), *first.shape), np.uint8)
            # One thread: two took as long and 1.6 times the processor time (1,600 CelebA JPEGs).
            for i, picture in enumerate(tracked(self.pictures, f"Decoding {self.name}", progress)):
                pixels = _pixels(picture, size, channels, crop)
                if pixels.shape != first.shape:
                    raise InputError(_mixed(self.pictures[0].where, first, picture.where, pixels))
                images[i] = pixels
        return ImageDataset(self.name, torch.from_numpy(images), self.labels)


def _pixels(
    picture: Picture, size: int | None, channels: int | None, crop: int | None
) -> np.ndarray:
    """uint8 of shape (C, H, W)."""
    image = _open(picture)
    grey = channels == 1 or (channels is None and image.mode in ("1", "L", "LA"))
    image = image.convert("L" if grey else "RGB")
    if crop is not None and image.size != (size, size):
        if crop > min(image.size):
            raise InputError(
                f"{picture.where} is {image.width}x{image.height}, smaller than crop {crop}: "
                "leave the crop out, or give a smaller one"
            )
        image = _centre(image, crop)
    if size is not None:
        image = _centre(image, min(image.size)).resize((size, size), Image.Resampling.BICUBIC)
    pixels = np.asarray(image)
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def _open(picture: Picture) -> Image.Image:
    try:
        data = picture.data if isinstance(picture.data, Path) else io.BytesIO(picture.data)
        with Image.open(data, formats=_FORMATS) as image:
            upright = ImageOps.exif_transpose(image)
    except UnidentifiedImageError as error:
        kinds = ", ".join(_FORMATS)
        raise InputError(
            f"{picture.where} is not an image that can be read: none of {kinds}"
        ) from error
    # Pillow names no closed set of errors for damaged files.
    except Exception as error:
        raise InputError(f"{picture.where} is not an image that can be read: {error}") from error
    if upright.mode[0] in "IF":
        raise InputError(
            f"{picture.where} has more than 8 bits per channel (mode {upright.mode}): "
            "convert it to 8 bits first"
        )
    # On the way to RGB Pillow warns of a palette's lost transparency, on that to grey refuses LAB.
    detour = {"P": "RGBA", "LAB": "RGB"}.get(upright.mode)
    return upright if detour is None else upright.convert(detour)


def _centre(image: Image.Image, side: int) -> Image.Image:
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _mixed(first: str, expected: np.ndarray, other: str, found: np.ndarray) -> str:
    shapes = ["x".join(map(str, pixels.shape)) for pixels in (expected, found)]
    cure = "size" if expected.shape[1:] != found.shape[1:] else "channels (1 grey, 3 colour)"
    return f"images differ: {first} is {shapes[0]}, {other} is {shapes[1]}: give {cure}"
