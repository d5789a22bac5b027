r"""The log-likelihood log p(x) of any auto-encoder, by importance sampling."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from fisherae.autoencoder import Autoencoder, evaluating
from fisherae.distributions import DiagonalGaussian
from fisherae.errors import InputError
from fisherae.objectives.checks import require_samples
from fisherae.priors import FactorablePrior, GaussianMixture, Prior
from fisherae.samplers import InverseCDF
from fisherae.samplers.exact import improper_dims

__all__ = ["LogLikelihood", "log_likelihood", "log_normalizer"]

AT_ONCE = 1 << 20  # numbers of an image or a latent that are held at a time


@dataclass(frozen=True)
class LogLikelihood:
    r"""Estimates per image.

    Attributes:
        values: log p(x) in nats, shape (batch,); in expectation too low rather than too high.
        effective_samples: (Σ_k w_k)² / Σ_k w_k², from 1 to the number of samples, shape (batch,).
            Where it is small the posterior q(z|x) misses much of p(z|x), and the value is too low.
    """

    values: Tensor
    effective_samples: Tensor


@torch.no_grad()
def log_likelihood(
    model: Autoencoder,
    x: Float[Tensor, "batch *event"],
    samples: int = 1000,
    generator: Generator | None = None,
) -> LogLikelihood:
    r"""log p(x) = log E_{q(z|x)} [p(z) p(x|z) / q(z|x)], networks in eval mode.

        log p(x) ≈ log (1/K) Σ_k w_k,    w_k = p(z_k) p(x|z_k) / q(z_k|x),    z_k ~ q(z|x)

    The prior's normalising constant comes from `log_normalizer`.

    Arguments:
        model: an auto-encoder with a Gaussian posterior.
        x: images.
        samples: K ≥ 1, per image.
        generator: source of randomness.

    Raises:
        InputError: if there are no samples, the posterior is not Gaussian, or the prior's
            normalising constant is not to be had.

    References:
        Burda, Grosse and Salakhutdinov (2016), Importance Weighted Autoencoders,
        https://arxiv.org/abs/1509.00519

    Example:
        >>> import fisherae as fae
        >>> encoder, decoder = fae.networks.mnist.encoder(8), fae.networks.mnist.decoder(8)
        >>> model = fae.Autoencoder(encoder, decoder, fae.StandardNormal(8))
        >>> log_likelihood(model, torch.rand(4, 1, 28, 28), samples=10).values.shape
        torch.Size([4])
    """
    require_samples(samples)
    constant = log_normalizer(model.prior)
    with evaluating(model):
        q = model.encode(x)
        if not isinstance(q, DiagonalGaussian):
            raise InputError(
                "the log-likelihood draws latents from a Gaussian posterior, got "
                f"{type(q).__name__}"
            )
        size = max(1, AT_ONCE // max(x[:1].numel(), model.dim) // max(1, len(x)))
        parts = [
            _log_weights(model, x, q, min(size, samples - start), generator)
            for start in range(0, samples, size)
        ]
    log_weights = torch.cat(parts) - constant
    total = log_weights.logsumexp(0)
    effective = (2 * total - (2 * log_weights).logsumexp(0)).exp()
    return LogLikelihood(total - math.log(samples), effective)


@torch.no_grad()
def log_normalizer(prior: Prior) -> Float[Tensor, ""]:
    r"""log ∫ exp(log_density(z)) dz: zero of a mixture, by quadrature of a factorable prior.

    Raises:
        InputError: for another kind of prior, or one that is improper.

    Example:
        >>> from fisherae.priors import StandardNormal
        >>> log_normalizer(StandardNormal(2))  # log 2π
        tensor(1.8379)
    """
    if isinstance(prior, GaussianMixture):
        return prior.weights.new_zeros(())
    if not isinstance(prior, FactorablePrior):
        raise InputError(
            f"the normalising constant of a {type(prior).__name__} is not known: refit the prior "
            "to the latents with a FactorablePolynomial or a GaussianMixture"
        )
    dims = improper_dims(prior)
    if dims:
        raise InputError(
            f"the prior is improper in dimensions {dims}, so that no likelihood exists: confine it "
            "to the range of its latents with prior.confine(latents), or fit it with "
            "prior.fit(latents)"
        )
    return InverseCDF(prior).log_normalizer.sum()


def _log_weights(
    model: Autoencoder, x: Tensor, q: DiagonalGaussian, samples: int, generator: Generator | None
) -> Float[Tensor, "samples batch"]:
    r"""log p(z) + log p(x|z) − log q(z|x), the prior up to its constant."""
    repeated = DiagonalGaussian(q.mean.repeat(samples, 1), q.log_std.repeat(samples, 1))
    z = repeated.rsample(generator)
    images = x.repeat(samples, *[1] * (x.dim() - 1))
    joint = model.prior.log_density(z) + model.decode(z).log_prob(images)
    return (joint - repeated.log_prob(z)).view(samples, len(x))
