r"""The polynomial exponential family with pairwise terms: latents that depend on each other."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from fisherae.errors import InputError
from fisherae.one_dimensional.hermite import hermite, hermite_slopes
from fisherae.priors.polynomial import PolynomialPrior
from fisherae.priors.score_matching import solve

__all__ = ["PairwisePolynomial"]


class PairwisePolynomial(PolynomialPrior):
    r"""p_η(z) ∝ exp(Σ_j Σ_k η_jk z_j^k + Σ_{i<j} θ_ij z_i z_j), eq. (12) with T = (z_j^k, z_i z_j).

    With K = 2 it is the Gaussian with a full covariance, and `fit` gives it the samples' mean and
    covariance exactly; a higher K adds skew and several modes in each dimension. The parameters
    are weights of Hermite polynomials (`PolynomialPrior`) and `coupling`, the θ_ij of the
    standardised u; `eta` and `pairs` give the coefficients of the monomials. A new prior is the
    standard normal.

    A negative leading coefficient of an even power above 2 outgrows every product z_i z_j, so that
    the density is proper whatever θ is; where the leading power is 2, the quadratic form of these
    dimensions must be negative definite. `is_normalizable` checks both. An odd K is never a
    density, and refused.

    Arguments:
        dim: number d of latent dimensions.
        order: K, even.

    Raises:
        InputError: if `dim` or `order` is out of range.

    Example:
        >>> covariance = torch.tensor([[1.0, 0.8], [0.8, 1.0]])
        >>> generator = torch.Generator().manual_seed(0)
        >>> z = torch.randn(500, 2, generator=generator) @ torch.linalg.cholesky(covariance).mT
        >>> prior = PairwisePolynomial(dim=2, order=2).fit(z)
        >>> precision = -prior.pairs - 2 * torch.diag(prior.eta[:, 1])
        >>> torch.allclose(torch.linalg.inv(precision), z.mT.cov(correction=0), atol=1e-5)
        True
    """

    def __init__(self, dim: int, order: int = 4):
        super().__init__(dim, order)
        if order % 2:
            raise InputError(
                f"prior: the order of pairwise polynomials must be even, got {order}: an odd one "
                "is no density on the whole space"
            )
        self.coupling = nn.Parameter(torch.zeros(dim * (dim - 1) // 2))

    @property
    def spec(self) -> dict[str, object]:
        return {"prior": "pairwise_polynomial", "dim": self.dim, "order": self.order}

    def log_density(self, z: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
        r"""log p_η(z) up to a constant; −∞ outside the support."""
        u = self._standardised(z)
        products = ((u @ self._coupling) * u).sum(-1) / 2
        value = self._log_densities(z).sum(-1) + products
        return value.masked_fill(self._outside(z).any(-1), -torch.inf)

    def score(self, z: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        r"""∂ log p / ∂z_j = Σ_k k η_jk z_j^{k−1} + Σ_{i≠j} θ_ij z_i."""
        return self._scores(z) + self._standardised(z) @ self._coupling / self._steady_scale

    @torch.no_grad()
    def fit(self, z: Float[Tensor, "n dim"]) -> "PairwisePolynomial":
        r"""Closed-form score matching, one linear solve for all dimensions, in place.

        The score of dimension j is linear in its own weights and in the θ_ij that it shares with
        the others: (1 / s_j) ψ_jᵀ (w_j, θ_·j), ψ_j = (h_0(u_j) … h_{K−1}(u_j), u_i for i ≠ j). With
        these rows put in their places, (w, θ) = −(Σ_j E ψ_j ψ_jᵀ)⁻¹ Σ_j E ∂ψ_j/∂u_j: score
        matching of the standardised u, which does not depend on the units of the latents.
        Dimensions in which the density may rise beyond the samples are then confined to their
        range (`confine`), so that it is proper.

        Arguments:
            z: samples, for instance of the aggregated posterior.

        Raises:
            InputError: if z is not finite, a dimension is constant, or the samples do not determine
                the parameters (too few, or dependent dimensions).
        """
        z = self._samples(z)
        location, scale = self._location_and_scale(z)
        gram, target = self._moments((z - location) / scale)
        solution, rank = solve(gram, -target)
        if rank < len(gram):
            raise InputError(
                f"prior: {len(z)} samples determine only {int(rank)} of the {len(gram)} natural "
                "parameters: give more samples, lower the order, or leave out dimensions that "
                "depend on others"
            )
        own = self.weight.numel()
        self.location.copy_(location)
        self.scale.copy_(scale)
        self.weight.copy_(solution[:own].view_as(self.weight))
        self.coupling.copy_(solution[own:])
        self.confine(z)
        return self

    def _stretch(self, z: Tensor) -> Float[Tensor, " dim"]:
        r"""λ D_j, for uᵀCu ≤ λ Σ_j D_j u_j² for any positive D, λ the largest eigenvalue of
        D^{−½} C D^{−½}. With D_j = −E[u_j ∂ log p_j / ∂u_j] this decides exactly for K = 2, where
        the density falls if and only if the precision D − C is positive definite."""
        inwards = -(self._standardised(z) * self._scores(z) * self.scale).mean(0)
        share = inwards.clamp_min(1e-6 * inwards.abs().max()).sqrt()
        largest = torch.linalg.eigvalsh(self._coupling / share / share[:, None])[-1]
        stretch: Tensor = largest * share.square()
        return stretch

    @property
    def is_normalizable(self) -> Bool[Tensor, " dim"]:
        r"""Per dimension, whether nothing in it keeps the density from integrating.

        Its interval is finite, or its leading power is even with a negative coefficient and, where
        that power is 2, the quadratic form of all such dimensions is negative definite. All of
        them together are sufficient.
        """
        degree, sign = self._leading
        quadratic = (degree == 2) & (sign < 0) & ~self.is_bounded
        form = (torch.diag(self.weight[:, 1]) + self._coupling)[quadratic][:, quadratic].detach()
        definite = bool((torch.linalg.eigvalsh(form.double()) < 0).all())
        falls = (degree % 2 == 0) & (sign < 0) & (~quadratic | definite)
        return falls | self.is_bounded

    @property
    def eta(self) -> Float[Tensor, "dim order"]:
        r"""The natural parameters η_jk of the monomials z_j^k."""
        eta = super().eta.clone()
        eta[:, 0] -= self.pairs @ self.location.clone()  # which `follow` changes in place
        return eta

    @property
    def pairs(self) -> Float[Tensor, "dim dim"]:
        r"""The natural parameters θ_ij of the products z_i z_j, symmetric, zero on the diagonal."""
        return self._coupling / self._steady_scale / self._steady_scale[:, None]

    @torch.no_grad()
    def set_eta(
        self, eta: Float[Tensor, "dim order"], pairs: Float[Tensor, "_ _"] | None = None
    ) -> None:
        r"""Sets the natural parameters η_jk and θ_ij, in place; without θ there are no products."""
        if pairs is None:
            pairs = self.coupling.new_zeros(self.dim, self.dim)
        symmetric = pairs.shape == (self.dim, self.dim) and torch.equal(pairs, pairs.mT)
        if not symmetric or pairs.diagonal().any():
            raise InputError(
                f"prior: pairs must be a symmetric matrix of shape {(self.dim, self.dim)} with "
                f"zeros on the diagonal, got {pairs.tolist()}"
            )
        super().set_eta(eta)
        first, second = self._places
        self.coupling.copy_(pairs[first, second])

    @property
    def _places(self) -> Int[Tensor, "2 pairs"]:
        """i and j of each pair i < j."""
        return torch.triu_indices(self.dim, self.dim, 1, device=self.coupling.device)

    @property
    def _coupling(self) -> Float[Tensor, "dim dim"]:
        """θ_ij of the standardised u, as a symmetric matrix."""
        first, second = self._places
        upper = self.coupling.new_zeros(self.dim, self.dim)
        upper = upper.index_put((first, second), self.coupling)
        return upper + upper.mT

    def _moments(self, u: Tensor) -> tuple[Tensor, Tensor]:
        r"""Σ_j E ψ_j ψ_jᵀ and Σ_j E ∂ψ_j/∂u_j, the parameters in the order (w, θ)."""
        h = hermite(u, self.order - 1)
        own, slopes = torch.stack(h, dim=-1), torch.stack(hermite_slopes(h), dim=-1).mean(0)
        count = self.weight.numel() + self.coupling.numel()
        gram, target = u.new_zeros(count, count), u.new_zeros(count)
        first, second = self._places
        for j in range(self.dim):
            shared = (first == j) | (second == j)
            others = torch.where(first == j, second, first)[shared]
            psi = torch.cat([own[:, j], u[:, others]], dim=-1)
            weights = j * self.order + torch.arange(self.order, device=u.device)
            places = torch.cat([weights, self.weight.numel() + shared.nonzero()[:, 0]])
            gram[places[:, None], places] += psi.mT @ psi / len(u)
            target[weights] += slopes[j]
        return gram, target
