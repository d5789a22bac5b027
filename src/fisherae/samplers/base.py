r"""What every sampler offers."""

from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Generator, Tensor

__all__ = ["Sampler", "State", "reflect"]


@runtime_checkable
class State(Protocol):
    """What a sampler knows between two steps; never changed in place."""

    @property
    def position(self) -> Tensor: ...


S = TypeVar("S", bound=State)


@runtime_checkable
class Sampler(Protocol[S]):
    r"""A sampler is `init` and `step` over an explicit state; the loop belongs to the caller.

    Example:
        >>> from fisherae.priors import StandardNormal
        >>> from fisherae.samplers import MALA
        >>> sampler = MALA(StandardNormal(2), step_size=0.5)
        >>> state = sampler.init(torch.zeros(10, 2))
        >>> for _ in range(20):
        ...     state = sampler.step(state)
        >>> state.position.shape
        torch.Size([10, 2])

    References:
        Cabezas, Corenflos, Lao and Louf (2024), BlackJAX: Composable Bayesian Inference in JAX,
        https://arxiv.org/abs/2402.10797
    """

    def init(self, position: Tensor) -> S:
        """The state at the given positions, shape (n, dim)."""
        ...

    def step(self, state: S, generator: Generator | None = None) -> S:
        """The next state; the same generator state gives the same result."""
        ...


def reflect(
    z: Float[Tensor, "*batch dim"], support: Float[Tensor, "dim 2"]
) -> Float[Tensor, "*batch dim"]:
    r"""Folds z into the support by reflection at its ends, as often as needed.

    Arguments:
        z: points.
        support: per dimension (lower, upper); infinite ends reflect nothing.

    Example:
        >>> reflect(torch.tensor([[1.25], [-0.5]]), torch.tensor([[0.0, 1.0]]))
        tensor([[0.7500],
                [0.5000]])
    """
    if support.abs().amin().item() == torch.inf:
        return z
    lower, upper = support.unbind(-1)
    width = upper - lower
    between = upper - ((z - lower).remainder(2 * width) - width).abs()
    above = torch.where(lower.isfinite(), lower + (z - lower).abs(), z)
    below = torch.where(upper.isfinite(), upper - (upper - z).abs(), above)
    return torch.where(width.isfinite(), between, below).clamp(lower, upper)
