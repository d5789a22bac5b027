r"""Exact samples of a factorable prior: one inverse cumulative distribution per dimension."""

import math

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from fisherae.errors import InputError
from fisherae.one_dimensional.grid import cells_with_mass, normalized, spread
from fisherae.one_dimensional.quantiles import QuantileTable
from fisherae.priors import FactorablePrior

__all__ = ["InverseCDF"]

_REACH = 1e8  # the search for the mass starts with |z| from 1 / reach to reach
_POINTS = 1024
_ROUNDS = 8  # each narrows the grid around a mode some fortyfold


class InverseCDF:
    r"""z_j = F_j⁻¹(u_j) with u_j ~ U(0, 1): inverse-transform sampling, dimension by dimension.

    F_j is tabulated in float64 on a grid that is drawn together, round by round, around the modes
    and the region within 40 nats of the maximum. Between two points F_j⁻¹ is a cubic.

    Arguments:
        prior: a factorable prior, proper in each dimension.

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

    def __init__(self, prior: FactorablePrior):
        grid = _search_grid(prior)
        middle = (grid[:, 1:] + grid[:, :-1]) / 2
        log_density = _log_density(prior, torch.cat([grid, middle], -1))
        density = _density(log_density)
        at_points, at_middle = density.tensor_split([grid.shape[-1]], -1)
        z = torch.stack([grid[:, :-1], middle, grid[:, 1:]])
        # Simpson's rule in each cell.
        p = torch.stack([at_points[:, :-1], 4 * at_middle, at_points[:, 1:]]) * (grid.diff() / 6)
        total = p.sum((0, 2))
        mean = (p * z).sum((0, 2)) / total
        variance = (p * (z - mean[:, None]).square()).sum((0, 2)) / total
        self._like = prior.support[:, 0]
        self._table = QuantileTable.of(grid, p.sum(0), at_points, self._like.dtype)
        self.mean, self.std = mean.to(self._like), variance.sqrt().to(self._like)
        self.log_normalizer = (total.log() + log_density.amax(-1)).to(self._like)

    def draw(self, n: int, generator: Generator | None = None) -> Float[Tensor, "n dim"]:
        """Independent samples."""
        return self._table.draw(n, generator)

    def quantile(self, u: Float[Tensor, "n dim"]) -> Float[Tensor, "n dim"]:
        r"""F⁻¹(u) per dimension, for u in [0, 1].

        Raises:
            InputError: if u has another number of dimensions than the prior.
        """
        if u.shape[-1] != len(self._like):
            raise InputError(
                f"quantile: u has {u.shape[-1]} dimensions where the prior has {len(self._like)}"
            )
        return self._table.quantile(u)


def _log_density(prior: FactorablePrior, grid: Tensor) -> Float[Tensor, "dim points"]:
    with torch.no_grad():
        return prior.log_density_per_dim(grid.mT).mT


def _search_grid(prior: FactorablePrior) -> Float[Tensor, "dim points"]:
    """A grid of the support with its points where the density is.

    A mode that hides on the flank of a wider one is found if it is wider than a thousandth of it.
    """
    grid = _first_grid(prior.support.double(), _POINTS // 2)
    for _ in range(_ROUNDS):
        grid = _refine(grid, _log_density(prior, grid), _POINTS)
    # The old points stay, lest a new cell reach over a jump of the density.
    finer = _refine(grid, _log_density(prior, grid), _POINTS // 2)
    return torch.cat([grid, finer], -1).sort(-1).values


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

    One third is shared out evenly by cell, which zooms in, one by width, and one by √|p′|, which
    serves a narrow mode as well as a wide one of the same mass.
    """
    kept = cells_with_mass(log_density).to(grid)
    width = kept * grid.diff()
    bend = (width * _density(log_density).diff().abs()).sqrt()  # width · √|p′|
    share = normalized(kept) + normalized(width) + normalized(bend)
    return spread(share, grid, size)


def _density(log_density: Tensor) -> Tensor:
    """The density relative to its highest value."""
    return (log_density - log_density.amax(-1, keepdim=True)).exp()
