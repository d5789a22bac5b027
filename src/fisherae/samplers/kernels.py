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
    "squared_distances",
]

Kernel = Callable[[Tensor], tuple[Tensor, Tensor]]
Bandwidth = Callable[[Tensor], Tensor]

_MEDIAN_OF = 256  # particles that are enough for the median distance


def rbf(r: Tensor) -> tuple[Tensor, Tensor]:
    r"""The kernel k(r) = exp(−r) of r = ‖z − z′‖² / h, and its derivative k′(r).

    Any radial kernel may stand in its place.

    Example:
        >>> rbf(torch.tensor(0.0))
        (tensor(1.), tensor(-1.))
    """
    k = torch.exp(-r)
    return k, -k


def inverse_multiquadric(r: Tensor) -> tuple[Tensor, Tensor]:
    r"""The kernel k(r) = (1 + r)^(−½) of r = ‖z − z′‖² / h, and its derivative k′(r).

    Its tail is heavy: it sees far-away samples that the RBF kernel no longer does.

    Example:
        >>> inverse_multiquadric(torch.tensor(3.0))
        (tensor(0.5000), tensor(-0.0625))
    """
    k = torch.rsqrt(1 + r)
    return k, -k.pow(3) / 2


def median_bandwidth(z: Float[Tensor, "groups n features"]) -> Float[Tensor, "groups 1 1"]:
    r"""h = med ‖z_i − z_j‖² / log(n + 1) over all pairs, so that Σ_j k(z_i, z_j) ≈ 1.

    Of more than 256 particles, evenly spaced ones are taken for the median.

    Example:
        >>> z = torch.tensor([[[0.0], [1.0], [3.0]]])  # squared distances 0 0 0 1 1 4 4 9 9
        >>> median_bandwidth(z) * math.log(4)
        tensor([[[1.]]])
    """
    n = z.shape[1]
    some = z[:, :: math.ceil(n / _MEDIAN_OF)]
    floor = torch.finfo(z.dtype).eps ** 2  # coinciding particles
    return (_median(some) / math.log(n + 1)).clamp_min(floor)[:, None, None]


def _median(z: Float[Tensor, "groups n features"]) -> Float[Tensor, " groups"]:
    """Of the n² squared distances of a group: n zeros, and twice those of the pairs i < j, which
    alone are looked at."""
    n = z.shape[1]
    rank = ((n * n - 1) // 2 - n) // 2
    if rank < 0:
        return z.new_zeros(len(z))
    of_pairs = squared_distances(z, z).flatten(1)[:, _pairs(n, z.device)]
    return of_pairs.kthvalue(rank + 1).values


@lru_cache(maxsize=4)
def _pairs(n: int, device: torch.device) -> Tensor:
    """The places i < j of a flattened n × n matrix."""
    return torch.ones(n, n, dtype=torch.bool, device=device).triu(1).flatten().nonzero()[:, 0]


def squared_distances(
    x: Float[Tensor, "groups m features"], y: Float[Tensor, "groups n features"]
) -> Float[Tensor, "groups m n"]:
    r"""‖x_i − y_j‖² within each group.

    Example:
        >>> squared_distances(torch.tensor([[[3.0, 4.0]]]), torch.zeros(1, 1, 2))
        tensor([[[25.]]])
    """
    if x.shape[-1] == 1:  # many times faster than products
        return (x - y.mT).square()
    # Products of coordinates are many times faster than differences, and cancel less around the
    # mean: what is lost, some 1e-7 of the largest distance's square, the bandwidth does not see.
    centre = y.mean(1, keepdim=True)
    x, y = x - centre, y - centre
    squares = x.square().sum(-1)[..., :, None] + y.square().sum(-1)[..., None, :]
    return torch.baddbmm(squares, x, y.mT, alpha=-2).clamp_min_(0)
