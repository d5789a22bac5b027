from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fisherae.data.sources import load
from fisherae.errors import InputError

rng = np.random.default_rng(0)


def picture(height: int = 8, width: int = 8, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return rng.integers(0, 256, shape, dtype=np.uint8)


def write(path: Path, pixels: np.ndarray) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".png", ".bmp", ".PNG"])
def test_pixels_arrive_as_they_were_written(tmp_path: Path, channels: int, suffix: str) -> None:
    written = [write(tmp_path / f"train/{i}{suffix}", picture(6, 9, channels)) for i in range(5)]
    write(tmp_path / f"test/0{suffix}", picture(6, 9, channels))
    data = load(str(tmp_path), "train")
    assert data.shape == (channels, 6, 9)
    assert data.labels is None
    assert data.name == tmp_path.name
    expected = np.stack(written).reshape(5, 6, 9, channels).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(data.images.numpy(), expected)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp"])
def test_lossy_formats_decode_as_in_pillow(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"train/a{suffix}"
    write(path, picture(16, 16))
    write(tmp_path / "test/a.png", picture(16, 16))
    expected = np.asarray(Image.open(path)).transpose(2, 0, 1)
    np.testing.assert_array_equal(load(str(tmp_path), "train").images[0].numpy(), expected)


def test_crop_and_resize_are_pillows(tmp_path: Path) -> None:
    pixels = write(tmp_path / "train/a.png", picture(41, 30))
    write(tmp_path / "test/a.png", picture(41, 30))

    def images(**arguments: int) -> np.ndarray:
        found = load(str(tmp_path), "train", **arguments)  # type: ignore[arg-type]
        return found.images[0].permute(1, 2, 0).numpy()

    def resized(square: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(square).resize((7, 7), Image.Resampling.BICUBIC))

    np.testing.assert_array_equal(images(crop=20), pixels[10:30, 5:25])
    np.testing.assert_array_equal(images(crop=20, size=7), resized(pixels[10:30, 5:25]))
    np.testing.assert_array_equal(images(size=7), resized(pixels[5:35]))


def test_shrinking_is_antialiased(tmp_path: Path) -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    write(tmp_path / "train/a.png", stripes)
    write(tmp_path / "test/a.png", stripes)
    inner = load(str(tmp_path), "train", size=8).images[0, 0, :, 1:-1].float()
    assert (inner - 127.5).abs().max() < 2


def test_channels_are_converted(tmp_path: Path) -> None:
    grey = write(tmp_path / "train/a.png", picture(channels=1))
    write(tmp_path / "test/a.png", picture(channels=1))
    colour = load(str(tmp_path), "train", channels=3)
    assert colour.shape == (3, 8, 8)
    np.testing.assert_array_equal(colour.images[0].numpy(), np.stack([grey] * 3))
    assert load(str(tmp_path), "train", channels=1).shape == (1, 8, 8)


def test_palettes_and_camera_orientation(tmp_path: Path) -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[:, 3:] = (10, 200, 30)
    palette = Image.fromarray(pixels).quantize(4)
    (tmp_path / "train").mkdir()
    palette.save(tmp_path / "train/a.png", transparency=b"\xff\x80")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    Image.fromarray(np.rot90(pixels)).save(tmp_path / "train/b.png", exif=exif)
    write(tmp_path / "test/a.png", pixels)
    images = load(str(tmp_path), "train").images.numpy()
    np.testing.assert_array_equal(images, np.stack([pixels.transpose(2, 0, 1)] * 2))


def test_sub_folders_are_classes(tmp_path: Path) -> None:
    pixels = {}
    for split in ("train", "val"):
        for label, kind in enumerate(("bird", "cat")):
            for i in range(2):
                image = write(tmp_path / split / kind / f"deep/{i}.png", picture())
                pixels[image.tobytes()] = label
    write(tmp_path / "train/cat/.hidden.png", picture())
    for split in ("train", "valid", "test"):
        data = load(str(tmp_path), split)
        assert data.labels is not None
        rows = data.images.permute(0, 2, 3, 1).numpy()
        assert data.labels.tolist() == [pixels[image.tobytes()] for image in rows] == [0, 0, 1, 1]


def test_a_class_that_a_split_lacks_keeps_its_number(tmp_path: Path) -> None:
    for kind in ("bird", "cat", "dog"):
        write(tmp_path / "train" / kind / "0.png", picture())
    for kind in ("bird", "dog"):
        write(tmp_path / "test" / kind / "0.png", picture())
    labels = load(str(tmp_path), "test").labels
    assert labels is not None
    assert labels.tolist() == [0, 2]


def test_without_splits_a_fixed_tenth_is_held_out(tmp_path: Path) -> None:
    written = {write(tmp_path / f"{i % 2}/{i}.png", picture(2, 2)).tobytes() for i in range(200)}

    def pixels(split: str) -> set[bytes]:
        data = load(str(tmp_path), split)
        assert data.labels is not None
        return {image.tobytes() for image in data.images.permute(0, 2, 3, 1).numpy()}

    train, test = pixels("train"), pixels("test")
    assert train | test == written
    assert not train & test
    assert 5 <= len(test) <= 40  # Binomial(200, 1/10), more than 3.5 standard deviations
    for i in range(200, 240):
        write(tmp_path / f"{i % 2}/{i}.png", picture(2, 2))
    assert train < pixels("train")
    assert test < pixels("test")
    with pytest.raises(InputError, match="no split 'valid'"):
        load(str(tmp_path), "valid")


def test_a_limit_is_a_random_subset_of_the_seed(tmp_path: Path) -> None:
    for i in range(60):
        write(tmp_path / f"train/{i:02}.png", np.full((2, 2), i, np.uint8))
    write(tmp_path / "test/0.png", picture(2, 2, 1))

    def drawn(limit: int, seed: int) -> list[int]:
        return load(str(tmp_path), "train", limit=limit, seed=seed).images[:, 0, 0, 0].tolist()

    assert len(set(drawn(10, 0))) == 10
    assert drawn(10, 0) == drawn(10, 0) != drawn(10, 1)
    assert drawn(1000, 0) == list(range(60))


def test_bad_folders(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing to see")
    with pytest.raises(InputError, match="holds no images"):
        load(str(tmp_path), "train")
    write(tmp_path / "train/a.png", picture(8, 8))
    write(tmp_path / "test/a.png", picture(8, 8))
    write(tmp_path / "train/b.png", picture(8, 9))
    with pytest.raises(InputError, match=r"a.png is 3x8x8, .*b.png is 3x8x9: give size"):
        load(str(tmp_path), "train")
    assert load(str(tmp_path), "train", size=4).shape == (3, 4, 4)
    with pytest.raises(InputError, match=r"a.png is 8x8, smaller than crop 10"):
        load(str(tmp_path), "train", size=4, crop=10)
    write(tmp_path / "train/b.png", picture(8, 8, 1))
    with pytest.raises(InputError, match=r"b.png is 1x8x8: give channels"):
        load(str(tmp_path), "train")
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(tmp_path / "train/b.png")
    with pytest.raises(InputError, match=r"b.png has more than 8 bits"):
        load(str(tmp_path), "train")


def test_a_corrupt_image_is_named(tmp_path: Path) -> None:
    for i in range(3):
        write(tmp_path / f"train/{i}.jpg", picture(64, 64))
    write(tmp_path / "test/0.jpg", picture(64, 64))
    path = tmp_path / "train/1.jpg"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(InputError, match="not an image that can be read") as error:
        load(str(tmp_path), "train")
    assert str(path) in str(error.value)


def test_too_small_to_be_divided(tmp_path: Path) -> None:
    write(tmp_path / "a.png", picture())
    splits = []
    for split in ("train", "test"):
        try:
            splits.append(load(str(tmp_path), split))
        except InputError as error:
            assert "none of its 1 images" in str(error)  # noqa: PT017
    assert len(splits) == 1


@pytest.fixture
def celeba(tmp_path: Path) -> Path:
    for i in range(6):
        write(tmp_path / f"img_align_celeba/{i:06}.jpg", picture(218, 178))
    rows = [f"{i:06}.jpg {i // 2}" for i in range(6)]
    (tmp_path / "list_eval_partition.txt").write_text("\n".join([*rows, ""]))
    return tmp_path


@pytest.mark.parametrize(("split", "first"), [("train", 0), ("valid", 2), ("test", 4)])
def test_celeba_in_its_official_layout(celeba: Path, split: str, first: int) -> None:
    data = load(str(celeba), split, size=64, crop=140)
    assert data.labels is None
    for image, i in zip(data.images, (first, first + 1), strict=True):
        original = Image.open(celeba / f"img_align_celeba/{i:06}.jpg")
        cropped = original.crop((19, 39, 159, 179)).resize((64, 64), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), np.asarray(cropped))


def test_celeba_damage_is_named(celeba: Path) -> None:
    (celeba / "img_align_celeba/000001.jpg").unlink()
    with pytest.raises(InputError, match=r"lacks 1 of the 2 train images, e.g. 000001.jpg"):
        load(str(celeba), "train")
    partition = celeba / "list_eval_partition.txt"
    partition.write_text("000000.jpg 0\n000001.jpg\n")
    with pytest.raises(InputError, match=r"line 2: '000001.jpg'"):
        load(str(celeba), "train")
    partition.write_text("000000.jpg 0\n")
    with pytest.raises(InputError, match="lists no image for part 2"):
        load(str(celeba), "test")
    partition.unlink()
    with pytest.raises(InputError, match=r"list_eval_partition.txt is missing"):
        load(str(celeba), "train")
