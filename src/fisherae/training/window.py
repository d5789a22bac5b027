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

    Attributes:
        rows: what is kept of each.
        may_skip: whether the optimizer leaves out a step whose gradient is not finite.
        skipped: the number of the last step that was.

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

    def __init__(self) -> None:
        self.may_skip = False
        self.skipped = -LONE
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

    def check(self, rows: Tensor, last_step: int) -> list[int]:
        """Require finite values; `last_step` is the number of the last row.

        One gradient in a hundred steps need not be finite where its step is left out; the first one
        must, from which an optimizer makes its memory. Returns such steps' numbers, each once.

        Raises:
            NonFiniteError: the message names the first value that is not finite, and its step.
        """
        told, found = self.skipped, []
        for row, column in (~rows.isfinite()).nonzero().tolist():
            step = last_step - len(rows) + row + 1
            of_gradient = column == rows.shape[1] - 1
            if of_gradient and step <= told:
                continue
            lone = step > 1 and step - self.skipped >= LONE
            if not (of_gradient and self.may_skip and lone):
                raise NonFiniteError(f"{self.names[column]} is {rows[row, column]} at step {step}")
            self.skipped = step
            found.append(step)
        return found

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
