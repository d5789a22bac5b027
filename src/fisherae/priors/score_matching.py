r"""The linear system of closed-form score matching."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["boundary_weight", "solve"]

RELATIVE_TOLERANCE = 1e-13
"""Eigenvalues below it, relative to the largest, are rounding errors of the float64 averages."""


def boundary_weight(
    z: Float[Tensor, "n dim"], support: Float[Tensor, "dim 2"]
) -> tuple[Float[Tensor, "n dim"], Float[Tensor, "n dim"]]:
    r"""g(z) and g′(z) per dimension, with g = 0 at the finite ends of the support.

    Integration by parts leaves a term at a finite end where the density is not zero. With the
    mismatch of the scores weighted by g(z) = (z − a)(b − z), or by one of the factors where only
    one end is finite, it vanishes; on the whole line g = 1.

    References:
        Hyvärinen (2007), Some Extensions of Score Matching,
        https://doi.org/10.1016/j.csda.2006.09.003; Yu, Drton and Shojaie (2019), Generalized Score
        Matching for Non-Negative Data, https://jmlr.org/papers/v20/18-278.html

    Example:
        >>> boundary_weight(torch.tensor([[0.25]]), torch.tensor([[0.0, 1.0]]))
        (tensor([[0.1875]]), tensor([[0.5000]]))
    """
    lower, upper = support.unbind(-1)
    from_lower = torch.where(lower.isfinite(), z - lower, 1.0)
    to_upper = torch.where(upper.isfinite(), upper - z, 1.0)
    slope = torch.where(lower.isfinite(), to_upper, 0.0)
    slope = slope - torch.where(upper.isfinite(), from_lower, 0.0)
    return from_lower * to_upper, slope


def solve(
    gram: Float[Tensor, "*batch m m"], target: Float[Tensor, "*batch m"]
) -> tuple[Float[Tensor, "*batch m"], Int[Tensor, "*batch"]]:
    r"""The solution of symmetric systems, scaled to a unit diagonal, and the rank of each.

    Example:
        >>> solve(torch.diag(torch.tensor([4.0, 1e-8])), torch.tensor([8.0, 1e-8]))
        (tensor([2., 1.]), tensor(2))
    """
    tiny = torch.finfo(gram.dtype).tiny
    scale = gram.diagonal(dim1=-2, dim2=-1).clamp_min(tiny).rsqrt()
    scaled = scale[..., :, None] * gram * scale[..., None, :]
    rank = torch.linalg.matrix_rank(scaled, hermitian=True, rtol=RELATIVE_TOLERANCE)
    solution = torch.linalg.lstsq(scaled, (scale * target)[..., None]).solution[..., 0]
    return scale * solution, rank
