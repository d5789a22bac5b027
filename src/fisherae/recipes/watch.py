r"""What training gets wrong without an error: latents that are not used, a prior that fails."""

import copy
import warnings
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from fisherae.autoencoder import Autoencoder, evaluating
from fisherae.distributions import Delta, Posterior
from fisherae.priors import FactorablePolynomial, Prior
from fisherae.samplers import sample
from fisherae.samplers.exact import EXACT, Exact, improper_dims
from fisherae.training.run import RunDirectory

__all__ = ["active_in", "active_latents", "warn_of_silent_failure"]

SETTLED = 500
"""Steps before which a training has rarely found a use for its latents."""
ACTIVE = 0.01
FAR_OFF = 3
CHAINS = 256
"""Samples that judge a prior which cannot be integrated."""


@torch.no_grad()
def active_latents(model: Autoencoder, x: Float[Tensor, "images *event"]) -> Bool[Tensor, " dim"]:
    r"""Per dimension, whether the latent tells anything about x, networks in eval mode.

    The variance of z_j over the data is that of its mean, the signal, plus its mean variance, the
    noise. Burda et al. call a unit active where Var_x[μ_j] > 0.01, on the scale of N(0, I), under
    which an unused unit has σ_j = 1. A learned prior leaves the scale free, so the noise is the
    unit, Var_x[μ_j(x)] > 0.01 E_x[σ_j(x)²]: the same at σ_j = 1. A deterministic posterior, which
    has no noise, keeps the original measure.

    Arguments:
        model: any auto-encoder.
        x: at least two images, as the encoder takes them.

    References:
        Burda, Grosse and Salakhutdinov (2016), Importance Weighted Autoencoders, section 5,
        https://arxiv.org/abs/1509.00519

    Example:
        >>> from fisherae.networks import mlp
        >>> from fisherae.priors import StandardNormal
        >>> encoder, decoder = mlp.encoder((4,), dim=2, hidden=()), mlp.decoder((4,), dim=2)
        >>> weight = torch.nn.init.eye_(encoder[-1].weight)
        >>> weight.data[1] = 0  # the second latent ignores x
        >>> active_latents(Autoencoder(encoder, decoder, StandardNormal(2)), torch.rand(100, 4))
        tensor([ True, False])
    """
    with evaluating(model):
        return active_in([model.encode(part) for part in torch.split(x, 512)])


def active_in(posteriors: Sequence[Posterior]) -> Bool[Tensor, " dim"]:
    """`active_latents` of images that are encoded already, batch by batch."""
    signal = torch.cat([q.mean for q in posteriors]).var(0, correction=0)
    variances = [q.std.square() for q in posteriors if not isinstance(q, Delta)]
    noise = torch.cat(variances).mean(0) if variances else torch.ones_like(signal)
    return signal > ACTIVE * noise


def warn_of_silent_failure(
    model: Autoencoder,
    x: Float[Tensor, "images *event"],
    z: Float[Tensor, "n dim"],
    run: RunDirectory,
    has_prior: bool = True,
) -> None:
    r"""Warns of what a finished training did not stop for; silent below 500 steps.

    - Posterior collapse: no latent is active, or fewer than half of them are.
    - A prior whose samples are far off the latents, of mean m_j and standard deviation s_j:
      √E_p[(z_j − m_j)²] / s_j, which should be 1, is outside of [⅓, 3].
    - An improper prior. Of an even order only where it is far off as well: elsewhere a tiny leading
      coefficient is to blame, which does no harm once confined. An odd order is never proper.

    Arguments:
        model: as trained, a polynomial prior confined to the range of z where it is improper.
        x: some of the training images.
        z: samples of the aggregated posterior.
        run: the run directory, for the number of steps and the name.
        has_prior: whether training knew of the prior; else it cannot have failed.

    Warns:
        UserWarning: one for the latents and one for the prior, where there is a reason.
    """
    if run.metrics()[-1]["step"] < SETTLED or len(x) < 2:
        return
    of_prior = _of_prior(model.prior, z) if has_prior else ""
    for failure in (_of_latents(active_latents(model, x)), of_prior):
        if failure:
            warnings.warn(f"{run.path}: {failure}", stacklevel=2)


def _of_latents(active: Tensor) -> str:
    used, dim = int(active.sum()), len(active)
    if used == 0:
        return (
            f"posterior collapse: none of the {dim} latents tells anything about the image, so "
            "that all reconstructions are alike: train longer, or give the reconstruction more "
            "weight (--learn-variance or a smaller --variance of a Gaussian decoder; of WAE "
            "and contractive AE: a smaller --weight)"
        )
    advice = f"train longer, or give fewer (--dim {used})"
    unused = f"{dim - used} of the {dim} latents tell nothing about the image: {advice}"
    return unused if used < dim / 2 else ""


@torch.no_grad()
def _of_prior(prior: Prior, z: Tensor) -> str:
    (own_mean, own_std), (std, mean) = _moments(prior), torch.std_mean(z, dim=0)
    distance = ((own_mean - mean).square() + own_std.square()).sqrt() / std
    far_off = ~((distance > 1 / FAR_OFF) & (distance < FAR_OFF))
    free = copy.deepcopy(prior)  # as before it was confined
    free.support.copy_(torch.tensor([-torch.inf, torch.inf]))
    odd = isinstance(prior, FactorablePolynomial) and prior.order % 2 == 1
    improper = [j for j in improper_dims(free) if odd or far_off[j]]
    others = [j for j in far_off.nonzero()[:, 0].tolist() if j not in improper]
    reasons = {"is improper in": improper, "is far off the latents in": others}
    names = {prior.dim: f"all {prior.dim} dimensions"}
    found = [f"{what} {names.get(len(d), f'dimensions {d}')}" for what, d in reasons.items() if d]
    advice = "sample with one that is fitted to the latents (--prior refit, the default)"
    advice += ", or train with an even --order" if odd else ""
    return f"the prior as trained {' and '.join(found)}: {advice}" if found else ""


def _moments(prior: Prior) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per dimension, exact or of MALA's samples."""
    if isinstance(prior, EXACT):
        exact = Exact(prior)
        return exact.mean, exact.std
    z = sample(prior, CHAINS, "mala", Generator(prior.support.device).manual_seed(0), steps=1_000)
    return z.mean(0), z.std(0)
