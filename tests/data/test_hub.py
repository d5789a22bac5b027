import io
import socket
import time
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets.packaged_modules.parquet.parquet import Parquet
from PIL import Image

from fisherae.data import hub
from fisherae.data.images import ImageDataset
from fisherae.data.sources import load
from fisherae.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 6, 5, 3), dtype=np.uint8)


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def write(path: Path, rows: range, column: str = "image", **more: list[object]) -> None:
    images = [{"bytes": png(PIXELS[row]), "path": f"{row}.png"} for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({column: images, **more}), path)


def check(data: ImageDataset, rows: range) -> None:
    np.testing.assert_array_equal(
        data.images.permute(0, 2, 3, 1).numpy(), PIXELS[rows.start : rows.stop]
    )


def test_parquet_folder(tmp_path: Path) -> None:
    write(tmp_path / "data/train-00000-of-00002.parquet", range(6), label=[0, 1, 2, 0, 1, 2])
    write(tmp_path / "data/train-00001-of-00002.parquet", range(6, 9), label=[2, 1, 0])
    write(tmp_path / "data/validation.parquet", range(9, 11), label=[1, 0])
    train, valid = load(str(tmp_path), "train"), load(str(tmp_path), "valid")
    check(train, range(9))
    check(valid, range(9, 11))
    check(load(str(tmp_path), "test"), range(9, 11))
    assert train.labels is not None
    assert train.labels.tolist() == [0, 1, 2, 0, 1, 2, 2, 1, 0]
    assert len(load(str(tmp_path), "train", limit=4)) == 4


@pytest.mark.parametrize("labels", [["a", "b"], [1, None], [0.5, 1.0]])
def test_labels_that_are_no_classes_are_left_out(tmp_path: Path, labels: list[object]) -> None:
    write(tmp_path / "train.parquet", range(2), label=labels)
    write(tmp_path / "test.parquet", range(2), label=labels)
    assert load(str(tmp_path), "train").labels is None


def test_a_single_part_is_divided(tmp_path: Path) -> None:
    write(tmp_path / "faces.parquet", range(40), column="img", label=list(range(40)))
    train, test = load(str(tmp_path), "train"), load(str(tmp_path), "test")
    assert train.labels is not None
    assert test.labels is not None
    assert sorted([*train.labels.tolist(), *test.labels.tolist()]) == list(range(40))
    for data, labels in ((train, train.labels), (test, test.labels)):
        np.testing.assert_array_equal(data.images.permute(0, 2, 3, 1).numpy(), PIXELS[labels])


def test_rows_that_point_to_files(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(PIXELS[0]))
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = pa.array([{"bytes": None, "path": str(tmp_path / "a.png")}], kind)
    check(hub.table_pictures(pa.table({"image": rows}), "x", "x", [tmp_path]).decode(), range(1))
    nothing = pa.array([{"bytes": None, "path": None}], kind)
    with pytest.raises(InputError, match="x row 0 holds no image"):
        hub.table_pictures(pa.table({"image": nothing}), "x", "x")


def test_bad_parquet(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"text": ["a"], "label": [1]}), path)
    with pytest.raises(InputError, match=r"no image column .*: text, label"):
        load(str(tmp_path), "train")
    write(path, range(0, 20))
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match="not a Parquet file that can be read") as error:
        load(str(tmp_path), "train")
    assert str(path) in str(error.value)
    pq.write_table(pa.table({"image": [{"bytes": b"broken", "path": "a.png"}]}), path)
    (tmp_path / "test.parquet").write_bytes(path.read_bytes())
    with pytest.raises(InputError, match=r"\(train\) row 0 is not an image"):
        load(str(tmp_path), "train")


def test_datasets_and_the_parquet_reader_agree(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", range(7), label=list(range(7)))
    write(tmp_path / "test.parquet", range(7, 9), label=[0, 1])
    files = {"train": str(tmp_path / "train.parquet"), "test": str(tmp_path / "test.parquet")}
    parts = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))
    parts = parts.cast_column("image", datasets.Image())
    pictures = hub.table_pictures(parts["train"].with_format("arrow")[:], "x", "x")
    data = pictures.decode()
    check(data, range(7))
    assert data.labels is not None
    assert data.labels.tolist() == list(range(7))


@pytest.fixture
def unreachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub that nobody serves, and an empty cache."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(
            datasets.config, "HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}"
        )
    cache = tmp_path / "cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    for variable in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    return cache


def test_without_network_it_fails_at_once_and_says_what_to_do(unreachable: Path) -> None:
    start = time.perf_counter()
    with pytest.raises(InputError, match=r"'some/set' is not in the cache .* cannot be reached"):
        load("some/set", "train")
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("name", ["mnist", "celeba"])
def test_names_say_where_they_looked(
    unreachable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("FISHERAE_DATA", str(tmp_path / "mine"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=rf"mine/{name} or data/{name} .*; '\w+/{name}' is not"):
        load(name, "train")


def test_a_cached_set_loads_without_network(unreachable: Path, tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", range(5), label=[4, 3, 2, 1, 0])
    write(tmp_path / "test.parquet", range(5, 8), label=[0, 1, 2])
    Parquet(
        cache_dir=str(unreachable),
        dataset_name="set",
        config_name="default",
        config_id="default",
        hash="0123456789abcdef",
        data_files={part: [str(tmp_path / f"{part}.parquet")] for part in ("train", "test")},
        features=datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")}),
    ).download_and_prepare()
    # What a set from the hub has more: its owner in the folder's name.
    (unreachable / "set").rename(unreachable / "some___set")
    start = time.perf_counter()
    data = load("some/set", "train")
    assert time.perf_counter() - start < 2
    assert data.name == "some/set"
    check(data, range(5))
    check(load("some/set", "test"), range(5, 8))
    assert not datasets.config.HF_HUB_OFFLINE


def test_reachability_is_seen(unreachable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not hub._reachable()
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", endpoint)
        assert hub._reachable()
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        assert not hub._reachable()
