"""The IDX format of MNIST, http://yann.lecun.com/exdb/mnist (LeCun, Cortes, Burges 1998)."""

import gzip
import io
import math
import zlib
from pathlib import Path

import torch
from torch import Tensor

from fisherae.data.images import ImageDataset
from fisherae.errors import InputError

__all__ = ["find_idx", "idx_folder", "read_idx"]

_PREFIXES = {"train": "train", "test": "t10k"}
_UINT8 = 0x08
_CHUNK = 1 << 20


def idx_folder(root: Path, name: str, split: str) -> ImageDataset:
    """MNIST, or a data set in its clothes, from a folder of IDX files, gzipped or not.

    Raises:
        InputError: a file is missing or damaged, or the split is neither "train" nor "test".

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> image = bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 255])
        >>> _ = (root / "train-images-idx3-ubyte").write_bytes(image)
        >>> _ = (root / "train-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 1, 7]))
        >>> data = idx_folder(root, "tiny", "train")
        >>> data.images.flatten(), data.labels
        (tensor([  0, 255], dtype=torch.uint8), tensor([7]))
    """
    if split not in _PREFIXES:
        raise InputError(f"{root} has no split {split!r}; it has: train, test")
    images = read_idx(_require(root, f"{_PREFIXES[split]}-images", 3), 3)
    labels = read_idx(_require(root, f"{_PREFIXES[split]}-labels", 1), 1)
    return ImageDataset(name, images.unsqueeze(1), labels.long())


def find_idx(root: Path, stem: str, dims: int) -> Path | None:
    """The IDX file of that stem, under any of its customary names; None if there is none."""
    names = [f"{stem}{separator}idx{dims}-ubyte" for separator in "-."]
    paths = (root / f"{name}{suffix}" for suffix in ("", ".gz") for name in names)
    return next((path for path in paths if path.is_file()), None)


def read_idx(path: Path, dims: int) -> Tensor:
    """Reads a file of unsigned bytes with `dims` dimensions, gzipped or not.

    Memory is taken only for what the file holds, whatever its header declares.

    Raises:
        InputError: not an IDX file, other contents, truncated, too long, or a corrupt gzip.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "labels"
        >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]))
        >>> read_idx(path, dims=1)
        tensor([7, 8, 9], dtype=torch.uint8)
    """
    try:
        # By its first bytes: browsers unpack downloads and keep the name.
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as stream:
            return _parse(stream, path, dims)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}. Download it again") from error


def _parse(stream: io.BufferedIOBase, path: Path, dims: int) -> Tensor:
    header = stream.read(4 + 4 * dims)
    if header[:2] != b"\0\0":
        raise InputError(f"{path} is not an IDX file: it starts with 0x{header[:4].hex()}")
    if header[2:4] != bytes([_UINT8, dims]):
        raise InputError(
            f"{path} holds another type or shape: its magic number is 0x{header[:4].hex()}, "
            f"expected 0x0000{_UINT8:02x}{dims:02x} (unsigned bytes, {dims} dimensions)"
        )
    if len(header) < 4 + 4 * dims:
        raise InputError(f"{path} ends within its header, after {len(header)} bytes")
    count, *item = (int.from_bytes(header[i : i + 4], "big") for i in range(4, len(header), 4))
    size = count * math.prod(item)
    body = _read_up_to(stream, size + 1)
    if not size or len(body) != size:
        held = "more" if len(body) > size else f"{len(header) + len(body)}"
        raise InputError(
            f"{path} declares {count} items of {'x'.join(map(str, item)) or '1'} = "
            f"{len(header) + size} bytes, holds {held}. Download it again"
        )
    return torch.frombuffer(body, dtype=torch.uint8).view(count, *item)


def _read_up_to(stream: io.BufferedIOBase, size: int) -> bytearray:
    body = bytearray()
    while len(body) < size and (chunk := stream.read(min(_CHUNK, size - len(body)))):
        body += chunk
    return body


def _require(root: Path, stem: str, dims: int) -> Path:
    path = find_idx(root, stem, dims)
    if path is None:
        raise InputError(f"{root} has no {stem}-idx{dims}-ubyte or {stem}-idx{dims}-ubyte.gz")
    return path
