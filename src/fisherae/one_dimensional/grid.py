"""Grids on the line, one a row, drawn together around the mass of a density."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = [
    "cells_with_mass",
    "counts_up_to",
    "cumulative",
    "normalized",
    "spread",
]

_NEGLIGIBLE = 40.0  # nats below the maximum: e⁻⁴⁰ ≈ 4e-18, less than one sample ever sees


def cells_with_mass(log_density: Float[Tensor, "n points"]) -> Bool[Tensor, "n cells"]:
    """The cells within two of a mode, and those within 40 nats of the highest point.

    A mode is kept however low it looks: it may be narrower than its cell and higher in between.
    With two cells, a new grid of as many points has one between the mode and the end of what is
    kept, wherever it begins.

    Example:
        >>> cells_with_mass(torch.tensor([[-99.0, -70.0, -60.0, 0.0, -60.0, -70.0, -99.0]]))
        tensor([[False,  True,  True,  True,  True, False]])
    """
    around = F.pad(log_density, (1, 1), value=-torch.inf)
    is_mode = (log_density >= around[:, :-2]) & (log_density >= around[:, 2:])
    is_mode = F.pad(is_mode, (1, 1))
    is_mode = is_mode[:, :-2] | is_mode[:, 1:-1] | is_mode[:, 2:]
    near = log_density > log_density.amax(-1, keepdim=True) - _NEGLIGIBLE
    keep = (is_mode | near) & log_density.isfinite()
    return keep[:, 1:] | keep[:, :-1]


def spread(
    share: Float[Tensor, "n cells"], grid: Float[Tensor, "n points"], size: int
) -> Float[Tensor, "n size"]:
    """A new grid of so many points, of which each cell of the old one gets its share.

    Example:
        >>> grid = torch.tensor([[0.0, 1.0, 3.0]])
        >>> spread(torch.tensor([[1.0, 1.0]]), grid, size=5)
        tensor([[0.0000, 0.5000, 1.0000, 2.0000, 3.0000]])
    """
    # A little more than the last, lest it stand behind cells without a share.
    rank = cumulative(share) * ((size - 1) * (1 + 4 * torch.finfo(grid.dtype).eps))
    right = counts_up_to(rank, size).clamp(1, grid.shape[-1] - 1)
    low, high = rank.gather(-1, right - 1), rank.gather(-1, right)
    even = torch.arange(size, dtype=grid.dtype, device=grid.device)
    fraction = ((even - low) / (high - low).clamp_min(torch.finfo(grid.dtype).tiny)).clamp(0, 1)
    return grid.gather(-1, right - 1).lerp(grid.gather(-1, right), fraction)


def counts_up_to(values: Float[Tensor, "n points"], size: int) -> Int[Tensor, "n size"]:
    """How many values of each row are at most 0, 1, … size − 1; none is negative.

    Example:
        >>> counts_up_to(torch.tensor([[0.0, 0.5, 2.0, 9.0]]), size=3)
        tensor([[1, 2, 3]])
    """
    first = torch.where(values < size, values.ceil(), size).long()  # that is no less; NaN is none
    counts = first.new_zeros(len(values), size + 1)
    return counts.scatter_add_(-1, first, torch.ones_like(first)).cumsum(-1)[:, :size]


def normalized(share: Float[Tensor, "n cells"]) -> Float[Tensor, "n cells"]:
    """So that each row sums to one, where it has a sum."""
    return share / share.sum(-1, keepdim=True).clamp_min(torch.finfo(share.dtype).tiny)


def cumulative(share: Float[Tensor, "n cells"]) -> Float[Tensor, "n points"]:
    """From 0 at the first point of the grid to 1 at the last."""
    total = F.pad(share.cumsum(-1), (1, 0))
    return total / total[:, -1:]
