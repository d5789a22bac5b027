r"""The linear system of closed-form score matching."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["solve"]

RELATIVE_TOLERANCE = 1e-13
"""Eigenvalues below it, relative to the largest, are rounding errors of the float64 averages."""


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
