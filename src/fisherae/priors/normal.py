r"""The standard normal prior of the VAE."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fisherae.priors.base import FactorablePrior

__all__ = ["StandardNormal"]


class StandardNormal(FactorablePrior):
    r"""p(z) = N(0, I). It has nothing to learn: `fit` leaves it as it is.

    Arguments:
        dim: number d of latent dimensions.

    Example:
        >>> StandardNormal(2).score(torch.tensor([[1.0, -2.0]]))
        tensor([[-1.,  2.]])
    """

    def __init__(self, dim: int):
        super().__init__(dim)

    @property
    def spec(self) -> dict[str, object]:
        return {"prior": "standard_normal", "dim": self.dim}

    def log_density_per_dim(self, z: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        return -self._check(z).square() / 2

    def score(self, z: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        r"""∇_z log p(z) = −z."""
        return -self._check(z)

    def fit(self, z: Float[Tensor, "n dim"]) -> "StandardNormal":
        self._samples(z)
        return self

    @property
    def is_normalizable(self) -> Bool[Tensor, " dim"]:
        return torch.ones(self.dim, dtype=torch.bool, device=self.support.device)
