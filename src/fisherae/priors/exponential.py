r"""The general exponential family, eq. (12)."""

import copy
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import jacrev, vmap

from fisherae.errors import InputError
from fisherae.priors.base import Interval, Prior
from fisherae.priors.score_matching import boundary_weight, solve

__all__ = ["ExponentialFamily"]


class ExponentialFamily(Prior):
    r"""p_η(z) ∝ exp(ηᵀ T(z) + h(z)), eq. (12), for any sufficient statistic T and carrier h.

    Arguments:
        dim: number d of latent dimensions.
        statistics: T, maps z of shape (..., dim) to (..., m), differentiable twice. An `nn.Module`
            is registered, so that its parameters are learned too. Tensors of a function's own must
            take the dtype of z, which is float64 in `fit`: `z @ A.to(z)`.
        carrier: h, maps (..., dim) to (...), likewise. None: zero.
        support: as in `Prior`. On an unbounded support `is_normalizable` is None: unknown.

    References:
        Wainwright and Jordan (2008), Graphical Models, Exponential Families, and Variational
        Inference, https://doi.org/10.1561/2200000001

    Example:
        The standard normal, written with T(z) = z² and fitted to its own samples.

        >>> prior = ExponentialFamily(3, lambda z: z.square())
        >>> _ = prior.fit(torch.randn(20_000, 3, generator=torch.Generator().manual_seed(0)))
        >>> torch.allclose(prior.eta, torch.full((3,), -0.5), atol=0.02)
        True
    """

    def __init__(
        self,
        dim: int,
        statistics: Callable[[Tensor], Tensor],
        carrier: Callable[[Tensor], Tensor] | None = None,
        support: Interval | Sequence[Interval] | None = None,
    ):
        super().__init__(dim, support)
        self.statistics = statistics
        self.carrier = carrier
        self.eta = nn.Parameter(torch.zeros(statistics(torch.zeros(1, dim)).shape[-1]))

    def log_density(self, z: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
        value = self.statistics(self._check(z)) @ self.eta
        if self.carrier is not None:
            value = value + self.carrier(z)
        return value.masked_fill(self._outside(z).any(-1), -torch.inf)

    @torch.no_grad()
    def fit(self, z: Float[Tensor, "n dim"]) -> "ExponentialFamily":
        r"""Closed-form score matching: η = −(E ∇T ∇Tᵀ)⁻¹ E[ΔT + ∇T ∇h], in place.

        The score is linear in η, so minimising the Hyvärinen score is a linear solve, in float64.
        Where the support has finite ends, dimension j of each product is weighted by g_j and ∇T ∇g
        joins the right-hand side (`boundary_weight`).

        Arguments:
            z: samples, for instance of the aggregated posterior.

        Raises:
            InputError: if z is not finite, outside the support, or does not determine η (too few
                samples, or dependent statistics), or if T or h does not compute in float64.

        References:
            Hyvärinen (2007), Some Extensions of Score Matching,
            https://doi.org/10.1016/j.csda.2006.09.003
        """
        z, own = self._samples(z), copy.deepcopy(self).double()
        own._require_float64(z)
        gram, target = own._moments(z)
        solution, rank = solve(gram, -target)
        if rank < len(gram):
            raise InputError(
                f"score matching: {len(z)} samples determine only {int(rank)} of the "
                f"{len(gram)} natural parameters; give more samples or independent statistics"
            )
        self.eta.copy_(solution)
        return self

    def _require_float64(self, z: Tensor) -> None:
        for name, function in (("statistics", self.statistics), ("carrier", self.carrier)):
            try:
                computed = str(z.dtype if function is None else function(z[:1]).dtype)
            except RuntimeError as error:
                computed = str(error).splitlines()[0]
            if computed != str(z.dtype):
                raise InputError(
                    f"score matching: the {name} must compute in the dtype of z, here float64, but "
                    f"gave {computed}: let tensors of their own follow it, such as z @ A.to(z)"
                )

    def _moments(self, z: Tensor) -> tuple[Tensor, Tensor]:
        r"""E[∇T G ∇Tᵀ] and E[tr(G ∇²T) + ∇T ∇g + ∇T G ∇h], G = diag g, in float64."""

        def moments(point: Tensor, g: Tensor, g_slope: Tensor) -> tuple[Tensor, Tensor]:
            gradient = jacrev(self.statistics)(point)
            curvature = jacrev(jacrev(self.statistics))(point).diagonal(dim1=-2, dim2=-1)
            target = curvature @ g + gradient @ g_slope
            if self.carrier is not None:
                target = target + gradient @ (g * jacrev(self.carrier)(point))
            return gradient @ (g[:, None] * gradient.mT), target

        weights = boundary_weight(z, self.support)
        grams, targets = vmap(moments, chunk_size=256)(z, *weights)
        return grams.mean(0), targets.mean(0)
