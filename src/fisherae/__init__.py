r"""Fisher auto-encoders: robust representations by minimising the Fisher divergence.

Elkhalil, Hasan, Ding, Farsiu and Tarokh (2021), Fisher Auto-Encoders, AISTATS,
https://arxiv.org/abs/2007.06120
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fisherae import networks
    from fisherae.autoencoder import Autoencoder, load
    from fisherae.distributions import (
        Bernoulli,
        BernoulliLikelihood,
        Delta,
        DiagonalGaussian,
        Gaussian,
        GaussianLikelihood,
        PolynomialPosterior,
    )
    from fisherae.divergences import fisher_divergence, hyvarinen_score
    from fisherae.errors import InputError, NonFiniteError
    from fisherae.estimator import FisherAutoencoder
    from fisherae.inference import refined
    from fisherae.objectives import (
        ContractiveObjective,
        DenoisingObjective,
        ElboObjective,
        FisherObjective,
        Objective,
        RegularizedObjective,
        WaeGanObjective,
        WaeMmdObjective,
    )
    from fisherae.priors import (
        EnergyPrior,
        ExponentialFamily,
        FactorablePolynomial,
        GaussianMixture,
        PairwisePolynomial,
        Prior,
        StandardNormal,
    )
    from fisherae.samplers import sample

__version__ = "0.1.0"

__all__ = [
    "Autoencoder",
    "Bernoulli",
    "BernoulliLikelihood",
    "ContractiveObjective",
    "Delta",
    "DenoisingObjective",
    "DiagonalGaussian",
    "ElboObjective",
    "EnergyPrior",
    "ExponentialFamily",
    "FactorablePolynomial",
    "FisherAutoencoder",
    "FisherObjective",
    "Gaussian",
    "GaussianLikelihood",
    "GaussianMixture",
    "InputError",
    "NonFiniteError",
    "Objective",
    "PairwisePolynomial",
    "PolynomialPosterior",
    "Prior",
    "RegularizedObjective",
    "StandardNormal",
    "WaeGanObjective",
    "WaeMmdObjective",
    "fisher_divergence",
    "hyvarinen_score",
    "load",
    "networks",
    "refined",
    "sample",
]

# Where each public name lives. Names are imported when first used: the command line's help must
# not wait for torch.
_HOMES = {
    "autoencoder": ("Autoencoder", "load"),
    "distributions": (
        "Bernoulli",
        "BernoulliLikelihood",
        "Delta",
        "DiagonalGaussian",
        "Gaussian",
        "GaussianLikelihood",
        "PolynomialPosterior",
    ),
    "divergences": ("fisher_divergence", "hyvarinen_score"),
    "errors": ("InputError", "NonFiniteError"),
    "estimator": ("FisherAutoencoder",),
    "inference": ("refined",),
    "objectives": (
        "ContractiveObjective",
        "DenoisingObjective",
        "ElboObjective",
        "FisherObjective",
        "Objective",
        "RegularizedObjective",
        "WaeGanObjective",
        "WaeMmdObjective",
    ),
    "priors": (
        "EnergyPrior",
        "ExponentialFamily",
        "FactorablePolynomial",
        "GaussianMixture",
        "PairwisePolynomial",
        "Prior",
        "StandardNormal",
    ),
    "samplers": ("sample",),
}


def __getattr__(name: str) -> Any:
    if name == "networks":
        return importlib.import_module("fisherae.networks")
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"fisherae.{module}"), name)
    raise AttributeError(f"module 'fisherae' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
