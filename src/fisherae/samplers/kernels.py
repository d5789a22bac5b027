r"""Radial kernels and their bandwidth, for Stein variational gradient descent and discrepancy."""

import math
from collections.abc import Callable

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

_MEDIAN_OF = 1024  # particles that are enough for the median distance


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

    Of more than 1024 particles, evenly spaced ones are taken for the median.

    Example:
        >>> z = torch.tensor([[[0.0], [1.0], [3.0]]])  # squared distances 0 0 0 1 1 4 4 9 9
        >>> median_bandwidth(z) * math.log(4)
        tensor([[[1.]]])
    """
    n = z.shape[1]
    some = z[:, :: math.ceil(n / _MEDIAN_OF)]
    median = squared_distances(some, some).flatten(1).median(-1).values
    floor = torch.finfo(z.dtype).eps ** 2  # coinciding particles
    return (median / math.log(n + 1)).clamp_min(floor)[:, None, None]


def squared_distances(
    x: Float[Tensor, "groups m features"], y: Float[Tensor, "groups n features"]
) -> Float[Tensor, "groups m n"]:
    r"""‖x_i − y_j‖² within each group.

    Example:
        >>> squared_distances(torch.tensor([[[3.0, 4.0]]]), torch.zeros(1, 1, 2))
        tensor([[[25.]]])
    """
    if x.shape[-1] == 1:  # many times faster than cdist
        return (x - y.mT).square()
    # The matrix-multiplication form cancels for close particles far from the origin.
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square()
