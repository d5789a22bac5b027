"""What the examples share: digits as rows of pixels in [0, 1], clean and corrupted, and options."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from fisherae.data.corruptions import corruption_levels

Rows = NDArray[np.float64]


def split() -> tuple[Rows, Rows, NDArray[np.int64], NDArray[np.int64]]:
    """Training and test images, and their classes."""
    X, y = load_digits(return_X_y=True)
    train, test, labels, test_labels = train_test_split(
        X / 16, y, test_size=360, random_state=0, stratify=y
    )
    return train, test, labels, test_labels


def corrupted(X: Rows, name: str, level: float, seed: int = 0) -> Rows:
    """The images under a corruption of `fisherae.data.corruptions`."""
    (corruption,) = corruption_levels(name, [level])
    images = torch.from_numpy(X).view(-1, 1, 8, 8)
    return corruption(images, torch.Generator().manual_seed(seed)).flatten(1).numpy()


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """How long an example trains, and where its figure goes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    return parser.parse_args(arguments)
