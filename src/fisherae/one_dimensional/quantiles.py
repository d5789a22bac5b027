r"""Inverse distribution functions, tabulated once for many values."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from fisherae.one_dimensional.grid import counts_up_to, cumulative

__all__ = ["QuantileTable"]

_PER_CELL = 4  # buckets of u in [0, 1] at least: one u in some hundreds has to be searched for
_AT_ONCE = 2**16  # values of u: what the cache holds
_TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True)
class QuantileTable:
    r"""n functions F⁻¹, each in cubic pieces that have the slope 1 / p at both ends.

    The cell of u is found by a guide. For u in [b, b + 1] / buckets it is `first[b]` or, from
    `until[b]` on, the one after; only where more cells end in that bucket is it searched for.

    Attributes:
        start, end: F at the ends of each cell, the last end being infinite, (n, cells).
        rate: 1 / mass, (n, cells).
        cubic: coefficients of powers of (u − start) · rate ∈ [0, 1], (n, 4, cells).
        bounds: ends of the grid, in the precision of the values, (n, 2).
        first: the cell at the start of each bucket, (n, buckets).
        until: its end, (n, buckets).

    References:
        Devroye (1986), Non-Uniform Random Variate Generation, chapter 3.2.4 (guide tables, after
        Chen and Asau 1974), https://doi.org/10.1007/978-1-4613-8643-8
        Hörmann and Leydold (2003), Continuous Random Variate Generation by Fast Numerical
        Inversion, https://doi.org/10.1145/945511.945517 (the cubics)

    Example:
        >>> z = torch.linspace(-1, 1, 5).double()[None]  # F = (2 + 3z − z³) / 4
        >>> f, p = (2 + 3 * z - z**3) / 4, 3 / 4 * (1 - z**2)
        >>> QuantileTable.of(z, f.diff(), p).quantile(torch.tensor([[0.0], [0.5], [27 / 32]]))
        tensor([[-1.0000],
                [ 0.0000],
                [ 0.5000]])
    """

    start: Float[Tensor, "n cells"]
    end: Float[Tensor, "n cells"]
    rate: Float[Tensor, "n cells"]
    cubic: Float[Tensor, "n 4 cells"]
    bounds: Float[Tensor, "n 2"]
    first: Int[Tensor, "n buckets"]
    until: Float[Tensor, "n buckets"]

    @classmethod
    def of(
        cls,
        grid: Float[Tensor, "n points"],
        mass: Float[Tensor, "n cells"],
        density: Float[Tensor, "n points"],
        dtype: torch.dtype = torch.float32,
    ) -> "QuantileTable":
        """Of the mass of each cell, and the density at their ends in the same unit.

        Arguments:
            grid: the ends of all cells, in float64, as the others.
            dtype: of the values F⁻¹(u).
        """
        width = grid.diff()
        # Of slopes up to three widths a cubic rises all the way (Fritsch and Carlson 1980).
        left, right = (
            (mass / p.clamp_min(_TINY)).minimum(3 * width)
            for p in (density[:, :-1], density[:, 1:])
        )
        cubic = [grid[:, :-1], left, 3 * width - 2 * left - right, left + right - 2 * width]
        f = cumulative(mass)
        end = f[:, 1:].clone()
        end[:, -1] = torch.inf
        buckets = 2 ** math.ceil(math.log2(_PER_CELL * len(mass[0])))  # u times it is exact
        first = counts_up_to(end * buckets, buckets).contiguous()
        return cls(
            start=f[:, :-1].contiguous(),
            end=end,
            rate=1 / f.diff().clamp_min(_TINY),
            # No less than float32, for sums of them are rounded once.
            cubic=torch.stack(cubic, 1).to(torch.promote_types(dtype, torch.float32)),
            bounds=grid[:, :: grid.shape[-1] - 1].to(dtype),
            first=first,
            until=end.gather(-1, first),
        )

    def quantile(self, u: Float[Tensor, "m n"]) -> Float[Tensor, "m n"]:
        """F⁻¹(u), one function for each column; u in [0, 1]."""
        z = self.bounds.new_empty(u.shape)
        for rows, part in self._parts(len(u)):
            z[:, rows] = part._of_rows(u[:, rows].mT.to(self.start).contiguous()).mT
        return z

    def draw(self, m: int, generator: Generator | None = None) -> Float[Tensor, "m n"]:
        """Independent samples, F⁻¹(u) with u ~ U(0, 1)."""
        z = self.bounds.new_empty(m, len(self.start))
        for rows, part in self._parts(m):
            u = part.start.new_empty(len(part.start), m).uniform_(generator=generator)
            z[:, rows] = part._of_rows(u).mT
        return z

    def _parts(self, m: int) -> Iterator[tuple[slice, "QuantileTable"]]:
        """As many functions at a time as have m values in the cache."""
        step = max(1, _AT_ONCE // max(1, m))
        for start in range(0, len(self.start), step):
            rows = slice(start, start + step)
            yield rows, QuantileTable(*(getattr(self, field.name)[rows] for field in fields(self)))

    def _of_rows(self, u: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
        buckets = self.first.shape[-1]
        bucket = (u * buckets).long().clamp_(0, buckets - 1)
        cell = self.first.gather(-1, bucket) + (self.until.gather(-1, bucket) <= u).long()
        t = (u - self.start.gather(-1, cell)) * self.rate.gather(-1, cell)
        row, column = (t > 1).nonzero(as_tuple=True)  # more cells end in the bucket
        if len(row):
            v = u[row, column]
            found = torch.searchsorted(self.end[row], v[:, None], right=True)[:, 0]
            cell[row, column] = found
            t[row, column] = (v - self.start[row, found]) * self.rate[row, found]
        t = t.clamp_(0, 1).to(self.cubic)
        z, *others = (c.gather(-1, cell) for c in reversed(self.cubic.unbind(1)))
        for coefficient in others:
            z = torch.addcmul(coefficient, z, t)
        return z.to(self.bounds).clamp_(self.bounds[:, :1], self.bounds[:, 1:])
