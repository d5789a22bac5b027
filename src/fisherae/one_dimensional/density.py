r"""Polynomial exponential families on the line: normaliser, moments, and samples with gradients."""

import math
from dataclasses import dataclass, fields
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from fisherae.one_dimensional.grid import cells_with_mass, cumulative, normalized, spread
from fisherae.one_dimensional.hermite import constant, hermite, in_powers, series

__all__ = ["PolynomialDensity"]

_CELLS = 10  # times the order: there are up to half as many modes
_ROUNDS = 6  # that narrow the grid: enough for modes a millionth of the search interval wide
_AT_ONCE = 4_096  # densities whose nodes are in memory together: 31 MiB per tensor of order 4
_NEWTON = 4  # steps, after which the inverse of a cell's distribution function is exact
_BELOW = 40.0  # nats, as in `cells_with_mass`
# Gauss and Legendre's nodes in [0, 1] and their weights, exact for polynomials of degree 9.
_NODES = (0.04691007703066802, 0.23076534494715845, 0.5, 0.7692346550528415, 0.9530899229693319)
_WEIGHTS = (
    0.11846344252809464,
    0.23931433524968315,
    0.28444444444444433,
    0.23931433524968315,
    0.11846344252809464,
)


class PolynomialDensity:
    r"""q(u) = exp(Σ_k w_k t_k(u) − A(w)), k = 1 … K, t_k = h_k / √k: many densities at once.

    The score is Σ_k w_k h_{k−1}(u), in orthonormal Hermite polynomials h_n; w = (0, −1, 0, …) is
    the standard normal. Being an exponential family, ∂A/∂w = E[t] and ∂E[t]/∂w = Cov[t].

    Everything is an integral over a grid of 10 K cells, five Gauss-Legendre nodes in each, in
    float64. The grid is drawn together around the modes and the region within 40 nats of the
    maximum, for each density by itself: relative errors are below 10⁻⁵ for leading weights from
    −10⁻⁴ to −10⁶. The integrals of first order are tabulated with their derivatives; nothing is
    differentiated through a grid.

    Arguments:
        weight: w, shape (*batch, K), K even and w_K negative.

    Example:
        >>> q = PolynomialDensity(torch.tensor([0.0, -1.0, 0.0, -0.5]))
        >>> u = q.rsample(torch.Generator().manual_seed(0))
        >>> q.log_density(u).shape, q.moments.shape
        (torch.Size([]), torch.Size([4]))
    """

    def __init__(self, weight: Float[Tensor, "*batch order"]):
        self.weight = weight
        self.order = weight.shape[-1]

    @property
    def log_normalizer(self) -> Float[Tensor, "*batch"]:
        r"""A(w) = log ∫ exp(Σ_k w_k t_k(u)) du, twice differentiable."""
        step = self._step
        curvature = _times(self._like(self._table.covariance), step)
        slope = self._like(self._table.moments) + curvature / 2
        return self._like(self._table.log_normalizer) + (slope * step).sum(-1)

    @property
    def moments(self) -> Float[Tensor, "*batch order"]:
        r"""E[t_1(u)] … E[t_K(u)], differentiable."""
        slope = self._like(self._table.covariance)
        return self._like(self._table.moments) + _times(slope, self._step)

    @property
    def variance(self) -> Float[Tensor, "*batch"]:
        r"""Var[u], differentiable."""
        first, second = self.moments[..., 0], self.moments[..., 1]
        variance = 1 + 2 * second - first.square()  # exact only where u is about zero
        return self._like(self._table.covariance[:, 0, 0]) + variance - variance.detach()

    def statistics(self, u: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch order"]:
        r"""t_1(u) … t_K(u)."""
        return _statistics(u, self.order, dim=-1)

    def score(self, u: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        r"""∂ log q(u) / ∂u = Σ_k w_k h_{k−1}(u)."""
        return series(self.weight, u)

    def log_density(self, u: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        r"""log q(u), normalised."""
        return (self.weight * self.statistics(u)).sum(-1) - self.log_normalizer

    @property
    def mean_log_density(self) -> Float[Tensor, "*batch"]:
        r"""E[log q(u)] = Σ_k w_k E[t_k] − A(w), the entropy with its sign changed."""
        return (self.weight * self.moments).sum(-1) - self.log_normalizer

    def rsample(self, generator: Generator | None = None) -> Float[Tensor, "*batch"]:
        r"""u = F⁻¹(v) with v ~ U(0, 1), one of each density, with implicit gradients in w.

        F(u; w) = v stays as it is while w moves, hence ∂u/∂w_k = −(∂F/∂w_k) / q(u), and
        ∂F/∂w_k = ∫_{−∞}^u (t_k − E[t_k]) q.

        References:
            Figurnov, Mohamed and Mnih (2018), Implicit Reparameterization Gradients,
            https://arxiv.org/abs/1805.08498
        """
        v = torch.rand(
            self.weight.shape[:-1].numel(),
            generator=generator,
            dtype=torch.float64,
            device=self.weight.device,
        )
        return self.quantile(v.view(self.weight.shape[:-1]))

    def quantile(self, v: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        r"""F⁻¹(v) of each density, for v in [0, 1] in float64, differentiable in w."""
        with torch.no_grad():
            u, slope = self._table.quantile(v.reshape(-1))
        return self._like(u) + (self._like(slope) * self._step).sum(-1)

    @property
    def _step(self) -> Float[Tensor, "*batch order"]:
        """Zero, with the gradient of w: a Taylor series in it has the derivatives put into it."""
        return self.weight - self.weight.detach()

    @cached_property
    def _table(self) -> "_Table":
        with torch.no_grad():
            return _Table.of(self.weight.detach().double().reshape(-1, self.order))

    def _like(self, tensor: Tensor) -> Tensor:
        """From one row per density to the batch, in its precision."""
        shape = self.weight.shape[:-1] + tensor.shape[1:]
        return tensor.to(self.weight.dtype).view(shape)


@dataclass(frozen=True)
class _Table:
    """n densities on their grids, without gradients.

    Attributes:
        coefficients: of log q in powers of u, (n, K + 1).
        edges: of the cells, (n, cells + 1).
        mass: ∫ q and ∫ (t_k − E[t_k]) q over each cell, k = 1 … K, (n, K + 1, cells).
        log_normalizer: A, (n,).
        moments: E[t_k], (n, K).
        covariance: Cov[t_k, t_l], (n, K, K).
    """

    coefficients: Tensor
    edges: Tensor
    mass: Tensor
    log_normalizer: Tensor
    moments: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, weight: Float[Tensor, "n order"]) -> "_Table":
        parts = [cls._of_few(part) for part in torch.split(weight, _AT_ONCE)]
        if len(parts) == 1:
            return parts[0]
        columns = ([getattr(part, field.name) for part in parts] for field in fields(cls))
        return cls(*(torch.cat(column) for column in columns))

    @classmethod
    def _of_few(cls, weight: Float[Tensor, "n order"]) -> "_Table":
        coefficients = weight @ in_powers(weight.shape[-1], weight.device).mT
        edges = _edges(coefficients)
        width = edges.diff()[..., None]
        u = (edges[:, :-1, None] + width * constant(_NODES, edges.device)).flatten(1)
        log_q = _evaluate(coefficients, u)
        top = log_q.amax(-1, keepdim=True)
        q = (log_q - top).exp() * (width * constant(_WEIGHTS, edges.device)).flatten(1)
        total = q.sum(-1, keepdim=True)
        log_normalizer = top + total.log()
        coefficients[:, :1] -= log_normalizer
        q = (q / total)[:, None]
        t = _statistics(u, weight.shape[-1], dim=1)
        moments = (t * q).sum(-1, keepdim=True)
        t = t - moments
        mass = torch.cat([q, t * q], 1)
        covariance = mass[:, 1:] @ t.mT
        mass = mass.view(*mass.shape[:2], edges.shape[-1] - 1, len(_NODES)).sum(-1)
        return cls(coefficients, edges, mass, log_normalizer[:, 0], moments[..., 0], covariance)

    def quantile(self, v: Float[Tensor, " n"]) -> tuple[Tensor, Tensor]:
        """u = F⁻¹(v), (n,), and ∂u/∂w, (n, K)."""
        cdf = cumulative(self.mass[:, 0])
        last = self.mass.shape[-1] - 1
        cell = (torch.searchsorted(cdf, v[:, None], right=True) - 1).clamp(0, last)
        left, right = self.edges.gather(-1, cell), self.edges.gather(-1, cell + 1)
        u = self._solve(v[:, None] - cdf.gather(-1, cell), left, right)
        # From the nearer end, where what is integrated is small: the rest would drown it.
        lower = v[:, None] < 0.5
        cells = torch.arange(last + 1, device=cell.device)
        outer = torch.where(lower, cells < cell, cells > cell)
        tail = (self.mass[:, 1:] * outer[:, None]).sum(-1)
        nodes, q = self._within(torch.where(lower, left, right), u)
        t = _statistics(nodes, tail.shape[-1], dim=1) - self.moments[..., None]
        slope_of_cdf = torch.where(lower, tail, -tail) + (t * q[:, None]).sum(-1)
        return u[:, 0], -slope_of_cdf * _reciprocal(_evaluate(self.coefficients, u))

    def _solve(self, mass: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """u in [left, right] with ∫_left^u q = mass: Newton, from where a linear log q has it."""
        q_left, q_right = (_evaluate(self.coefficients, end) for end in (left, right))
        rise = (q_right - q_left).clamp(-_BELOW, _BELOW)
        share = mass / self._within(left, right)[1].sum(-1, keepdim=True).clamp_min(1e-300)
        share = share.clamp(0, 1)
        flat = rise.abs() < 1e-3
        rise = torch.where(flat, 1.0, rise)
        start = torch.where(flat, share, (share * rise.expm1()).log1p() / rise)
        u = left.lerp(right, start.clamp(0, 1))
        for _ in range(_NEWTON):
            missing = mass - self._within(left, u)[1].sum(-1, keepdim=True)
            u = u + missing * _reciprocal(_evaluate(self.coefficients, u))
            u = torch.minimum(torch.maximum(u, left), right)
        return u

    def _within(self, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes u between start and end, within a cell, and their shares of ∫ q, (n, nodes)."""
        width = end - start
        u = start + width * constant(_NODES, start.device)
        q = _evaluate(self.coefficients, u).exp()
        return u, q * width * constant(_WEIGHTS, start.device)


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    """Row by row, which autocast leaves in float32."""
    return (matrix * vector[..., None, :]).sum(-1)


def _edges(coefficients: Float[Tensor, "n powers"]) -> Float[Tensor, "n points"]:
    """Cells where the density is within 40 nats of its maximum.

    The logarithm of a narrow mode rises to it from afar, so that a coarse grid shows it. Half of
    the points are shared out by width, half evenly by cell, or a wide mode would take all from a
    narrow one.
    """
    points = _CELLS * (coefficients.shape[-1] - 1) + 1
    reach = _bound(coefficients)
    even = torch.linspace(-1, 1, points, dtype=reach.dtype, device=reach.device)
    edges = reach[:, None] * even
    for _ in range(_ROUNDS):
        kept = cells_with_mass(_evaluate(coefficients, edges)).to(edges)
        edges = spread(normalized(kept) + normalized(kept * edges.diff()), edges, points)
    return edges


def _bound(coefficients: Float[Tensor, "n powers"]) -> Float[Tensor, " n"]:
    """R such that log q is 40 nats below its value at zero, or more, wherever |u| > R.

    Fujiwara's bound of the roots of log q(u) − log q(0) + 40.
    """
    order = coefficients.shape[-1] - 1
    ratios = (coefficients[:, :-1] / coefficients[:, -1:]).abs()
    ratios[:, 0] = (_BELOW / 2) / coefficients[:, -1].abs()
    degrees = torch.arange(order, 0, -1, dtype=ratios.dtype, device=ratios.device)
    return 2 * ratios.pow(1 / degrees).amax(-1)


def _evaluate(
    coefficients: Float[Tensor, "n powers"], u: Float[Tensor, "n points"]
) -> Float[Tensor, "n points"]:
    """Each row's polynomial at its points, by Horner's rule."""
    *rest, leading = coefficients[..., None].unbind(1)
    value = leading.expand_as(u)
    for coefficient in reversed(rest):
        value = torch.addcmul(coefficient, value, u)
    return value


def _statistics(u: Tensor, order: int, dim: int) -> Tensor:
    r"""t_1(u) … t_K(u) on a new axis."""
    h = hermite(u, order)
    return torch.stack([h[k] / math.sqrt(k) for k in range(1, order + 1)], dim)


def _reciprocal(log_q: Tensor) -> Tensor:
    """1 / q, finite also where there is no mass."""
    return (-log_q).clamp_max(600.0).exp()
