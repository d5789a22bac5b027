"""Whatever is read is read rightly or refused by an `InputError`, and takes no more memory than its
file needs."""

import gzip
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fisherae as fae
from fisherae.data.idx import read_idx
from fisherae.data.images import Batches, ImageDataset
from fisherae.data.splits import find_split
from fisherae.files import read_json
from fisherae.recipes import named
from fisherae.recipes.config import Recipe, from_dict, to_dict

# The folder of a test is shared by its examples, each of which writes its own file.
few = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
IDX = struct.pack(">HBB3I", 0, 8, 3, 4, 3, 2) + bytes(range(24))

plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.text(max_size=5),
)
json_like = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


def result(act: Callable[[], Any]) -> Any:
    """What comes out, or None where it is refused."""
    try:
        return act()
    except fae.InputError:
        return None


@pytest.mark.skipif(sys.platform != "linux", reason="memory cannot be limited here")
def test_memory_is_limited(frugal: Callable[[], Any]) -> None:
    with frugal(), pytest.raises(RuntimeError, match="allocate memory"):
        torch.empty(1 << 33, dtype=torch.uint8)  # more than what others have left free


@st.composite
def damaged(draw: Any, content: bytes) -> bytes:
    """With some bytes flipped, then perhaps cut, or longer."""
    held = bytearray(content)
    for _ in range(draw(st.integers(0, 3))):
        held[draw(st.integers(0, len(held) - 1))] ^= draw(st.integers(1, 255))
    end = draw(st.sampled_from([len(held), draw(st.integers(0, len(held)))]))
    return bytes(held[:end]) + draw(st.sampled_from([b"", draw(st.binary(max_size=9))]))


@few
@given(content=st.binary(max_size=64) | damaged(IDX), packed=st.booleans())
def test_idx(tmp_path: Path, frugal: Callable[[], Any], content: bytes, packed: bool) -> None:
    path = tmp_path / "images"
    path.write_bytes(gzip.compress(content) if packed else content)
    with frugal():
        images = result(lambda: read_idx(path, 3))
    if images is not None:
        assert images.numpy().tobytes() == content[16:]
        assert images.shape == struct.unpack(">3I", content[4:16])


@few
@given(content=damaged(gzip.compress(IDX)))
def test_packed_idx(tmp_path: Path, frugal: Callable[[], Any], content: bytes) -> None:
    path = tmp_path / "images"
    path.write_bytes(content)
    with frugal():
        images = result(lambda: read_idx(path, 3))
    assert images is None or images.dtype == torch.uint8


@few
@given(content=st.binary(max_size=64) | damaged(b'{"family": "vae", "model": {"dim": [1, 2.5e3]}}'))
def test_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    result(lambda: read_json(tmp_path / "config.json"))


@st.composite
def mutated_recipes(draw: Any) -> dict[str, Any]:
    """A recipe's configuration of which up to three values are anything, or missing, or new."""
    config = to_dict(named.recipe(draw(st.sampled_from(named.NAMES))))
    for _ in range(draw(st.integers(1, 3))):
        part = draw(st.sampled_from([config, *(p for p in config.values() if isinstance(p, dict))]))
        name = draw(st.sampled_from([*part, "colour"]))
        if draw(st.integers(0, 9)):
            part[name] = draw(json_like)
        else:
            part.pop(name, None)
    return config


@settings(max_examples=100)
@given(config=mutated_recipes() | st.dictionaries(st.text(max_size=6), json_like))
def test_configurations(config: dict[str, Any]) -> None:
    recipe = result(lambda: from_dict(config))
    if recipe is not None:
        assert isinstance(recipe, Recipe)
        assert from_dict(to_dict(recipe)) == recipe


@pytest.fixture(scope="module")
def model(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model, its configuration whole, its weights for each example to write."""
    path = tmp_path_factory.mktemp("fuzz")
    (path / "config.json").write_bytes((saved / "config.json").read_bytes())
    return path


@few
@given(data=st.data())
def test_weights(saved: Path, model: Path, frugal: Callable[[], Any], data: Any) -> None:
    content = (saved / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(data.draw(damaged(content)))
    with frugal():
        loaded = result(lambda: fae.load(model))
    if loaded is not None:
        assert all(parameter.isfinite().all() for parameter in loaded.parameters())


@few
@given(data=st.data())
def test_headers_of_weights(saved: Path, model: Path, frugal: Callable[[], Any], data: Any) -> None:
    """Most of the file is tensors, in which any byte may be right: here only the header is hit."""
    content = (saved / "model.safetensors").read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = data.draw(damaged(content[:end]))
    (model / "model.safetensors").write_bytes(header + content[end:])
    with frugal():
        loaded = result(lambda: fae.load(model))
    if header != content[:end] and loaded is not None:
        assert loaded.state_dict().keys() == fae.load(saved).state_dict().keys()


ANY_ARRAY = arrays.arrays(
    arrays.scalar_dtypes() | arrays.unicode_string_dtypes() | arrays.byte_string_dtypes(),
    arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
)
IMAGES = arrays.arrays(st.sampled_from([np.uint8, np.float32, np.float64]), (2, 1, 2, 2))
TABLE = np.random.default_rng(0).normal(size=(20, 3))
FITTED = fae.FisherAutoencoder(2, hidden=(4,), epochs=1, random_state=0).fit(TABLE)


@few
@given(x=ANY_ARRAY)
def test_arrays_to_fit(x: np.ndarray) -> None:
    estimator = fae.FisherAutoencoder(1, order=2, hidden=(), epochs=1, random_state=0)
    fitted = result(lambda: estimator.fit(x))
    if fitted is not None:
        assert np.isfinite(fitted.loss_curve_).all()


@few
@given(x=ANY_ARRAY | arrays.arrays(np.float64, (2, 3)) | arrays.arrays(np.float32, (2, 3)))
def test_arrays_to_transform(x: np.ndarray) -> None:
    latents = result(lambda: FITTED.transform(x))
    if latents is not None:
        assert latents.shape == (len(x), 2)
        assert np.isfinite(latents).all()


@few
@given(x=ANY_ARRAY | IMAGES, labels=st.none() | ANY_ARRAY | arrays.arrays(np.int64, 2))
def test_arrays_as_images(x: np.ndarray, labels: np.ndarray | None) -> None:
    data = result(lambda: ImageDataset("x", tensor(x), None if labels is None else tensor(labels)))
    assert data is None or data.images.dtype == torch.uint8
    batches = result(lambda: Batches(tensor(x), batch_size=2))
    if batches is not None:
        (batch, *_) = batches.epoch(0)
        assert batch.dtype == torch.float32
        assert batch.isfinite().all()


def tensor(x: np.ndarray) -> Any:
    """As a tensor where torch knows the type."""
    try:
        return torch.from_numpy(x)
    except (TypeError, ValueError):
        return x


@few
@given(st.lists(st.text(max_size=9)), st.sampled_from(["train", "valid", "test"]))
def test_names_of_splits(names: list[str], split: str) -> None:
    found = result(lambda: find_split(names, split, "here"))
    assert found is None or found[0] in names
