r"""Radial kernels and their bandwidth, for Stein variational gradient descent and discrepancy."""

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

__all__ = [
    "Bandwidth",
    "Kernel",
    "from_itself",
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

    Any radial kernel may stand in its place. It may write over r, as this one does: memory that is
    not in the cache would cost as much as the exponentials.

    Example:
        >>> rbf(torch.tensor(0.0))
        (tensor(1.), tensor(1.))
    """
    k = r.neg_().exp_()
    return k, k


def inverse_multiquadric(r: Tensor) -> tuple[Tensor, Tensor]:
    r"""The kernel k(r) = (1 + r)^(−½) of r = ‖z − z′‖² / h, and how it falls, −k′(r).

    Its tail is heavy: it sees far-away samples that the RBF kernel no longer does. Writes over r.

    Example:
        >>> inverse_multiquadric(torch.tensor(3.0))
        (tensor(0.5000), tensor(0.0625))
    """
    k = r.add_(1).rsqrt_()
    return k, k.pow(3) / 2


def spaced(z: Float[Tensor, "groups n features"]) -> Float[Tensor, "groups m features"]:
    """At most 256 particles, evenly spaced in their order: enough for a bandwidth."""
    return z[:, :: math.ceil(z.shape[1] / _SPACED)]


def median_bandwidth(squares: Float[Tensor, "groups m m"], n: int) -> Float[Tensor, "groups 1 1"]:
    r"""h = med ‖z_i − z_j‖² / log(n + 1) over all pairs, so that Σ_j k(z_i, z_j) ≈ 1.

    Where half of all pairs coincide but for rounding, as of two particles i = j do, the mean stands
    in place of the median, which would be nothing.

    Arguments:
        squares: ‖z_i − z_j‖² of up to 256 of the particles.
        n: number of all.

    Example:
        >>> squares = torch.tensor([[[0.0, 1.0, 9.0], [1.0, 0.0, 4.0], [9.0, 4.0, 0.0]]])
        >>> median_bandwidth(squares, 3) * math.log(4)  # of 0 0 0 1 1 4 4 9 9
        tensor([[[1.]]])
    """
    eps = torch.finfo(squares.dtype).eps
    median, mean = _median(squares), squares.detach().mean((1, 2))
    typical = torch.where(median > 16 * eps * mean, median, mean)
    return (typical / math.log(n + 1)).clamp_min(eps**2).view(-1, 1, 1)  # all coincide


def _median(squares: Float[Tensor, "groups m m"]) -> Float[Tensor, " groups"]:
    """Of all m² entries, the lower one of two."""
    entries = squares.detach().flatten(1)
    if not entries.is_cpu or entries.dtype == torch.bfloat16:
        return entries.median(dim=1).values
    middle = (entries.shape[1] - 1) // 2
    # NumPy's takes a fraction of the time of torch's, but knows no bfloat16.
    return torch.from_numpy(np.partition(entries.numpy(), middle)[:, middle])


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
    squares.baddbmm_(x, y.mT, alpha=-2).clamp_min_(0)
    return from_itself(squares) if x is y else squares


def from_itself(squares: Float[Tensor, "groups m n"]) -> Float[Tensor, "groups m n"]:
    r"""In place, ‖x_i − x_i‖² is 0: far from the mean, what is lost would be much beside h."""
    squares.diagonal(dim1=-2, dim2=-1).zero_()
    return squares
