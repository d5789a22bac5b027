r"""What objectives return: the named terms of a loss."""

from dataclasses import dataclass, fields
from typing import Self

from torch import Tensor

__all__ = ["LossTerms"]


@dataclass(frozen=True)
class LossTerms:
    r"""The terms of an objective by name; a family adds one field per term.

    Every objective is trained alike:

        objective = FisherObjective(model)
        optimizer = torch.optim.Adam(objective.parameters())
        for x in batches:
            optimizer.zero_grad()
            objective(x).total.backward()
            optimizer.step()
    """

    @property
    def total(self) -> Tensor:
        r"""The sum of the terms, whose gradient trains everything."""
        first, *rest = self.by_name().values()
        return sum(rest, start=first)

    def by_name(self) -> dict[str, Tensor]:
        r"""The terms by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def mean(self) -> Self:
        r"""The mean of each term over the batch."""
        return type(self)(**{name: term.mean() for name, term in self.by_name().items()})

    def detach(self) -> Self:
        r"""The terms without their graph."""
        return type(self)(**{name: term.detach() for name, term in self.by_name().items()})
