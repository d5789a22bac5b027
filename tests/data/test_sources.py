import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn import datasets

from fisherae.data.sources import load
from fisherae.errors import InputError

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def real(name: str) -> Path:
    folder = Path(os.environ.get("FISHERAE_DATA", SHARED)) / name
    if not folder.is_dir():
        pytest.skip(f"needs the real data in {folder}; set FISHERAE_DATA")
    return folder


def test_digits_are_those_of_scikit_learn() -> None:
    digits = datasets.load_digits()
    known = {
        (image.tobytes(), label) for image, label in zip(digits.images, digits.target, strict=True)
    }
    seen = []
    for split, size in (("train", 1437), ("test", 360)):
        data = load("digits", split)
        assert (len(data), data.shape) == (size, (1, 8, 8))
        assert data.labels is not None
        sixteenths = np.rint(data.images[:, 0].numpy() / 255 * 16)
        np.testing.assert_allclose(data.images[:, 0].numpy(), sixteenths * 255 / 16, atol=0.5)
        seen += [(i.tobytes(), y) for i, y in zip(sixteenths, data.labels.tolist(), strict=True)]
        shares = data.labels.bincount() / len(data)
        torch.testing.assert_close(
            shares.double(), torch.from_numpy(np.bincount(digits.target) / 1797), atol=2e-3, rtol=0
        )
    assert len(seen) == 1797
    assert set(seen) == known


def test_arrays_are_not_resized() -> None:
    assert len(load("digits", "test", size=8, channels=1, crop=8)) == 360
    for wrong in ({"size": 32}, {"channels": 3}, {"crop": 4}):
        with pytest.raises(InputError, match="not converted to"):
            load("digits", "test", **wrong)  # type: ignore[arg-type]


def test_limit_on_arrays() -> None:
    first, again = (load("digits", "train", limit=100, seed=0) for _ in range(2))
    assert len(first) == 100
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, load("digits", "train", limit=100, seed=1).images)
    assert len(load("digits", "train", limit=5000)) == 1437


@pytest.mark.parametrize(
    ("data", "split", "match"),
    [
        ("digits", "tests", "split is 'tests'"),
        ("digits", "valid", "no split 'valid'"),
        ("nonsense", "train", "give digits, mnist, celeba, an existing folder, or the name"),
        ("/no/such/folder", "train", "no data '/no/such/folder'"),
        ("./no/folder", "train", "no data"),
        ("../folder", "train", "no data"),
    ],
)
def test_what_cannot_be_had(data: str, split: str, match: str) -> None:
    with pytest.raises(InputError, match=match):
        load(data, split)


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").touch()
    with pytest.raises(InputError, match="is a file: give the folder"):
        load(str(tmp_path / "train.parquet"), "train")


def test_progress_is_shown_only_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        Image.new("L", (4, 4)).save(tmp_path / part / "a.png")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes the captured stream for a terminal
    load(str(tmp_path), "train")
    assert capsys.readouterr() == ("", "")
    load(str(tmp_path), "train", progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "Decoding" in err


def test_real_mnist_is_the_official_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FISHERAE_DATA", str(real("mnist").parent))
    # MD5 of the official files: header and body.
    train, test = load("mnist", "train"), load("mnist", "test")
    assert train.labels is not None
    assert test.labels is not None
    contents = [
        (bytes.fromhex("000008030000ea600000001c0000001c"), train.images, "6bbc9ace"),
        (bytes.fromhex("000008010000ea60"), train.labels.byte(), "a25bea73"),
        (bytes.fromhex("00000803000027100000001c0000001c"), test.images, "2646ac64"),
        (bytes.fromhex("0000080100002710"), test.labels.byte(), "27ae3e4e"),
    ]
    for header, body, start in contents:
        digest = hashlib.md5(header + body.numpy().tobytes(), usedforsecurity=False).hexdigest()
        assert digest.startswith(start)


def test_real_celeba_in_parquet() -> None:
    data = load(str(real("celeba64")), "valid")
    assert (len(data), data.shape, data.labels) == (4535, (3, 64, 64), None)


def test_real_celeba_crop_is_pillows() -> None:
    folder = real("celeba")
    rows = [line.split() for line in (folder / "list_eval_partition.txt").read_text().splitlines()]
    for split, part in (("valid", "1"), ("test", "2")):
        names = [name for name, value in rows if value == part]
        data = load(str(folder), split, size=64, crop=140, limit=5)
        everything = {name: folder / "img_align_celeba" / name for name in names}
        assert len(data) == min(5, len(names))
        expected = {
            np.asarray(
                Image.open(path).crop((19, 39, 159, 179)).resize((64, 64), Image.Resampling.BICUBIC)
            ).tobytes()
            for path in everything.values()
        }
        assert all(image.permute(1, 2, 0).numpy().tobytes() in expected for image in data.images)
