"""Loss terms and gradient norms between two lines of metrics, kept on the device."""

from typing import Protocol

import torch
from torch import Tensor

from fisherae.errors import NonFiniteError

__all__ = ["Terms", "Window"]

LONE = 100  # steps between two that may be left out


class Terms(Protocol):
    """What an objective returns: named terms, and the total that is minimised."""

    @property
    def total(self) -> Tensor:
        """The sum that is minimised, a scalar."""

    def by_name(self) -> dict[str, Tensor]:
        """The terms by name, scalars, without the total."""


class Window:
    """The steps since the last line of metrics; keeping one never waits for the device.

    Arguments:
        may_skip: whether a step without a finite gradient has been left out by the optimizer.

    Example:
        >>> from types import SimpleNamespace
        >>> window = Window()
        >>> for value in (1.0, 3.0):
        ...     loss = torch.tensor(value)
        ...     terms = SimpleNamespace(total=loss, by_name=lambda: {"error": loss})
        ...     window.rows.append(window.row(terms, grad_norm=2 * loss))
        >>> window.means(window.stack())
        {'error': 2.0, 'total': 2.0, 'grad_norm': 4.0, 'grad_norm_max': 6.0}
    """

    def __init__(self, may_skip: bool = False) -> None:
        self.may_skip = may_skip
        self.skipped: int | None = None  # the number of the last step that was
        self.names: tuple[str, ...] = ()
        self.rows: list[Tensor] = []

    def row(self, terms: Terms, grad_norm: Tensor) -> Tensor:
        """What is to be kept of one step, to be added to `rows`."""
        values = {**terms.by_name(), "total": terms.total, "grad_norm": grad_norm}
        self.names = tuple(values)
        return torch.stack([value.detach() for value in values.values()])

    def stack(self) -> Tensor:
        """One row per step, one column per value, on the device."""
        return torch.stack(self.rows)

    def check(self, rows: Tensor, last_step: int) -> int | None:
        """Require finite values; `last_step` is the number of the last row.

        One gradient in a hundred need not be finite where its step is left out: the number of such
        a step, unless it has been told before.

        Raises:
            NonFiniteError: the message names the first value that is not finite, and its step.
        """
        told = self.skipped
        for row, column in (~rows.isfinite()).nonzero().tolist():
            step = last_step - len(rows) + row + 1
            since = LONE if self.skipped is None else step - self.skipped
            lone = since == 0 or since >= LONE
            if not (self.may_skip and lone and self.names[column] == "grad_norm"):
                raise NonFiniteError(f"{self.names[column]} is {rows[row, column]} at step {step}")
            self.skipped = step
        return None if self.skipped == told else self.skipped

    def means(self, rows: Tensor) -> dict[str, float]:
        """The mean of each column and the largest gradient norm, of the steps that were not left
        out, and how many were, if any."""
        finite = rows[rows.isfinite().all(1)]
        skipped = {"skipped": float(len(rows) - len(finite))} if len(finite) < len(rows) else {}
        if not len(finite):
            return skipped
        means = finite.double().mean(0).tolist()
        return {
            **dict(zip(self.names, means, strict=True)),
            "grad_norm_max": finite[:, -1].max().item(),
            **skipped,
        }
