"""Images in memory, and the one batch source of all training."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fisherae.errors import InputError

__all__ = [
    "Batches",
    "ImageDataset",
    "as_float",
    "random_subset",
    "to_float",
    "to_uint8",
    "to_unit",
]

VALUE_RANGES = ((0.0, 1.0), (-1.0, 1.0))


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Images of one size, and their classes where they are known.

    Arguments:
        name: for messages, tables and figures.
        images: uint8 in 0..255, shape (N, C, H, W), N ≥ 1.
        labels: int64, shape (N,), or None.

    Raises:
        InputError: another dtype or shape, no images, or one label too few or many.

    Example:
        >>> data = ImageDataset("noise", torch.randint(256, (10, 3, 8, 8), dtype=torch.uint8))
        >>> len(data), data.shape, len(data.subset(4, seed=0))
        (10, (3, 8, 8), 4)
    """

    name: str
    images: Tensor
    labels: Tensor | None = None

    def __post_init__(self) -> None:
        _check_images(self.images, self.name)
        if self.labels is None:
            return
        _check_tensor(self.labels, f"{self.name}: labels")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise InputError(
                f"{self.name}: labels are {self.labels.dtype} of shape {tuple(self.labels.shape)} "
                f"for {len(self)} images: give int64, one per image"
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def subset(self, n: int, seed: int) -> "ImageDataset":
        """n random images in their old order; a larger n adds to those of a smaller one.

        Raises:
            InputError: n is not in 1..N.
        """
        index = random_subset(len(self), n, seed)
        labels = None if self.labels is None else self.labels[index]
        return ImageDataset(self.name, self.images[index], labels)


class Batches:
    r"""Batches of a set of images that lies in memory, shuffled anew in every epoch.

    The order is a pure function of (seed, epoch): to resume an epoch at a step needs no state.
    With several processes ("ranks") each takes its own share of the same global batch. The last
    incomplete batch is dropped; a set smaller than one batch is one batch.

    The images are moved to the device once, unless they would take more than half of a GPU's free
    memory; then each batch travels by itself.

    Arguments:
        images: shape (N, C, H, W); uint8, or, as corrupted images are, float32 in the units of
            `value_range`, which they may leave.
        batch_size: images per step, all ranks together.
        value_range: of the batches of clean images, (0, 1) or (-1, 1).
        seed: of the order, ≥ 0.
        device: where the batches are wanted.
        rank: of this process, in 0..world_size - 1.
        world_size: number of processes; it divides `batch_size`.

    Raises:
        InputError: an argument outside of what is said above, a pixel that is not finite, or fewer
            images than ranks.

    Example:
        >>> images = torch.randint(256, (10, 1, 8, 8), dtype=torch.uint8)
        >>> batches = Batches(images, batch_size=4)
        >>> [batch.shape for batch in batches.epoch(0)]
        [torch.Size([4, 1, 8, 8]), torch.Size([4, 1, 8, 8])]
    """

    def __init__(
        self,
        images: Tensor,
        batch_size: int,
        value_range: tuple[float, float] = (0.0, 1.0),
        seed: int = 0,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world_size: int = 1,
    ):
        _check_images(images, "images", (torch.uint8, torch.float32))
        _check_value_range(value_range)
        _check_batches(len(images), batch_size, seed, rank, world_size)
        self.batch_size = batch_size
        self.value_range = value_range
        self.seed = seed
        self.device = torch.device(device)
        self.rank = rank
        self._share = min(batch_size, len(images)) // world_size
        self._resident = _fits(images, self.device)
        self._images = images.to(self.device) if self._resident else images

    @property
    def steps_per_epoch(self) -> int:
        return max(1, len(self._images) // self.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Tensor]:
        """The float32 batches of an epoch from step `start` on, shape (share, C, H, W).

        Raises:
            InputError: a negative epoch, or a start outside 0..steps_per_epoch.
        """
        if epoch < 0 or not 0 <= start <= self.steps_per_epoch:
            raise InputError(
                f"epoch {epoch}, start {start}: give an epoch ≥ 0 and a start in "
                f"0..{self.steps_per_epoch}"
            )
        # To the device at once: in every batch, it would wait there for the step before.
        order = torch.from_numpy(
            np.random.default_rng((self.seed, epoch)).permutation(len(self._images))
        ).to(self._images.device)
        firsts = (
            step * self.batch_size + self.rank * self._share
            for step in range(start, self.steps_per_epoch)
        )
        return (self._batch(order[first : first + self._share]) for first in firsts)

    def _batch(self, index: Tensor) -> Tensor:
        images = self._images.index_select(0, index)
        if not self._resident:
            images = images.pin_memory().to(self.device, non_blocking=True)
        return as_float(images, self.value_range)


def as_float(images: Tensor, value_range: tuple[float, float]) -> Tensor:
    """uint8 as by `to_float`; floats, which are in the units of `value_range`, as they are.

    Example:
        >>> as_float(torch.tensor([-0.2, 1.0]), (0.0, 1.0))
        tensor([-0.2000,  1.0000])
    """
    return images if images.is_floating_point() else to_float(images, value_range)


def to_float(images: Tensor, value_range: tuple[float, float]) -> Tensor:
    """uint8 in 0..255 -> float32 in `value_range`, which is (0, 1) or (-1, 1).

    Raises:
        InputError: the images are not uint8, or another range.

    Example:
        >>> to_float(torch.tensor([0, 255], dtype=torch.uint8), (-1.0, 1.0))
        tensor([-1.,  1.])
    """
    _check_value_range(value_range)
    if images.dtype != torch.uint8:
        raise InputError(f"images are {images.dtype}: give uint8 in 0..255")
    low, high = value_range
    return images.float().div_(255).mul_(high - low).add_(low)


def to_uint8(images: Tensor, value_range: tuple[float, float]) -> Tensor:
    """Floats in `value_range` -> uint8 in 0..255, rounded; what lies outside is clipped.

    Raises:
        InputError: a range other than (0, 1) or (-1, 1).

    Example:
        >>> to_uint8(torch.tensor([-0.5, 0.5, 2.0]), (0.0, 1.0))
        tensor([  0, 128, 255], dtype=torch.uint8)
    """
    _check_value_range(value_range)
    low, high = value_range
    return images.sub(low).mul_(255 / (high - low)).round_().clamp_(0, 255).to(torch.uint8)


def to_unit(images: Tensor, value_range: tuple[float, float]) -> Tensor:
    """Floats in `value_range` -> floats in [0, 1]; what lies outside is clipped.

    Example:
        >>> to_unit(torch.tensor([-1.0, 0.0, 3.0]), (-1.0, 1.0))
        tensor([0.0000, 0.5000, 1.0000])
    """
    low, high = value_range
    return ((images - low) / (high - low)).clamp(0, 1)


def random_subset(total: int, n: int, seed: int) -> Tensor:
    """n of `total` indices, ascending; at one seed, a larger n adds to those of a smaller one.

    Raises:
        InputError: n is not in 1..total, or the seed is negative.

    Example:
        >>> len(random_subset(10, 3, seed=0))
        3
    """
    if not 1 <= n <= total:
        raise InputError(f"a subset of {n} of {total} images: give a number in 1..{total}")
    if seed < 0:
        raise InputError(f"seed is {seed}: give a seed ≥ 0")
    order = np.random.default_rng(seed).permutation(total)
    return torch.from_numpy(np.sort(order[:n]))


def _fits(images: Tensor, device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return images.nbytes < free / 2


def _check_tensor(value: object, name: str) -> None:
    if not isinstance(value, Tensor):
        raise InputError(f"{name} are a {type(value).__name__}: give a torch tensor")


def _check_images(
    images: Tensor, name: str, dtypes: tuple[torch.dtype, ...] = (torch.uint8,)
) -> None:
    _check_tensor(images, f"{name}: images")
    if images.dtype not in dtypes or images.dim() != 4 or images.numel() == 0:
        wanted = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise InputError(
            f"{name}: {images.dtype} of shape {tuple(images.shape)}: "
            f"give {wanted} of shape (N, C, H, W), not empty"
        )
    if images.is_floating_point():
        low, high = (end.item() for end in images.aminmax())
        if not -math.inf < low <= high < math.inf:
            raise InputError(f"{name}: pixels lie in [{low}, {high}]: give finite numbers")


def _check_value_range(value_range: tuple[float, float]) -> None:
    if value_range not in VALUE_RANGES:
        raise InputError(f"value_range is {value_range}: give (0, 1) or (-1, 1)")


def _check_batches(images: int, batch_size: int, seed: int, rank: int, world_size: int) -> None:
    if batch_size < 1 or seed < 0:
        raise InputError(
            f"batch_size {batch_size}, seed {seed}: give a batch size ≥ 1 and a seed ≥ 0"
        )
    if world_size < 1 or not 0 <= rank < world_size:
        raise InputError(f"rank {rank} of {world_size}: give a rank in 0..world_size - 1")
    if batch_size % world_size:
        raise InputError(
            f"batch_size {batch_size} cannot be shared by {world_size} processes: give a multiple"
        )
    if images < world_size:
        raise InputError(f"{images} images for {world_size} processes: give more images")
