"""Data for studies: the real sets where they are, else stand-ins of the same shapes."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.datasets import load_digits

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with mnist/ and celeba/."""
    real = Path(os.environ.get("FISHERAE_DATA", SHARED))
    if (real / "mnist").is_dir() and (real / "celeba").is_dir():
        return real
    folder = tmp_path_factory.mktemp("data")
    _digits_as_mnist(folder / "mnist")
    _noise_as_celeba(folder / "celeba")
    return folder


def _digits_as_mnist(folder: Path) -> None:
    folder.mkdir()
    digits = load_digits()
    images = torch.from_numpy(digits.images[:, None]).float() * 255 / 16
    large = F.interpolate(images, size=28, mode="bilinear").round().byte().numpy()[:, 0]
    for name, part in (("train", slice(0, 1400)), ("t10k", slice(1400, None))):
        for kind, array in (
            ("images-idx3", large[part]),
            ("labels-idx1", digits.target[part].astype(np.uint8)),
        ):
            header = struct.pack(f">I{array.ndim}I", 0x0800 | array.ndim, *array.shape)
            (folder / f"{name}-{kind}-ubyte.gz").write_bytes(
                gzip.compress(header + array.tobytes())
            )


def _noise_as_celeba(folder: Path) -> None:
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        (folder / split).mkdir(parents=True)
        for index in range(48):
            pixels = random.integers(0, 256, (218, 178, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / split / f"{index}.png")
