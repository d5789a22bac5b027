"""The typed configuration of a training run; the docstring of a field is its `--help`."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from fisherae.counts import is_whole
from fisherae.errors import InputError

__all__ = ["SEEDS", "TrainingConfig"]

SEEDS = range(2**32)
"""What torch, numpy and scikit-learn all take."""


@dataclass(frozen=True)
class TrainingConfig:
    """How an objective is trained: Adam, batches, learning-rate schedule, what is kept.

    Epochs count from 0, so a milestone at 30 acts after 30 complete epochs.

    Raises:
        InputError: a field is out of its range; the message names the field.

    Example:
        >>> config = TrainingConfig(epochs=60, schedule=((30, 0.5), (50, 0.1)))
        >>> [config.learning_rate_factor(epoch) for epoch in (0, 29, 30, 50)]
        [1.0, 1.0, 0.5, 0.1]
    """

    epochs: int = 100
    """Passes over the training images."""
    batch_size: int = 128
    """Images per step."""
    learning_rate: float = 2e-4
    """Step size of Adam, before the schedule."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of Adam's two moment estimates."""
    clip: float | None = None
    """Largest global gradient norm; a longer gradient is scaled down to it. None: no clipping."""
    schedule: tuple[tuple[int, float], ...] = ()
    """Pairs EPOCH FACTOR: from EPOCH on, the learning rate is its initial value times FACTOR
    (30 0.5 50 0.1: halved after 30 epochs, a tenth of the initial value after 50)."""
    seed: int = 0
    """Seed of the noise that is drawn during training."""
    log_every: int = 50
    """Steps that are averaged into one line of metrics."""
    save_every: int = 1
    """Epochs between checkpoints."""
    keep: int = 2
    """Number of newest checkpoints kept; from 2 on, a damaged one can be replaced by its elder."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes the GPU where there is one."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: the networks compute in bfloat16 (autocast), weights and loss terms stay in float32.
    It pays where the processor computes in it: GPUs, CPUs with AVX512-BF16 or AMX."""
    capture: bool = False
    """Record a whole step as one CUDA graph and replay it: for networks so small that a GPU waits
    for the next launch, as those of MNIST. Needs a GPU, and one process."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "log_every", "save_every", "keep"):
            self._require(name, is_whole(getattr(self, name), 1), "a whole number, at least 1")
        seed = is_whole(self.seed, 0) and self.seed in SEEDS
        self._require("seed", seed, "a whole number, at least 0 and less than 2³²")
        self._require("learning_rate", _positive(self.learning_rate), "positive and finite")
        betas = len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)
        self._require("betas", betas, "two numbers in [0, 1)")
        self._require("clip", self.clip is None or _positive(self.clip), "positive, or None")
        self._require("device", self.device in ("auto", "cpu", "cuda"), "auto, cpu or cuda")
        self._require("precision", self.precision in ("fp32", "bf16"), "fp32 or bf16")
        self._require("schedule", _is_schedule(self.schedule), "ascending epochs, positive factors")

    def _require(self, name: str, valid: bool, expected: str) -> None:
        if not valid:
            raise InputError(f"training.{name} is {getattr(self, name)!r}; it must be: {expected}")

    def learning_rate_factor(self, epoch: int) -> float:
        """What the initial learning rate is multiplied by during `epoch` (counted from 0)."""
        return _latest((factor for start, factor in self.schedule if start <= epoch), default=1.0)


def _latest(values: Iterable[float], default: float) -> float:
    return [default, *values][-1]


def _is_schedule(pairs: Iterable[tuple[int, float]]) -> bool:
    if any(len(pair) != 2 for pair in pairs):
        return False
    epochs = [epoch for epoch, _ in pairs]
    ascending = all(is_whole(epoch, 0) for epoch in epochs) and epochs == sorted(set(epochs))
    return ascending and all(_positive(factor) for _, factor in pairs)


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0
