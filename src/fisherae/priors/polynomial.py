r"""The factorable polynomial exponential family (FPE), eq. (13)."""

import math
from collections.abc import Sequence

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn

from fisherae.errors import InputError
from fisherae.one_dimensional.hermite import (
    combined,
    hermite,
    hermite_slopes,
    in_powers,
    natural,
    series,
)
from fisherae.priors.base import FactorablePrior, Interval, Prior, check_count
from fisherae.priors.score_matching import boundary_weight, solve

__all__ = ["FactorablePolynomial", "PolynomialPrior"]

_PACE = 0.01  # what the latents of a step weigh in the running moments
_REACH = 10.0  # in standard deviations


class PolynomialPrior(Prior):
    r"""The part Σ_j Σ_k η_jk z_j^k of a log-density, which the polynomial families share.

    Powers of z are badly scaled, so the parameters are not η but the weights w of the score in
    orthonormal Hermite polynomials h_n of the standardised u_j = (z_j − c_j) / s_j,

        ∂ log p / ∂z_j = (1 / s_j) Σ_k w_jk h_{k−1}(u_j),     log p_j = Σ_k w_jk h_k(u_j) / √k,

    for which E[h_m h_n] = δ_mn under N(0, 1). A new one is the standard normal (w_j2 = −1, all
    others 0).
    """

    location: Float[Tensor, " dim"]
    scale: Float[Tensor, " dim"]

    def __init__(self, dim: int, order: int, support: Interval | Sequence[Interval] | None = None):
        super().__init__(dim, support)
        check_count("order", order, least=2)
        self.order = order
        self._keeps_support = support is not None
        weight = torch.zeros(dim, order)
        weight[:, 1] = -1.0
        self.weight = nn.Parameter(weight)
        self.register_buffer("location", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    def laplacian(self, z: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
        r"""Δ_z log p = Σ_jk k (k − 1) η_jk z_j^{k−2}."""
        h = hermite(self._standardised(z), self.order - 1)
        slopes: Tensor = combined(self.weight, hermite_slopes(h))
        return (slopes / self._steady_scale.square()).sum(-1)

    @torch.no_grad()
    def confine(self, z: Float[Tensor, "n dim"]) -> "PolynomialPrior":
        r"""Confines to the range of the samples z, in place, each dimension in which the density
        may not fall all the way from there to infinity.

        Improper dimensions rise somewhere, but so do proper ones that a tiny leading coefficient
        turns only far away: there they may have more mass than among the samples. All other
        dimensions get the whole line. A support given at construction is kept.

        Raises:
            InputError: if z is not finite, or outside a given support.
        """
        z = self._samples(z)
        self.support.copy_(self._given_support)
        if not self._keeps_support:
            span = torch.stack([z.amin(0), z.amax(0)], dim=-1)
            falls = self.is_normalizable & self._falls_beyond(span, self._stretch(z))
            self.support.copy_(torch.where(falls[:, None], self.support, span.to(self.support)))
        return self

    @property
    def is_normalizable(self) -> Bool[Tensor, " dim"]:
        raise NotImplementedError

    def _stretch(self, z: Tensor) -> Float[Tensor, " dim"]:
        r"""By which the density is at most exp(½ Σ_j stretch_j u_j²) of that without products of
        latents, from samples z; 0 where there are none."""
        return torch.zeros_like(z[0])

    def _falls_beyond(self, span: Tensor, stretch: Tensor) -> Bool[Tensor, " dim"]:
        r"""Whether Σ_k η_jk z_j^k + ½ stretch_j u_j² falls from the interval on, per dimension."""
        lower, upper = span.unbind(-1)
        distances = torch.logspace(-3, 6, 2_000).to(span)[:, None] * (upper - lower)

        def slope(z: Tensor) -> Tensor:
            return self._scores(z) * self.scale + stretch * self._standardised(z)

        inwards = (slope(upper + distances) < 0) & (slope(lower - distances) > 0)
        return inwards.all(0)

    @property
    def _given_support(self) -> Float[Tensor, "dim 2"]:
        """What it has else, a fit or `confine` gave it."""
        if self._keeps_support:
            return self.support
        return torch.tensor([-torch.inf, torch.inf]).to(self.support).expand_as(self.support)

    @property
    def eta(self) -> Float[Tensor, "dim order"]:
        r"""The natural parameters η_jk of the monomials z_j^k, as in the paper."""
        return natural(self.weight, self.location, self.scale).to(self.weight.dtype)

    @torch.no_grad()
    def set_eta(self, eta: Float[Tensor, "dim order"]) -> None:
        r"""Sets the natural parameters of eq. (13), in place."""
        if eta.shape != self.weight.shape:
            raise InputError(
                f"prior: eta must have shape {tuple(self.weight.shape)}, got {tuple(eta.shape)}"
            )
        if not bool(eta.isfinite().all()):
            raise InputError(f"prior: eta must be finite, got {eta.tolist()}")
        self.location.zero_()
        self.scale.fill_(1.0)
        self.support.copy_(self._given_support)
        basis = in_powers(self.order, self.weight.device)[1:]  # the constant is free
        self.weight.copy_(torch.linalg.solve(basis, eta.double()[..., None])[..., 0])

    @property
    def _leading(self) -> tuple[Tensor, Tensor]:
        """Per dimension the degree of the polynomial and the sign of its coefficient."""
        powers = torch.arange(1, self.order + 1, device=self.weight.device)
        degree = (powers * (self.weight != 0)).amax(-1)
        weight = self.weight.gather(-1, (degree - 1).clamp_min(0)[:, None])[:, 0]
        return degree, weight.sign()

    def _log_densities(self, z: Tensor) -> Float[Tensor, "*batch dim"]:
        r"""Σ_k η_jk z_j^k, up to a constant, wherever z is."""
        powers = torch.arange(1, self.order + 1, dtype=z.dtype, device=z.device)
        return combined(
            self.weight * powers.rsqrt(), hermite(self._standardised(z), self.order)[1:]
        )

    def _scores(self, z: Tensor) -> Float[Tensor, "*batch dim"]:
        r"""Σ_k k η_jk z_j^{k−1}."""
        return series(self.weight / self._steady_scale[:, None], self._standardised(z))

    @torch.no_grad()
    def follow(self, z: Float[Tensor, "n dim"]) -> None:
        r"""Moves c and s towards the mean and standard deviation of the latents z, in place, and
        the density with them: running moments, in which each call weighs 0.01.

        Latents grow in training, and Adam's step is as large whatever they are: with c = 0 and
        s = 1, a step of 5·10⁻⁴ in w_4 changes the score at z = 20 by 1.6, where that of N(0, 20²)
        is 0.05. What lies beyond c ± 10 s counts as if there, and what is not a number as c, so
        that a single step, which training may leave out, cannot carry the prior away.

        In a training of several processes each of them must call it; all of their latents count.
        """
        away = (z.to(self.location) - self.location).nan_to_num(0.0, torch.inf, -torch.inf)
        away = away.clamp(-_REACH * self.scale, _REACH * self.scale)
        first, second = _over_processes(torch.stack([away.mean(0), away.square().mean(0)]))
        self.location.add_(first, alpha=_PACE)
        self.scale.square_().lerp_(second - _PACE * first.square(), _PACE).sqrt_()

    def start(self, n: int, generator: Generator | None = None) -> Float[Tensor, "n dim"]:
        r"""N(c, s²): that of the samples that the prior was fitted to or followed, and for a new
        prior N(0, I), as in the paper."""
        return self.location + self.scale * super().start(n, generator)

    @property
    def spread(self) -> Float[Tensor, " dim"]:
        return self.scale

    def _location_and_scale(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Of samples to fit to, as precise as they can be kept."""
        mean, std = self._mean_and_std(z)
        return mean.to(self.location).to(z), std.to(self.scale).to(z)

    def _standardised(self, z: Tensor) -> Tensor:
        """u."""
        return (self._check(z) - self.location) / self._steady_scale

    @property
    def _steady_scale(self) -> Tensor:
        """s as it is now, for autograd, which keeps it; `follow` changes it in place."""
        return self.scale.clone() if torch.is_grad_enabled() else self.scale


class FactorablePolynomial(PolynomialPrior, FactorablePrior):
    r"""p_η(z) ∝ exp(Σ_j Σ_k η_jk z_j^k), j = 1 … d, k = 1 … K, eq. (13).

    The parameters are weights of Hermite polynomials (`PolynomialPrior`); `eta` gives the paper's
    monomial coefficients. A new prior is the standard normal.

    On the whole line the density is proper where its leading power is even with a negative
    coefficient; an odd order (the paper's K = 5) never is. `is_normalizable` says so for each
    dimension, and a finite support makes every member proper.

    Arguments:
        dim: number d of latent dimensions.
        order: K ≥ 2. The paper uses 5; 2 is the Gaussian prior.
        support: as in `Prior`.

    References:
        Cobb, Koppstein and Chen (1983), Estimation and Moment Recursion Relations for Multimodal
        Distributions of the Exponential Family, https://doi.org/10.1080/01621459.1983.10477940

    Example:
        >>> prior = FactorablePolynomial(dim=1, order=4)
        >>> prior.set_eta(torch.tensor([[0.0, 1.0, 0.0, -0.25]]))  # modes at ±√2
        >>> prior.score(torch.tensor([[2.0]])).detach()  # 2·2 − 4·0.25·2³
        tensor([[-4.0000]])
        >>> prior.is_normalizable
        tensor([True])
    """

    @property
    def spec(self) -> dict[str, object]:
        return {
            "prior": "factorable_polynomial",
            "dim": self.dim,
            "order": self.order,
            "support": _json_intervals(self.support) if self._keeps_support else None,
        }

    def log_density_per_dim(self, z: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        return self._log_densities(z).masked_fill(self._outside(z), -torch.inf)

    def score(self, z: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        r"""∂ log p / ∂z_j = Σ_k k η_jk z_j^{k−1}."""
        return self._scores(z)

    @torch.no_grad()
    def fit(self, z: Float[Tensor, "n dim"]) -> "FactorablePolynomial":
        r"""Closed-form score matching, one small linear solve per dimension, in place.

        With ψ_k = h_{k−1}(u) the weights are w = −E[g ψ ψᵀ]⁻¹ E[g ψ′ + g′ ψ], derivatives in u,
        where ψ_k′ = √(k−1) h_{k−2}(u), and g = 1 but for a support given at construction
        (`boundary_weight`).
        Dimensions whose density would rise beyond the samples, the improper ones among them, are
        then confined to the range of z (`confine`).

        Arguments:
            z: samples, for instance of the aggregated posterior; more than K of them.

        Raises:
            InputError: if z is not finite or outside a given support, there are too few samples, or
                a dimension has too few different values.
        """
        z = self._samples(z)
        if len(z) <= self.order:
            raise InputError(f"prior: {len(z)} samples cannot determine {self.order} parameters")
        location, scale = self._location_and_scale(z)
        h = hermite((z - location) / scale, self.order - 1)
        psi, psi_slope = torch.stack(h, dim=-1), torch.stack(hermite_slopes(h), dim=-1)
        g, g_slope = (part[..., None] for part in boundary_weight(z, self._given_support))
        gram = torch.einsum("njk,njl->jkl", g * psi, psi) / len(z)
        target = (g * psi_slope + scale[:, None] * g_slope * psi).mean(0)
        weight, rank = solve(gram, -target)
        if bool((rank < self.order).any()):
            j = int((rank < self.order).nonzero()[0])
            raise InputError(
                f"prior: latent dimension {j} has too few different values to determine "
                f"{self.order} parameters; give more samples or lower the order"
            )
        self.location.copy_(location)
        self.scale.copy_(scale)
        self.weight.copy_(weight)
        self.confine(z)
        return self

    @property
    def is_normalizable(self) -> Bool[Tensor, " dim"]:
        r"""Per dimension, whether exp(Σ_k η_jk z^k) integrates on its support.

        At +∞ the leading coefficient must be negative, at −∞ negative after the sign (−1)^k.
        """
        degree, sign = self._leading
        vanishes = torch.stack([sign * (-1) ** degree < 0, sign < 0], dim=-1)
        return (vanishes | self.support.isfinite()).all(-1)


def _over_processes(means: Tensor) -> Tensor:
    """Their mean over the processes of a training, whose shares of a batch are alike in size."""
    processes = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    if processes > 1:
        dist.all_reduce(means)
    return means / processes


def _json_intervals(support: Tensor) -> list[list[float | None]]:
    """JSON knows no infinity."""
    return [[end if math.isfinite(end) else None for end in pair] for pair in support.tolist()]
