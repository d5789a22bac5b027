"""The prior of a trained model: as it was trained, or fitted anew to its latents."""

import copy
from typing import TYPE_CHECKING, Literal, get_args

from fisherae.errors import InputError

if TYPE_CHECKING:  # the command line names the kinds before it needs torch
    from torch import Tensor

    from fisherae.autoencoder import Autoencoder
    from fisherae.priors import Prior

__all__ = ["PRIOR_KINDS", "PriorKind", "with_prior"]

PriorKind = Literal["trained", "refit", "mixture", "pairwise", "energy"]
PRIOR_KINDS: tuple[PriorKind, ...] = get_args(PriorKind)

_ORDER = 4  # of the polynomial fitted in place of another prior: two modes and a skew


def with_prior(model: "Autoencoder", kind: str, latents: "Tensor", seed: int = 0) -> "Autoencoder":
    """The model with the networks of `model`, shared, and a prior of its own.

    | kind | the prior |
    |---|---|
    | `"trained"` | a copy of the model's |
    | `"refit"` | a polynomial, fitted in closed form |
    | `"mixture"` | a mixture of ten Gaussians, by expectation-maximisation |
    | `"pairwise"` | a polynomial with products of two latents, fitted in closed form |
    | `"energy"` | learned sufficient statistics, by score matching |

    A polynomial prior keeps its order when refitted, but an odd one, never a density on the whole
    line, goes down by one; other priors give way to order 4.

    Arguments:
        model: any auto-encoder; it stays as it is.
        kind: one of `PRIOR_KINDS`.
        latents: samples of the aggregated posterior, shape (n, dim).
        seed: of the mixture's starts, and of the energy's training.

    Raises:
        InputError: if there is no such kind, or the latents cannot be fitted.

    Example:
        >>> import torch
        >>> import fisherae as fae
        >>> encoder, decoder = fae.networks.mnist.encoder(2), fae.networks.mnist.decoder(2)
        >>> model = fae.Autoencoder(encoder, decoder, fae.StandardNormal(2))
        >>> latents = 3 + 2 * torch.randn(500, 2)
        >>> for kind in PRIOR_KINDS:
        ...     type(with_prior(model, kind, latents).prior).__name__
        'StandardNormal'
        'FactorablePolynomial'
        'GaussianMixture'
        'PairwisePolynomial'
        'EnergyPrior'
    """
    if kind not in PRIOR_KINDS:
        raise InputError(f"unknown kind of prior {kind!r}; known: {', '.join(PRIOR_KINDS)}")
    networks = model.encoder, model.decoder, model.likelihood
    # What the memo holds is taken as already copied: the networks are shared.
    other = copy.deepcopy(model, {id(network): network for network in networks})
    if kind != "trained":
        other.prior = _fitted(kind, model.prior, latents.to(model.prior.support), seed)
    return other


def _fitted(kind: str, prior: "Prior", latents: "Tensor", seed: int) -> "Prior":
    from fisherae.priors import (
        EnergyPrior,
        FactorablePolynomial,
        GaussianMixture,
        PairwisePolynomial,
        PolynomialPrior,
    )

    dim, like = prior.dim, prior.support
    if kind == "mixture":
        return GaussianMixture(dim).to(like).fit(latents, seed)
    if kind == "energy":
        return EnergyPrior(dim).to(like).fit(latents, seed)
    order = prior.order if isinstance(prior, PolynomialPrior) else _ORDER
    family = PairwisePolynomial if kind == "pairwise" else FactorablePolynomial
    return family(dim, order - order % 2).to(like).fit(latents)
