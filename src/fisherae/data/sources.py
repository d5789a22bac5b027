"""One door to all data: by name, from a folder, from the Hugging Face hub."""

import os
import re
from pathlib import Path

import numpy as np
import torch

from fisherae.data.config import DataConfig
from fisherae.data.decode import Pictures
from fisherae.data.folders import celeba_folder, image_folder, is_celeba
from fisherae.data.hub import hub_dataset, parquet_folder
from fisherae.data.idx import find_idx, idx_folder
from fisherae.data.images import ImageDataset
from fisherae.errors import InputError

__all__ = ["load", "load_digits"]

_HUB_NAMES = {"mnist": "ylecun/mnist", "celeba": "flwrlabs/celeba"}
_SPLITS = ("train", "valid", "test")


def load(
    data: str,
    split: str,
    size: int | None = None,
    channels: int | None = None,
    crop: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> ImageDataset:
    """Loads one split of a data set into memory.

    Arguments:
        data: "digits" (embedded); "mnist" or "celeba" (looked for in `$FISHERAE_DATA/<name>`,
            `./data/<name>`, then on the hub); a folder of IDX files, of CelebA in its official
            layout, of Parquet files or of images; or the name of a Hugging Face data set.
        split: "train", "test", or "valid" where there is one.
        size: side of the square result in pixels; images are resized, arrays (digits, IDX) are not.
        channels: 1 or 3; None: what the images have.
        crop: side of the square cut from the centre before the resize, in pixels.
        limit: at most this many images of the split, a random subset.
        seed: of that subset.
        progress: show a progress bar while images are decoded.

    Raises:
        InputError: no such data or split, something damaged, or a shape that cannot be had.

    Example:
        >>> load("digits", "train", limit=100).images.shape
        torch.Size([100, 1, 8, 8])
    """
    config = DataConfig(data, size, channels, crop, limit)
    if split not in _SPLITS:
        raise InputError(f"split is {split!r}: give one of {', '.join(_SPLITS)}")
    found = _find(data, split)
    if limit is not None and limit < len(found):
        found = found.subset(limit, seed)
    if isinstance(found, Pictures):
        return found.decode(size, channels, crop, progress)
    _check_shape(found, config)
    return found


def load_digits(split: str) -> ImageDataset:
    """The 8x8 digits that come with scikit-learn, 0..16 scaled to 0..255; one fifth is the test.

    Raises:
        InputError: the split is neither "train" nor "test".

    References:
        Alpaydin, Kaynak (1998), Optical Recognition of Handwritten Digits,
        https://archive.ics.uci.edu/dataset/80

    Example:
        >>> len(load_digits("train")), len(load_digits("test"))
        (1437, 360)
    """
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    if split == "valid":
        raise InputError("digits has no split 'valid'; it has: train, test")
    digits = datasets.load_digits()
    index = np.arange(len(digits.target))
    train, test = train_test_split(index, test_size=0.2, random_state=0, stratify=digits.target)
    chosen = train if split == "train" else test
    images = np.rint(digits.images[chosen] * (255 / 16)).astype(np.uint8)
    labels = digits.target[chosen].astype(np.int64)
    return ImageDataset("digits", torch.from_numpy(images)[:, None], torch.from_numpy(labels))


def _find(data: str, split: str) -> ImageDataset | Pictures:
    if data == "digits":
        return load_digits(split)
    if data in _HUB_NAMES:
        return _find_named(data, split)
    folder = Path(os.path.expanduser(data))  # what is no user's home stays as it is
    if data and os.path.isdir(folder):
        return _open_folder(folder, folder.resolve().name, split)
    if re.fullmatch(r"\w[\w.-]*/[\w.-]+", data) and not os.path.isfile(folder):
        try:
            return hub_dataset(data, data, split)
        except InputError as error:
            raise InputError(f"there is no folder {data}, and of the hub: {error}") from error
    if os.path.isfile(folder):
        raise InputError(f"{data} is a file: give the folder that holds it")
    raise InputError(
        f"there is no data {data!r}: give digits, mnist, celeba, an existing folder, or the name "
        "of a Hugging Face data set such as ylecun/mnist"
    )


def _find_named(name: str, split: str) -> ImageDataset | Pictures:
    roots = [os.environ["FISHERAE_DATA"]] if os.environ.get("FISHERAE_DATA") else []
    folders = [Path(os.path.expanduser(root)) / name for root in (*roots, "data")]
    for folder in folders:
        if folder.is_dir():
            return _open_folder(folder, name, split)
    try:
        return hub_dataset(_HUB_NAMES[name], name, split)
    except InputError as error:
        looked = " or ".join(map(str, folders))
        raise InputError(
            f"{name} is not in {looked} (set FISHERAE_DATA to the folder that holds {name}/); "
            f"{error}"
        ) from error


def _open_folder(root: Path, name: str, split: str) -> ImageDataset | Pictures:
    if is_celeba(root):
        return celeba_folder(root, name, split)
    if any(find_idx(root, f"{part}-images", 3) for part in ("train", "t10k")):
        return idx_folder(root, name, split)
    if next(root.rglob("*.parquet"), None) is not None:
        return parquet_folder(root, name, split)
    return image_folder(root, name, split)


def _check_shape(data: ImageDataset, config: DataConfig) -> None:
    channels, height, width = data.shape
    for field, has in (
        ("channels", {channels}),
        ("size", {height, width}),
        ("crop", {height, width}),
    ):
        wanted = getattr(config, field)
        if wanted is not None and has != {wanted}:
            raise InputError(
                f"{data.name} is made of arrays of shape {channels}x{height}x{width}, which are "
                f"not converted to {field} {wanted}: leave {field} out, or give image files"
            )
