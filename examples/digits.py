"""The embedded digits, clean and corrupted, as rows of pixels in [0, 1]."""

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
    return train_test_split(X / 16, y, test_size=360, random_state=0, stratify=y)


def corrupted(X: Rows, name: str, level: float, seed: int = 0) -> Rows:
    """The images under a corruption of `fisherae.data.corruptions`."""
    (corruption,) = corruption_levels(name, [level])
    images = torch.from_numpy(X).view(-1, 1, 8, 8)
    return corruption(images, torch.Generator().manual_seed(seed)).flatten(1).numpy()
