r"""How good a set of samples is."""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from fisherae.priors import Prior
from fisherae.samplers.exact import EXACT, Exact, improper_dims
from fisherae.samplers.stein import kernel_stein_discrepancy

__all__ = ["Diagnostics", "diagnose"]

_DISCREPANCY_OF = 2_000  # samples that are enough: its time is quadratic


@dataclass(frozen=True)
class Diagnostics:
    """What to know about a set of samples.

    Arguments:
        method: the sampler that was used.
        mean: of the samples, shape (dim,).
        std: of the samples, shape (dim,).
        spread_ratio: std of the samples over that of the prior, shape (dim,); 1 is right, of few
            samples less. None where it cannot be computed: there is no exact sampler, the prior is
            improper, or there is a single sample.
        ksd: the `kernel_stein_discrepancy` of up to 2,000 of the samples: 0 in expectation for
            right ones, and larger the worse they are. None for a single sample.
        acceptance: MALA's mean acceptance rate after its warm-up; None for the others.
    """

    method: str
    mean: Tensor
    std: Tensor
    spread_ratio: Tensor | None
    ksd: float | None
    acceptance: float | None


def diagnose(
    prior: Prior, z: Float[Tensor, "n dim"], method: str, acceptance: float | None = None
) -> Diagnostics:
    """Compares samples z with the prior they should come from.

    Example:
        >>> import torch
        >>> from fisherae.priors import StandardNormal
        >>> z = torch.tensor([[-1.0], [1.0]])
        >>> diagnose(StandardNormal(1), z, method="by hand").spread_ratio
        tensor([1.])
    """
    std = z.std(0, correction=0)
    ratio = ksd = None
    if len(z) > 1 and isinstance(prior, EXACT) and not improper_dims(prior):
        ratio = std / Exact(prior).std
    if len(z) > 1:
        some = z[:: math.ceil(len(z) / _DISCREPANCY_OF)]
        ksd = kernel_stein_discrepancy(prior, some).item()
    return Diagnostics(method, z.mean(0), std, ratio, ksd, acceptance)
