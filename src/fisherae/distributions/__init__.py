r"""What an encoder and a decoder return: q_φ(z|x) and p_θ(x|z)."""

from fisherae.distributions.likelihoods import (
    Bernoulli,
    BernoulliLikelihood,
    Gaussian,
    GaussianLikelihood,
    Likelihood,
)
from fisherae.distributions.posteriors import (
    Delta,
    DensityPosterior,
    DiagonalGaussian,
    PolynomialPosterior,
    Posterior,
)

__all__ = [
    "Bernoulli",
    "BernoulliLikelihood",
    "Delta",
    "DensityPosterior",
    "DiagonalGaussian",
    "Gaussian",
    "GaussianLikelihood",
    "Likelihood",
    "PolynomialPosterior",
    "Posterior",
]
