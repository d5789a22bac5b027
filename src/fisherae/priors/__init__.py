r"""Priors p_η(z), known up to a constant: all that Fisher training needs is their score."""

from fisherae.priors.base import AncestralPrior, FactorablePrior, Prior
from fisherae.priors.energy import EnergyPrior
from fisherae.priors.exponential import ExponentialFamily
from fisherae.priors.mixture import GaussianMixture
from fisherae.priors.normal import StandardNormal
from fisherae.priors.pairwise import PairwisePolynomial
from fisherae.priors.polynomial import FactorablePolynomial, PolynomialPrior

__all__ = [
    "AncestralPrior",
    "EnergyPrior",
    "ExponentialFamily",
    "FactorablePolynomial",
    "FactorablePrior",
    "GaussianMixture",
    "PairwisePolynomial",
    "PolynomialPrior",
    "Prior",
    "StandardNormal",
]
