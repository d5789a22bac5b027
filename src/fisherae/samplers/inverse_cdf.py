r"""Exact samples of a factorable prior: one inverse cumulative distribution per dimension."""

import math

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from fisherae.one_dimensional.grid import cells_with_mass, cumulative, invert, normalized, spread
from fisherae.priors import FactorablePrior

__all__ = ["InverseCDF"]

_REACH = 1e8  # the search for the mass starts with |z| from 1 / reach to reach
_ROUNDS = 8  # each narrows the grid a hundredfold or more


class InverseCDF:
    r"""z_j = F_j⁻¹(u_j) with u_j ~ U(0, 1): inverse-transform sampling, dimension by dimension.

    F_j is tabulated in float64 on a grid that is drawn together, round by round, around the modes
    and the region within 40 nats of the maximum. Between two points F_j is linear.

    Arguments:
        prior: a factorable prior, proper in each dimension.
        points: of the grid, per dimension.

    Attributes:
        mean, std: of the prior, by quadrature on the same grid, shape (dim,).
        log_normalizer: log ∫ exp(log p_j(z_j)) dz_j likewise, shape (dim,).

    References:
        Devroye (1986), Non-Uniform Random Variate Generation, chapter 2,
        https://doi.org/10.1007/978-1-4613-8643-8

    Example:
        >>> from fisherae.priors import StandardNormal
        >>> InverseCDF(StandardNormal(1)).quantile(torch.tensor([[0.025], [0.975]]))
        tensor([[-1.9600],
                [ 1.9600]])
    """

    def __init__(self, prior: FactorablePrior, points: int = 4096):
        self._grid = _search_grid(prior, points)
        log_density = _log_density(prior, self._grid)
        mass = _cell_mass(self._grid, log_density)
        self._cdf = cumulative(mass)
        self._like = prior.support[:, 0]
        self.mean, self.std = (moment.to(self._like) for moment in _moments(self._grid, mass))
        self.log_normalizer = _log_integral(self._grid, log_density).to(self._like)

    def draw(self, n: int, generator: Generator | None = None) -> Float[Tensor, "n dim"]:
        """Independent samples."""
        u = torch.rand(
            n, len(self._grid), generator=generator, dtype=torch.float64, device=self._cdf.device
        )
        return self.quantile(u)

    def quantile(self, u: Float[Tensor, "n dim"]) -> Float[Tensor, "n dim"]:
        r"""F⁻¹(u) per dimension, for u in [0, 1]."""
        values = u.to(self._cdf).mT.contiguous()
        return invert(values, self._cdf, self._grid).mT.contiguous().to(self._like)


def _log_density(prior: FactorablePrior, grid: Tensor) -> Float[Tensor, "dim points"]:
    with torch.no_grad():
        return prior.log_density_per_dim(grid.mT).mT


def _search_grid(prior: FactorablePrior, points: int) -> Float[Tensor, "dim points"]:
    """A grid of the support with its points where the density is."""
    grid = _first_grid(prior.support.double(), points // 4)
    for size in [points // 4] * (_ROUNDS - 2) + [points] * 2:  # few points find the mass as well
        grid = _refine(grid, _log_density(prior, grid), size)
    return grid


def _first_grid(support: Float[Tensor, "dim 2"], points: int) -> Float[Tensor, "dim points"]:
    """Even on a finite interval, logarithmic in |z| on the rest of the line."""
    lower, upper = support[:, :1], support[:, 1:]
    even = torch.linspace(0, 1, points, dtype=support.dtype, device=support.device)
    line = torch.sinh((2 * even - 1) * math.asinh(_REACH**2)) / _REACH
    bounded = support.isfinite().all(-1, keepdim=True)
    width = torch.where(bounded, upper - lower, 0.0)
    return torch.where(bounded, lower + width * even, line.clamp(lower, upper))


def _refine(
    grid: Float[Tensor, "dim points"], log_density: Float[Tensor, "dim points"], size: int
) -> Float[Tensor, "dim size"]:
    """So many points, in the cells with mass.

    One third is shared out evenly by cell (which zooms in), one by width, and one by √|p′| (the
    error of a linear piece of F is |p′| width² / 8).
    """
    kept = cells_with_mass(log_density).to(grid)
    width = kept * grid.diff()
    bend = (grid.diff() * _density(log_density).diff().abs()).sqrt()  # width · √|p′|
    share = normalized(kept) + normalized(width) + normalized(bend)
    return spread(share, grid, size)


def _cell_mass(grid: Tensor, log_density: Tensor) -> Float[Tensor, "dim cells"]:
    """The probability of each cell by the trapezoidal rule."""
    density = _density(log_density)
    return normalized(grid.diff() * (density[:, 1:] + density[:, :-1]))


def _log_integral(grid: Tensor, log_density: Tensor) -> Float[Tensor, " dim"]:
    """log ∫ exp(log p) by the trapezoidal rule."""
    total = torch.trapezoid(_density(log_density), grid, dim=-1)
    return total.log() + log_density.amax(-1)


def _density(log_density: Tensor) -> Tensor:
    """The density relative to its highest value."""
    return (log_density - log_density.amax(-1, keepdim=True)).exp()


def _moments(grid: Tensor, mass: Tensor) -> tuple[Float[Tensor, " dim"], Float[Tensor, " dim"]]:
    """Mean and standard deviation of the tabulated density, uniform within a cell."""
    middle = (grid[:, 1:] + grid[:, :-1]) / 2
    mean = (mass * middle).sum(-1)
    spread = (middle - mean[:, None]).square() + grid.diff().square() / 12
    return mean, (mass * spread).sum(-1).sqrt()
