r"""The kernel Stein discrepancy: how far samples are from a prior, by its score alone."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from fisherae.divergences import differentiating, point
from fisherae.errors import InputError
from fisherae.priors import Prior
from fisherae.priors.score_matching import boundary_weight
from fisherae.samplers.kernels import (
    Bandwidth,
    Kernel,
    inverse_multiquadric,
    median_bandwidth,
    spaced,
    squared_distances,
)

__all__ = ["kernel_stein_discrepancy"]

_TILE = 2**20  # pairs of samples held at once


@torch.no_grad()
def kernel_stein_discrepancy(
    prior: Prior,
    z: Float[Tensor, "n dim"],
    kernel: Kernel = inverse_multiquadric,
    bandwidth: Bandwidth = median_bandwidth,
) -> Float[Tensor, ""]:
    r"""The estimate Σ_{i≠j} u_p(z_i, z_j) / n(n−1) of the discrepancy E u_p(z, z′), with

        u_p(z, z′) = sᵀ s′ k + sᵀ ∇_{z′} k + ∇_z kᵀ s′ + tr ∇_z ∇_{z′} k,      s = ∇ log p.

    Of a kernel that does not depend on the samples it is unbiased; here the bandwidth does, a
    little. Independent samples of a proper prior have expectation 0, all others a positive one; an
    estimate may be a little negative. Its unit is 1 / z²: compare samples of one prior, not priors.
    No normaliser is needed, so that an improper prior has a discrepancy too, though no right
    samples. It cannot see wrong shares of modes that are far apart.

    Where the support has finite ends, the Stein operator of dimension j is that of g_j p
    (`boundary_weight`, relative to its largest value among the samples): s_j becomes
    g_j s_j + g_j′, and ∂_j becomes g_j ∂_j.

    Arguments:
        prior: any prior.
        z: samples, two or more. Time is quadratic in n, memory linear.
        kernel: radial kernel, r ↦ (k(r), −k′(r)) of r = ‖z − z′‖² / h, differentiable.
        bandwidth: (‖z_i − z_j‖² of up to 256 samples (1, m, m), n) ↦ h.

    Returns:
        In the precision of floating-point samples; infinite if all of them coincide.

    Raises:
        InputError: if there are less than two samples.

    References:
        Liu, Lee and Jordan (2016), A Kernelized Stein Discrepancy for Goodness-of-Fit Tests,
        https://arxiv.org/abs/1602.03253
        Gorham and Mackey (2017), Measuring Sample Quality with Kernels (why not the RBF kernel),
        https://arxiv.org/abs/1703.01717
        Xu (2021), Standardisation-Function Kernel Stein Discrepancy (the weight),
        https://arxiv.org/abs/2106.12105

    Example:
        >>> from fisherae.priors import StandardNormal
        >>> z = torch.randn(1000, 8, generator=torch.Generator().manual_seed(0))
        >>> right, narrow = (kernel_stein_discrepancy(StandardNormal(8), s * z) for s in (1, 0.5))
        >>> bool(right.abs() < 0.01), bool(narrow > 0.3)
        (True, True)
    """
    n = len(z)
    if n < 2:
        raise InputError(f"kernel Stein discrepancy: it needs at least 2 samples, got {n}")
    z = z if z.is_floating_point() else z.to(prior.support)
    if not bool((z != z[0]).any()):
        return z.new_tensor(torch.inf)
    score, points, support = prior.score(z).double(), z.double(), prior.support.double()
    g, g_slope = boundary_weight(points, support)
    largest = g.amax(0)
    g, g_slope = (part / torch.where(largest > 0, largest, 1.0) for part in (g, g_slope))
    every = points - points.mean(0), g, g * score + g_slope  # only differences of points count
    some = spaced(every[0][None])
    h = bandwidth(squared_distances(some, some), n).squeeze()
    total, rows = points.new_zeros(()), max(1, _TILE // n)
    for start in range(0, n, rows):  # each pair once, for u_p is symmetric
        own, on = ([part[start:stop] for part in every] for stop in (start + rows, n))
        pairs = _stein_kernel(own, on, kernel, h)
        total += 2 * pairs.sum() - pairs[:, :rows].sum()
    itself = _stein_kernel_at_zero(every, kernel, h).sum()
    return ((total - itself) / (n * (n - 1))).to(z.dtype)


Weighted = Sequence[Tensor]
"""Points z, their weights g, and g s + g′, each of shape (n, dim)."""


def _stein_kernel(left: Weighted, right: Weighted, kernel: Kernel, h: Tensor) -> Tensor:
    r"""u_p(x, y) of each pair, with Δ = x − y and ∇_x k = k′ · 2 Δ / h, as matrix products."""
    (x, gx, ax), (y, gy, ay) = left, right
    k, fall, bend = _derivatives(kernel, squared_distances(x[None], y[None])[0] / h)
    drift = (x * gx) @ ay.mT - gx @ (y * ay).mT - (x * ax) @ gy.mT + ax @ (y * gy).mT
    square = (x * x * gx) @ gy.mT - 2 * (x * gx) @ (y * gy).mT + gx @ (y * y * gy).mT
    first, second = 2 / h * fall, 4 / h**2 * bend
    return ax @ ay.mT * k - first * (drift - gx @ gy.mT) - second * square


def _stein_kernel_at_zero(at: Weighted, kernel: Kernel, h: Tensor) -> Float[Tensor, " n"]:
    r"""u_p(x, x) of each point."""
    _, g, a = at
    k, fall = kernel(torch.zeros_like(h))
    return a.square().sum(-1) * k + 2 / h * fall * g.square().sum(-1)


def _derivatives(kernel: Kernel, r: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """k, −k′ and k″ at r."""
    with differentiating():
        r = point(r)
        k, fall = kernel(r.clone())
        (bend,) = torch.autograd.grad(-fall.sum(), r)
    return k.detach(), fall.detach(), bend
