import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from fisherae.data.idx import read_idx
from fisherae.data.sources import load
from fisherae.errors import InputError


def idx(array: np.ndarray, kind: int = 0x08) -> bytes:
    header = struct.pack(">HBB", 0, kind, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 5, 4), dtype=np.uint8)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_reads_what_struct_wrote(tmp_path: Path, images: np.ndarray, pack: object) -> None:
    path = tmp_path / "any-name"
    path.write_bytes(pack(idx(images)))  # type: ignore[operator]
    np.testing.assert_array_equal(read_idx(path, 3).numpy(), images)


@pytest.mark.parametrize("separator", ["-", "."])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_folder(tmp_path: Path, images: np.ndarray, separator: str, suffix: str) -> None:
    pack = gzip.compress if suffix else bytes
    labels = np.arange(6, dtype=np.uint8)
    for part, offset in (("train", 0), ("t10k", 1)):
        name = f"{part}-{{}}{separator}idx{{}}-ubyte{suffix}"
        (tmp_path / name.format("images", 3)).write_bytes(pack(idx(images + offset)))
        (tmp_path / name.format("labels", 1)).write_bytes(pack(idx(labels + offset)))
    for split, offset in (("train", 0), ("test", 1)):
        data = load(str(tmp_path), split)
        assert data.labels is not None
        np.testing.assert_array_equal(data.images.numpy()[:, 0], images + np.uint8(offset))
        assert data.labels.tolist() == [label + offset for label in range(6)]
    with pytest.raises(InputError, match="no split 'valid'"):
        load(str(tmp_path), "valid")


def test_missing_and_mismatched_labels(tmp_path: Path, images: np.ndarray) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(images))
    with pytest.raises(InputError, match="has no train-labels-idx1-ubyte"):
        load(str(tmp_path), "train")
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(5, np.uint8)))
    with pytest.raises(InputError, match="for 6 images"):
        load(str(tmp_path), "train")


def damaged(images: np.ndarray) -> dict[str, tuple[bytes, str]]:
    good = idx(images)
    packed = gzip.compress(good)
    return {
        "empty": (b"", "not an IDX file"),
        "text": (b"<html>not found</html>", "not an IDX file: it starts with 0x3c68746d"),
        "short magic": (good[:3], "magic number is 0x000008"),
        "floats": (idx(images.astype(">f4"), 0x0D), "magic number is 0x00000d03"),
        "labels": (idx(images[0, 0]), "magic number is 0x00000801"),
        "header only": (good[:10], "within its header, after 10 bytes"),
        "truncated": (good[:-7], "declares 6 items of 5x4 = 136 bytes, holds 129"),
        "too long": (good + b"x", "declares 6 items of 5x4 = 136 bytes, holds more"),
        "no items": (idx(images[:0]), "declares 0 items of 5x4 = 16 bytes, holds 16"),
        "huge": (good[:4] + b"\xff" * 12 + b"12345", "holds 21"),
        "gzip of truncated": (gzip.compress(good[:-7]), "holds 129"),
        "truncated gzip": (packed[:-12], "cannot be read"),
        "gzip of garbage": (packed[:12] + b"\xff" * 20 + packed[32:], "cannot be read"),
        "gzip checksum": (packed[:-8] + b"\0" * 8, "cannot be read"),
    }


@pytest.mark.parametrize("case", damaged(np.zeros((1, 1, 1), np.uint8)))
def test_damage_is_named(tmp_path: Path, images: np.ndarray, case: str) -> None:
    content, message = damaged(images)[case]
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_idx(path, 3)
    assert str(path) in str(error.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_idx(tmp_path / "nowhere", 3)
