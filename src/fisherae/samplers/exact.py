r"""Exact samples, of each prior that allows them."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Generator, Tensor

from fisherae.errors import InputError
from fisherae.priors import AncestralPrior, FactorablePrior, Prior
from fisherae.samplers.inverse_cdf import InverseCDF

__all__ = ["EXACT", "Exact", "ExactState", "improper_dims"]

EXACT = (FactorablePrior, AncestralPrior)
"""The kinds of priors that can be drawn from exactly."""


@dataclass(frozen=True)
class ExactState:
    """Independent samples, shape (n, dim)."""

    position: Tensor


class Exact:
    r"""Independent samples: an ancestral prior draws them itself, a factorable one dimension by
    dimension with its `InverseCDF`. Every step draws anew.

    Arguments:
        prior: an ancestral prior, or a factorable one that is proper in each dimension.

    Attributes:
        mean, std: of the prior, shape (dim,).

    Raises:
        InputError: if the prior is improper in a dimension; the message names them.

    Example:
        >>> import torch
        >>> from fisherae.priors import GaussianMixture, StandardNormal
        >>> for prior in StandardNormal(2), GaussianMixture(2):
        ...     sampler = Exact(prior)
        ...     state = sampler.step(sampler.init(torch.zeros(5, 2)))
        ...     print(state.position.shape, sampler.std)
        torch.Size([5, 2]) tensor([1., 1.])
        torch.Size([5, 2]) tensor([1., 1.])
    """

    def __init__(self, prior: FactorablePrior | AncestralPrior):
        _check_proper(prior)
        self._source = prior if isinstance(prior, AncestralPrior) else InverseCDF(prior)
        self.mean, self.std = self._source.mean, self._source.std

    def init(self, position: Float[Tensor, "n dim"]) -> ExactState:
        return ExactState(position)

    def step(self, state: ExactState, generator: Generator | None = None) -> ExactState:
        """As many new samples, independent of the old."""
        return ExactState(self._source.draw(len(state.position), generator))


def _check_proper(prior: Prior) -> None:
    dims = improper_dims(prior)
    if dims:
        raise InputError(
            f"exact sampling: the prior is improper in dimensions {dims} (its density does not "
            "integrate): confine it to the range of its latents with prior.confine(latents), "
            "fit it with prior.fit(latents), or build it with a support"
        )


def improper_dims(prior: Prior) -> list[int]:
    """The dimensions known to have no finite normaliser."""
    proper = prior.is_normalizable
    dims: list[int] = [] if proper is None else (~proper).nonzero()[:, 0].tolist()
    return dims
