"""Noise on what an encoder sees while it learns."""

import torch
from torch import Tensor

__all__ = ["graded_noise"]


def graded_noise(x: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    r"""x̃ = x + √v e with e ~ N(0, I), and the variances v = noise · u⁸ with u ~ U(0, 1), per image.

    Half of the images get less than 1/256 of the most, an eighth more than a third of it. Where
    most images are very noisy an encoder gives up detail of clean ones; about the noise it learns
    nearly as much from fewer.

    Arguments:
        x: images (batch, …).
        noise: the largest variance, in squared pixel units.

    Returns:
        x̃, of the shape of x, and v (batch,).
    """
    u = torch.rand(len(x), *[1] * (x.dim() - 1), dtype=x.dtype, device=x.device)
    variance = noise * u**8
    return x + variance.sqrt() * torch.randn_like(x), variance.flatten()
