"""A small regression with a random objective, which the tests train for real."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fisherae.training.run import RunDirectory


@dataclass(frozen=True)
class RegressionTerms:
    error: Tensor
    penalty: Tensor

    @property
    def total(self) -> Tensor:
        return self.error + self.penalty

    def by_name(self) -> dict[str, Tensor]:
        return {"error": self.error, "penalty": self.penalty}


class Regression(nn.Module):
    """Squared error of a linear prediction of the last column, with dropout on the others."""

    def __init__(self, features: int = 4, dropout: float = 0.0, penalty: float = 0.0):
        super().__init__()
        self.linear = nn.Linear(features, 1)
        self.dropout = nn.Dropout(dropout)
        self.penalty = penalty

    def forward(self, rows: Tensor) -> RegressionTerms:
        prediction = self.linear(self.dropout(rows[:, :-1])).squeeze(1)
        squares = self.linear.weight.square().sum()
        return RegressionTerms((prediction - rows[:, -1]).square().mean(), self.penalty * squares)


@dataclass
class Rows:
    """A batch source: rows in an order that depends on the epoch alone."""

    data: Tensor
    batch_size: int
    before_step: Callable[[int], object] = lambda step: None

    @property
    def steps_per_epoch(self) -> int:
        return len(self.data) // self.batch_size

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Tensor]:
        order = torch.randperm(len(self.data), generator=torch.Generator().manual_seed(epoch))
        for step in range(start, self.steps_per_epoch):
            self.before_step(epoch * self.steps_per_epoch + step + 1)
            yield self.data[order[step * self.batch_size : (step + 1) * self.batch_size]]


def make_rows(n: int = 32, features: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(n, features, generator=generator)
    noise = torch.randn(n, generator=generator)
    return torch.cat([inputs, (inputs.sum(1) + 1 + 0.1 * noise)[:, None]], dim=1)


@pytest.fixture
def regression() -> type[Regression]:
    return Regression


@pytest.fixture
def batches() -> Rows:
    """Four batches of eight rows per epoch."""
    return Rows(make_rows(), batch_size=8)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run", {"recipe": "regression"})


@pytest.fixture
def untimed() -> Callable[[RunDirectory], list[dict[str, Any]]]:
    """The metrics without their times."""

    def read(run: RunDirectory) -> list[dict[str, Any]]:
        return [{k: v for k, v in line.items() if k != "seconds"} for line in run.metrics()]

    return read
