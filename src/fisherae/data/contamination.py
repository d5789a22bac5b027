r"""Training sets of which a share is corrupted."""

import numpy as np
import torch
from torch import Tensor

from fisherae.data.corruptions import Corruption
from fisherae.data.images import to_float
from fisherae.errors import InputError

__all__ = ["contaminate"]

AT_ONCE = 1024


def contaminate(
    images: Tensor,
    corruption: Corruption,
    share: float = 1.0,
    value_range: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
) -> Tensor:
    r"""The images as samples of Huber's contamination model, (1 − ε) P⋆ + ε P̃.

    P⋆ is the distribution of the clean images, P̃ that of the corrupted ones. Of N images
    round(εN) random ones are corrupted, once: the result is a pure function of the arguments and
    leaves torch's global random numbers alone.

    The result takes four times the memory of the images, beside which little is needed.

    Arguments:
        images: uint8, shape (N, C, H, W).
        corruption: of the chosen images, in the units of `value_range`; not clipped.
        share: ε in [0, 1].
        value_range: of the clean images, (0, 1) or (-1, 1).
        seed: of the choice and of the corruption, ≥ 0.

    Returns:
        float32, shape (N, C, H, W), in the order of the images.

    Raises:
        InputError: the share is outside [0, 1], the seed negative, the images not uint8, or
            another range.

    References:
        Huber (1964), Robust Estimation of a Location Parameter,
        https://doi.org/10.1214/aoms/1177703732

    Example:
        >>> from fisherae.data.corruptions import Mask
        >>> white = torch.full((10, 1, 8, 8), 255, dtype=torch.uint8)
        >>> contaminate(white, Mask(0.5), share=0.3).mean(dim=(1, 2, 3)).sort().values
        tensor([0.5000, 0.5000, 0.5000, 1.0000, 1.0000, 1.0000, 1.0000, 1.0000, 1.0000, 1.0000])
    """
    if not 0 <= share <= 1 or seed < 0:
        raise InputError(f"share {share}, seed {seed}: give a share in [0, 1] and a seed ≥ 0")
    # A child of the seed: subsets and the order of training must not follow the choice.
    (child,) = np.random.SeedSequence(seed).spawn(1)
    rng = np.random.default_rng(child)
    chosen = rng.permutation(len(images))[: round(share * len(images))]
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    x = to_float(images, value_range)
    for index in torch.split(torch.from_numpy(chosen), AT_ONCE):
        x[index] = corruption(x[index], generator)
    return x
