r"""Radial kernels and their bandwidth, for Stein variational gradient descent and discrepancy."""

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = [
    "Bandwidth",
    "Kernel",
    "inverse_multiquadric",
    "median_bandwidth",
    "rbf",
    "spaced",
    "squared_distances",
]

Kernel = Callable[[Tensor], tuple[Tensor, Tensor]]
Bandwidth = Callable[[Tensor, int], Tensor]

_SPACED = 256


def rbf(r: Tensor) -> tuple[Tensor, Tensor]:
    r"""The kernel k(r) = exp(−r) of r = ‖z − z′‖² / h, and how it falls, −k′(r).

    Any radial kernel may stand in its place.

    Example:
        >>> rbf(torch.tensor(0.0))
        (tensor(1.), tensor(1.))
    """
    k = (-r).exp_()
    return k, k


def inverse_multiquadric(r: Tensor) -> tuple[Tensor, Tensor]:
    r"""The kernel k(r) = (1 + r)^(−½) of r = ‖z − z′‖² / h, and how it falls, −k′(r).

    Its tail is heavy: it sees far-away samples that the RBF kernel no longer does.

    Example:
        >>> inverse_multiquadric(torch.tensor(3.0))
        (tensor(0.5000), tensor(0.0625))
    """
    k = torch.rsqrt(1 + r)
    return k, k.pow(3) / 2


def spaced(z: Float[Tensor, "groups n features"]) -> Float[Tensor, "groups m features"]:
    """At most 256 particles, evenly spaced in their order: enough for a bandwidth."""
    return z[:, :: math.ceil(z.shape[1] / _SPACED)]


def median_bandwidth(squares: Float[Tensor, "groups m m"], n: int) -> Float[Tensor, "groups 1 1"]:
    r"""h = med ‖z_i − z_j‖² / log(n + 1) over all pairs, so that Σ_j k(z_i, z_j) ≈ 1.

    Arguments:
        squares: ‖z_i − z_j‖² of up to 256 of the particles.
        n: number of all.

    Example:
        >>> squares = torch.tensor([[[0.0, 1.0, 9.0], [1.0, 0.0, 4.0], [9.0, 4.0, 0.0]]])
        >>> median_bandwidth(squares, 3) * math.log(4)  # of 0 0 0 1 1 4 4 9 9
        tensor([[[1.]]])
    """
    floor = torch.finfo(squares.dtype).eps ** 2  # coinciding particles
    return (_median(squares) / math.log(n + 1)).clamp_min(floor)[:, None, None]


def _median(squares: Float[Tensor, "groups m m"]) -> Float[Tensor, " groups"]:
    """Of all m² entries, by looking at half of them: the matrix is symmetric."""
    half = squares.flatten(1).index_select(1, _half(squares.shape[-1], squares.device))
    # One group at a time: a median along a dimension takes several times as long.
    return torch.stack([group.median() for group in half])


@lru_cache(maxsize=4)
def _half(m: int, device: torch.device) -> Tensor:
    """Places in a flattened m × m matrix: all pairs i < j, and as many zeros of the diagonal as
    make their median that of the whole, the lower one of two."""
    above = torch.ones(m, m, dtype=torch.bool, device=device).triu(1).flatten().nonzero()[:, 0]
    rank = ((m * m - 1) // 2 - m) // 2  # of the median among the pairs; below 0: it is a zero
    zeros = len(above) - 1 - 2 * rank if rank >= 0 else m
    diagonal = torch.arange(zeros, device=device) * (m + 1)
    return torch.cat([above, diagonal])


def squared_distances(
    x: Float[Tensor, "groups m features"], y: Float[Tensor, "groups n features"]
) -> Float[Tensor, "groups m n"]:
    r"""‖x_i − y_j‖² within each group, of points about their mean.

    Products of coordinates are many times faster than differences, but cancel: what is lost, some
    1e-7 of the largest square, is little only where the mean is near the origin.

    Example:
        >>> squared_distances(torch.tensor([[[3.0, 4.0]]]), torch.zeros(1, 1, 2))
        tensor([[[25.]]])
    """
    if x.shape[-1] == 1:  # many times faster than products
        return (x - y.mT).square()
    of_y = y.square().sum(-1)
    of_x = of_y if x is y else x.square().sum(-1)
    squares = of_x[..., :, None] + of_y[..., None, :]
    return squares.baddbmm_(x, y.mT, alpha=-2).clamp_min_(0)
