r"""How good a set of samples is."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from fisherae.priors import FactorablePrior, Prior
from fisherae.samplers.exact import Exact, improper_dims

__all__ = ["Diagnostics", "diagnose"]


@dataclass(frozen=True)
class Diagnostics:
    """What to know about a set of samples.

    Arguments:
        method: the sampler that was used.
        mean: of the samples, shape (dim,).
        std: of the samples, shape (dim,).
        spread_ratio: std of the samples over that of the prior, shape (dim,); 1 is right. None
            where it cannot be computed: the prior is not factorable, or improper.
        acceptance: MALA's mean acceptance rate after its warm-up; None for the others.
    """

    method: str
    mean: Tensor
    std: Tensor
    spread_ratio: Tensor | None
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
        tensor([1.0000])
    """
    std = z.std(0, correction=0)
    ratio = None
    if isinstance(prior, FactorablePrior) and not improper_dims(prior):
        ratio = std / Exact(prior).std
    return Diagnostics(method, z.mean(0), std, ratio, acceptance)
