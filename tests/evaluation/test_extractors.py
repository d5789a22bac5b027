import re
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn

from fisherae.data.images import ImageDataset, to_float
from fisherae.data.sources import load_digits
from fisherae.errors import InputError
from fisherae.evaluation.extractors import (
    Extractor,
    classifier_extractor,
    inception_extractor,
    random_cnn,
)

TRAIN, TEST = load_digits("train"), load_digits("test")
IMAGES = to_float(TEST.images, (0.0, 1.0))


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a classifier of 5 steps."""
    folder = tmp_path_factory.mktemp("cache")
    classifier_extractor(TRAIN, TEST, folder, steps=5)
    return folder


def accuracy(extractor: Extractor) -> float:
    found = re.search(r"([\d.]+) % of 360 test images", extractor.description)
    assert found is not None
    return float(found[1])


def test_the_classifier_learns_the_digits(tmp_path: Path) -> None:
    digits = classifier_extractor(TRAIN, TEST, tmp_path, steps=120)
    assert (digits.name, digits.dim) == ("digits-cnn", 128)
    assert accuracy(digits) > 95
    # The features separate the classes: the nearest mean of the training images finds them.
    assert TRAIN.labels is not None
    known, features = digits(to_float(TRAIN.images, (0.0, 1.0))), digits(IMAGES)
    means = torch.stack([known[TRAIN.labels == label].mean(0) for label in range(10)])
    nearest = torch.cdist(features, means).argmin(1)
    assert (nearest == TEST.labels).double().mean() > 0.93


def test_the_cache_holds_what_was_trained_and_nothing_is_trained_again(cache: Path) -> None:
    before = files(cache)
    assert sorted(Path(name).suffix for name in before) == [".json", ".safetensors"]
    again = classifier_extractor(TRAIN, TEST, cache, steps=5)
    assert files(cache) == before
    fresh = classifier_extractor(TRAIN, TEST, cache.with_name("fresh"), steps=5)
    assert torch.equal(again(IMAGES), fresh(IMAGES))
    assert again.description == fresh.description


@pytest.mark.parametrize("stale", ["images", "labels", "test", "steps", "classes"])
def test_other_data_or_training_is_trained_anew(cache: Path, tmp_path: Path, stale: str) -> None:
    labels = TRAIN.labels
    assert labels is not None
    train, test, steps = {
        "images": (ImageDataset("digits", TRAIN.images + 1, labels), TEST, 5),
        "labels": (ImageDataset("digits", TRAIN.images, labels.flip(0)), TEST, 5),
        "test": (TRAIN, TEST.subset(100, seed=0), 5),
        "steps": (TRAIN, TEST, 6),
        "classes": (ImageDataset("digits", TRAIN.images, labels + 1), TEST, 5),
    }[stale]
    classifier_extractor(train, test, tmp_path, steps=steps)
    assert not files(tmp_path).keys() & files(cache).keys()


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def contents(folder: Path) -> dict[str, bytes]:
    return {name: content for name, (content, _) in files(folder).items()}


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
@pytest.mark.parametrize("damage", [flipped, lambda content: content[:-9], lambda _: b"{}"])
def test_a_damaged_cache_is_replaced(
    cache: Path, tmp_path: Path, suffix: str, damage: Callable[[bytes], bytes]
) -> None:
    shutil.copytree(cache, tmp_path, dirs_exist_ok=True)
    (path,) = tmp_path.glob(f"*{suffix}")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match="is damaged .*: the classifier is trained again"):
        repaired = classifier_extractor(TRAIN, TEST, tmp_path, steps=5)
    assert contents(tmp_path) == contents(cache)
    assert torch.equal(repaired(IMAGES), classifier_extractor(TRAIN, TEST, cache, steps=5)(IMAGES))


def test_a_training_that_was_cut_off_is_made_again(cache: Path, tmp_path: Path) -> None:
    shutil.copytree(cache, tmp_path, dirs_exist_ok=True)
    next(tmp_path.glob("*.json")).unlink()  # it is written last
    classifier_extractor(TRAIN, TEST, tmp_path, steps=5)
    assert contents(tmp_path) == contents(cache)


def test_training_leaves_the_random_numbers_of_the_caller_alone(tmp_path: Path) -> None:
    state = torch.get_rng_state()
    classifier_extractor(TRAIN, TEST, tmp_path, steps=1)
    random_cnn((1, 8, 8))
    assert torch.equal(torch.get_rng_state(), state)


def test_data_that_no_classifier_can_learn_is_named(tmp_path: Path) -> None:
    unlabelled = ImageDataset("faces", TRAIN.images)
    alike = ImageDataset("faces", TRAIN.images, torch.zeros(len(TRAIN), dtype=torch.int64))
    larger = ImageDataset("faces", torch.zeros(1, 1, 9, 9, dtype=torch.uint8), torch.tensor([0]))
    for train, test in ((unlabelled, TEST), (alike, TEST), (TRAIN, unlabelled)):
        with pytest.raises(InputError, match="no labels of two classes or more"):
            classifier_extractor(train, test, tmp_path)
    with pytest.raises(InputError, match=r"are \(1, 8, 8\), test images \(1, 9, 9\)"):
        classifier_extractor(TRAIN, larger, tmp_path)
    with pytest.raises(InputError, match="steps is 0"):
        classifier_extractor(TRAIN, TEST, tmp_path, steps=0)
    assert not files(tmp_path)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 64, 64), (3, 5, 7)])
def test_random_features_of_any_shape_repeat_themselves(shape: tuple[int, int, int]) -> None:
    images = torch.rand(6, *shape)
    features = random_cnn(shape)(images)
    assert features.shape == (6, 128)
    assert torch.equal(features, random_cnn(shape)(images))
    assert (features.std(0) > 0).all(), "every feature tells images apart"


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(5, 8, 8), r"shape \(5, 8, 8\): give \(N, C, H, W\)"),
        (torch.rand(0, 1, 8, 8), "N ≥ 1"),
        (torch.rand(5, 3, 8, 8), r"inputs of shape \(batch, 1, 8, 8\)"),
        (torch.rand(5, 1, 8, 8) + 1, "scale or clip them"),
        (torch.full((5, 1, 8, 8), torch.nan), r"pixels lie in \[nan, nan\]"),
    ],
)
def test_images_that_the_extractor_does_not_take_are_named(
    images: torch.Tensor, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        random_cnn((1, 8, 8))(images)


def test_a_network_that_returns_no_features_is_named() -> None:
    maps = Extractor("maps", 4, "", nn.Conv2d(1, 4, 3))
    with pytest.raises(InputError, match=r"'maps' returns shape \(5, 4, 6, 6\) for 5 images"):
        maps(torch.rand(5, 1, 8, 8))


@pytest.mark.skipif(find_spec("torch_fidelity") is not None, reason="torch-fidelity is installed")
def test_inception_without_its_package_says_what_to_install() -> None:
    with pytest.raises(
        InputError, match=r"No module named 'torch_fidelity'.*fisherae\[inception\]"
    ):
        inception_extractor()


@pytest.mark.gpu
def test_features_on_a_gpu_are_those_of_the_cpu(tmp_path: Path) -> None:
    here = classifier_extractor(TRAIN, TEST, tmp_path, steps=5)
    there = classifier_extractor(TRAIN, TEST, tmp_path, steps=5, device="cuda")
    assert there(IMAGES).device.type == "cpu"
    torch.testing.assert_close(there(IMAGES), here(IMAGES), rtol=1e-3, atol=1e-3)
