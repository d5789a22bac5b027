"""Data that cannot be read: images, IDX, Parquet and CelebA's list, all through one door."""

import gzip
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import fisherae as fae
from fisherae.data.decode import Pictures
from fisherae.data.hub import table_pictures
from fisherae.data.idx import read_idx
from fisherae.data.sources import load

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def encoded(kind: str = "PNG", pixels: np.ndarray = PIXELS, mode: str | None = None) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(file, kind)
    return file.getvalue()


def bomb() -> bytes:
    """A PNG of a few bytes that declares 90 megapixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 10_000, 9_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + encoded()[33:]


def picture(content: bytes, name: str = "b.png") -> Callable[[Path], object]:
    """A folder of a good picture and another one."""

    def prepare(root: Path) -> None:
        for part in ("train", "test"):
            (root / part).mkdir()
            (root / part / "a.png").write_bytes(encoded())
        (root / "train" / name).write_bytes(content)

    return prepare


def a_folder_of_that_name(root: Path) -> None:
    picture(encoded(), "c.png")(root)
    (root / "train" / "b.png").mkdir()


def idx(*sizes: int, kind: int = 8, body: bytes | None = None) -> bytes:
    body = bytes(int(np.prod(sizes))) if body is None else body
    return struct.pack(f">HBB{len(sizes)}I", 0, kind, len(sizes), *sizes) + body


def mnist(images: bytes, labels: bytes, suffix: str = "") -> Callable[[Path], object]:
    def prepare(root: Path) -> None:
        (root / f"train-images-idx3-ubyte{suffix}").write_bytes(images)
        (root / f"train-labels-idx1-ubyte{suffix}").write_bytes(labels)

    return prepare


def images_idx(content: bytes) -> Callable[[Path], object]:
    return mnist(content, idx(4))


def parquet(**columns: Any) -> Callable[[Path], object]:
    def prepare(root: Path) -> None:
        for part in ("train", "test"):
            pq.write_table(pa.table(columns), root / f"{part}.parquet")

    return prepare


def rows(*structs: Any) -> pa.Array:
    return pa.array(structs, IMAGE)


def two_kinds(root: Path) -> None:
    for part, label in (("train-0", [1]), ("train-1", ["a"]), ("test", [1])):
        row = rows({"bytes": encoded(), "path": None})
        pq.write_table(pa.table({"image": row, "label": label}), root / f"{part}.parquet")


def truncated_parquet(root: Path) -> None:
    parquet(image=rows({"bytes": encoded(), "path": None}))(root)
    path = root / "train.parquet"
    path.write_bytes(path.read_bytes()[:-20])


def celeba(listed: str, image: bool = True) -> Callable[[Path], object]:
    """With a secret beside the folder of the images."""

    def prepare(root: Path) -> None:
        (root / "img_align_celeba").mkdir()
        (root / "secret.jpg").write_bytes(encoded("JPEG"))
        if image:
            (root / "img_align_celeba" / "000001.jpg").write_bytes(encoded("JPEG"))
        (root / "list_eval_partition.txt").write_text(listed)

    return prepare


JPEG, PACKED = encoded("JPEG"), gzip.compress(idx(4, 2, 2))
SECRET = {"bytes": None, "path": "secret.png"}
UNREADABLE = "is not an image that can be read"

# What lies in the folder, what the message must say, options of `load`.
CASES: dict[str, tuple[Callable[[Path], object], str] | tuple[Any, str, dict[str, Any]]] = {
    "truncated JPEG": (
        picture(JPEG[:-200], "b.jpg"),
        f"b.jpg {UNREADABLE}: image file is truncated",
    ),
    "truncated PNG": (picture(encoded()[:900]), f"b.png {UNREADABLE}"),
    "empty": (picture(b""), f"b.png {UNREADABLE}: none of JPEG, PNG, WEBP, BMP, GIF, TIFF"),
    "text": (picture(b"not a picture"), f"b.png {UNREADABLE}: none of JPEG"),
    "flipped PNG": (picture(encoded()[:40] + b"\xff" * 40 + encoded()[80:]), f"b.png {UNREADABLE}"),
    "16 bits": (
        picture(encoded(pixels=PIXELS[..., 0].astype(np.uint16))),
        "b.png has more than 8 bits per channel (mode I;16): convert it to 8 bits first",
    ),
    "floats": (picture(encoded("TIFF", mode="F")), "has more than 8 bits per channel (mode F)"),
    "bomb": (picture(bomb()), "could be decompression bomb"),
    "a folder": (a_folder_of_that_name, f"b.png {UNREADABLE}"),
    "mixed sizes": (picture(encoded(pixels=PIXELS[:8])), "b.png is 3x8x32: give size"),
    "mixed colours": (picture(encoded(mode="L")), "b.png is 1x32x32: give channels"),
    "crop": (picture(encoded()), "smaller than crop 33: leave the crop out", {"crop": 33}),
    "no picture": (lambda root: (root / "a.txt").touch(), "holds no images (.bmp .jpeg"),
    "no valid split": (
        picture(encoded()),
        "has no split 'valid'; it has: test, tr",
        {"split": "valid"},
    ),
    "unknown split": (picture(encoded()), "split is 'dev': give one of train", {"split": "dev"}),
    "size": (picture(encoded()), "size is 0", {"size": 0}),
    "IDX: empty": (images_idx(b""), "train-images-idx3-ubyte is not an IDX file"),
    "IDX: text": (images_idx(b"<html>"), "is not an IDX file: it starts with 0x3c68746d"),
    "IDX: floats": (images_idx(idx(4, 2, 2, kind=13)), "its magic number is 0x00000d03"),
    "IDX: labels": (images_idx(idx(4)), "its magic number is 0x00000801, expected 0x00000803"),
    "IDX: header": (images_idx(idx(4, 2, 2)[:9]), "ends within its header, after 9 bytes"),
    "IDX: truncated": (
        images_idx(idx(4, 2, 2)[:-1]),
        "declares 4 items of 2x2 = 32 bytes, holds 31",
    ),
    "IDX: too long": (images_idx(idx(4, 2, 2) + b"x"), "holds more. Download it again"),
    "IDX: huge": (images_idx(idx(*[2**32 - 1] * 3, body=b"1234")), "holds 20"),
    "IDX: nothing": (images_idx(idx(0, 2, 2)), "declares 0 items"),
    "IDX: labels missing": (
        lambda root: (root / "train-images-idx3-ubyte").write_bytes(idx(4, 2, 2)),
        "has no train-labels-idx1-ubyte",
    ),
    "IDX: one label too few": (mnist(idx(4, 2, 2), idx(3)), "of shape (3,) for 4 images"),
    "IDX: no test": (
        mnist(idx(4, 2, 2), idx(4)),
        "has no t10k-images-idx3-ubyte",
        {"split": "test"},
    ),
    "IDX: not resized": (mnist(idx(4, 2, 2), idx(4)), "not converted to size 4", {"size": 4}),
    "gzip: truncated": (mnist(PACKED[:-9], idx(4), ".gz"), "cannot be read"),
    "gzip: flipped": (mnist(PACKED[:10] + b"\xff" * 20, idx(4), ".gz"), "be read"),
    "gzip: checksum": (mnist(PACKED[:-8] + b"\0" * 8, idx(4), ".gz"), "cannot be read"),
    "Parquet: no image": (parquet(text=["a"], label=[1]), "no image column (a struct of bytes and"),
    "Parquet: numbers": (
        parquet(image=[{"bytes": 1, "path": "a.png"}]),
        "no image column (a struct of bytes and path); its columns: image",
    ),
    "Parquet: null": (parquet(image=rows(None)), "(train) row 0 holds no image: leave the row out"),
    "Parquet: nothing": (
        parquet(image=rows({"bytes": None, "path": None})),
        "(train) row 0 holds no image",
    ),
    "Parquet: no picture": (parquet(image=rows({"bytes": b"x", "path": "a.png"})), UNREADABLE),
    "Parquet: no rows": (parquet(image=rows()), "(train) holds no rows"),
    "Parquet: a name only": (
        lambda root: (
            parquet(image=rows(SECRET))(root) or (root / "secret.png").write_bytes(encoded())
        ),
        "row 0 holds no image, only the name of a file, secret.png, which is not opened",
    ),
    "Parquet: truncated": (
        truncated_parquet,
        "train.parquet is not a Parquet file that can be read",
    ),
    "Parquet: text": (
        lambda root: (root / "train.parquet").write_text("text"),
        "train.parquet is not a Parquet file that can be read",
    ),
    "Parquet: two kinds": (two_kinds, "(train): its files do not go together"),
    "CelebA: outside": (
        celeba("../secret.jpg 0"),
        "e.g. ../secret.jpg: unpack img_align_celeba.zip",
    ),
    "CelebA: absolute": (
        celeba("/etc/passwd 0"),
        "lacks 1 of the 1 train images, e.g. /etc/passwd",
    ),
    "CelebA: missing": (celeba("000001.jpg 0\n000002.jpg 0"), "lacks 1 of the 2 train images"),
    "CelebA: a part too many": (celeba("000001.jpg 3"), "line 1: '000001.jpg 3': expected a file"),
    "CelebA: two words": (celeba("000001.jpg 0\na b c"), "line 2: 'a b c'"),
    "CelebA: none": (celeba("\n"), "lists no image for part 0 (0 train, 1 valid, 2 test)"),
    "CelebA: no list": (
        lambda root: (root / "img_align_celeba").mkdir(),
        "list_eval_partition.txt is missing: it says which images are for training",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(case: str, tmp_path: Path, frugal: Callable[[], Any]) -> None:
    prepare, says, *options = CASES[case]
    prepare(tmp_path)
    arguments = {"split": "train", **(options[0] if options else {})}
    with frugal(), pytest.raises(fae.InputError) as error:
        load(str(tmp_path), **arguments)
    message = str(error.value)
    assert says in message
    assert len(message.splitlines()) <= 2


def test_a_label_beyond_all_integers_is_no_class(tmp_path: Path) -> None:
    row = rows({"bytes": encoded(), "path": None})
    parquet(image=row, label=pa.array([2**64 - 1], pa.uint64()))(tmp_path)
    assert load(str(tmp_path), "train").labels is None


def test_colours_of_another_kind_are_converted(tmp_path: Path) -> None:
    picture(encoded("TIFF", mode="LAB"))(tmp_path)
    assert load(str(tmp_path), "train", channels=1).shape == (1, 32, 32)


def test_a_small_file_that_declares_much_takes_little(
    tmp_path: Path, frugal: Callable[[], Any]
) -> None:
    path = tmp_path / "images"
    path.write_bytes(idx(2**31, 2**10, 2**10, body=bytes(1000)))
    with frugal(), pytest.raises(fae.InputError, match="holds 1016"):
        read_idx(path, 3)


@pytest.mark.parametrize("path", ["secret.png", "cache/../secret.png"])
def test_a_data_set_of_the_hub_opens_nothing_outside_its_cache(tmp_path: Path, path: str) -> None:
    (tmp_path / "cache").mkdir()
    for name in ("cache/own.png", "secret.png"):
        (tmp_path / name).write_bytes(encoded())

    def pictures(name: str) -> Pictures:
        table = pa.table({"image": rows({"bytes": None, "path": str(tmp_path / name)})})
        return table_pictures(table, "x", "x", [tmp_path / "cache"])

    assert len(pictures("cache/own.png").decode()) == 1
    with pytest.raises(fae.InputError, match=r"secret\.png, which is not opened"):
        pictures(path)
