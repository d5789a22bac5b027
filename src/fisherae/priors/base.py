r"""What every prior offers."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn

from fisherae.counts import LARGEST, is_count
from fisherae.divergences import laplacian, score
from fisherae.errors import InputError

__all__ = ["AncestralPrior", "FactorablePrior", "Prior", "check_count"]

Interval = Sequence[float | None]
"""(lower, upper); None: infinite."""


class Prior(nn.Module):
    r"""An unnormalised density p_η(z) on a support, the whole of ℝᵈ unless said otherwise.

    A family defines `log_density`; it may replace `score` and `laplacian` by closed forms, and
    `start` by a place nearer to its mass.

    Arguments:
        dim: number d of latent dimensions.
        support: the interval (lower, upper) outside of which the density is zero: one for all
            dimensions, or one for each. None, as an end or altogether: no limit.

    Raises:
        InputError: if `dim` is not a positive integer or an interval is empty.
    """

    support: Float[Tensor, "dim 2"]

    def __init__(self, dim: int, support: Interval | Sequence[Interval] | None = None):
        super().__init__()
        check_count("dim", dim, least=1)
        self.dim = dim
        self.register_buffer("support", _as_intervals(support, dim))

    def log_density(self, z: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
        r"""log p_η(z) up to a constant; −∞ outside the support."""
        raise NotImplementedError

    def score(self, z: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        r"""∇_z log p_η(z), differentiable in z and η."""
        return score(self.log_density, z)

    def laplacian(self, z: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
        r"""Δ_z log p_η(z), differentiable in z and η. With the score it makes the Hyvärinen score
        of eq. (6)."""
        return laplacian(self.log_density, z)

    def start(self, n: int, generator: Generator | None = None) -> Float[Tensor, "n dim"]:
        r"""Where the chains and particles of a sampler begin: N(0, I), as in the paper."""
        z = torch.empty(n, self.dim, dtype=self.support.dtype, device=self.support.device)
        return z.normal_(generator=generator)

    @property
    def spread(self) -> Float[Tensor, " dim"]:
        r"""The standard deviation of `start` per dimension, by which Langevin steps are scaled."""
        return torch.ones_like(self.support[:, 0])

    def fit(self, z: Float[Tensor, "n dim"]) -> "Prior":
        r"""Fits η to samples of the aggregated posterior, in place."""
        raise NotImplementedError

    def follow(self, z: Float[Tensor, "n dim"]) -> None:
        r"""Moves towards the latents z of a training step, in place; a family that has no place
        and spread of its own stays as it is."""

    @property
    def is_normalizable(self) -> Bool[Tensor, " dim"] | None:
        r"""Per dimension, whether the density integrates on its support; None if unknown."""
        return self.is_bounded if bool(self.is_bounded.all()) else None

    @property
    def is_bounded(self) -> Bool[Tensor, " dim"]:
        r"""Per dimension, whether the support is a finite interval."""
        return self.support.isfinite().all(-1)

    def _outside(self, z: Tensor) -> Tensor:
        return _beyond(z, self.support)

    @property
    def _given_support(self) -> Float[Tensor, "dim 2"]:
        """That of construction, in which samples to fit to must lie."""
        return self.support

    def _check(self, z: Tensor) -> Tensor:
        if z.shape[-1] != self.dim:
            raise InputError(
                f"prior: z has {z.shape[-1]} latent dimensions where the prior has {self.dim}"
            )
        return z

    def _samples(self, z: Tensor) -> Tensor:
        """Samples to fit to, in float64."""
        if not isinstance(z, Tensor):
            raise InputError(
                f"prior: samples to fit to must be a tensor, got a {type(z).__name__}: give "
                "torch.as_tensor(z)"
            )
        z = self._check(z).double()
        if not len(z):
            raise InputError("prior: no samples to fit to: give at least one")
        bad = (~z.isfinite()).nonzero().tolist()
        if bad:
            row, column = bad[0]
            raise InputError(
                f"prior: z[{row}, {column}] is {z[row, column].item()}: samples to fit to must be "
                "finite"
            )
        support = self._given_support
        beyond = _beyond(z, support).nonzero().tolist()
        if beyond:
            row, column = beyond[0]
            raise InputError(
                f"prior: z[{row}, {column}] is {z[row, column].item()}, outside the support "
                f"{support[column].tolist()}"
            )
        return z

    def _mean_and_std(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Of samples to fit to, per dimension."""
        std, mean = torch.std_mean(z, dim=0)
        constant = ~(std > 1e-9 * mean.abs().clamp_min(1e-30))
        if bool(constant.any()):
            j = int(constant.nonzero()[0])
            raise InputError(f"prior: latent dimension {j} is constant, there is nothing to fit")
        return mean, std


class FactorablePrior(Prior):
    r"""A prior of independent dimensions: log p_η(z) = Σ_j log p_j(z_j).

    A family defines `log_density_per_dim`. One dimension at a time, everything about such a prior
    (normalisation, moments, exact samples) is a one-dimensional integral.
    """

    def log_density_per_dim(self, z: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        r"""log p_j(z_j) of each dimension, up to a constant; −∞ outside the support."""
        raise NotImplementedError

    def log_density(self, z: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
        r"""log p_η(z) = Σ_j log p_j(z_j), up to a constant; −∞ outside the support."""
        return self.log_density_per_dim(z).sum(-1)


class AncestralPrior(Prior):
    r"""A prior that draws its own samples, by ancestral sampling: what z depends on first, then z.

    A family defines `draw`, and `mean` and `std`, to check other samples by.
    """

    def draw(self, n: int, generator: Generator | None = None) -> Float[Tensor, "n dim"]:
        r"""Independent samples of p_η(z)."""
        raise NotImplementedError

    @property
    def mean(self) -> Float[Tensor, " dim"]:
        r"""E[z_j] per dimension."""
        raise NotImplementedError

    @property
    def std(self) -> Float[Tensor, " dim"]:
        r"""The standard deviation of z_j per dimension."""
        raise NotImplementedError

    @property
    def is_normalizable(self) -> Bool[Tensor, " dim"]:
        r"""True per dimension: what can be drawn from is a density."""
        return torch.ones(self.dim, dtype=torch.bool, device=self.support.device)


def _beyond(z: Tensor, support: Tensor) -> Tensor:
    lower, upper = support.unbind(-1)
    return (z < lower) | (z > upper)


def check_count(name: str, value: object, least: int) -> None:
    """Raises an `InputError` unless the value is an integer that torch can count with."""
    if not is_count(value, least):
        kind = "a positive integer" if least == 1 else f"an integer of at least {least}"
        raise InputError(
            f"prior: {name} must be {kind}, got {value!r} (at most {LARGEST} is possible)"
        )


def _as_intervals(support: Interval | Sequence[Interval] | None, dim: int) -> Tensor:
    given: Any = (None, None) if support is None else support
    each = [part for part in given if isinstance(part, Sequence)] or [given]
    try:
        ends = [(_end(lower, -math.inf), _end(upper, math.inf)) for lower, upper in each]
    except (TypeError, ValueError, OverflowError):  # not pairs, not numbers
        ends = []
    if len(ends) not in (1, dim):
        raise InputError(
            f"prior: support must be one interval (lower, upper) or {dim} of them, got {given!r}"
        )
    for j, (lower, upper) in enumerate(ends):
        if not lower < upper:
            raise InputError(f"prior: the support of dimension {j} is empty: {[lower, upper]}")
    return torch.tensor(ends, dtype=torch.get_default_dtype()).expand(dim, 2).clone()


def _end(given: float | None, infinite: float) -> float:
    return infinite if given is None else float(given)
