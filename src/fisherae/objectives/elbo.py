r"""The evidence lower bound of the VAE, eq. (2)."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from fisherae.autoencoder import Autoencoder
from fisherae.distributions import Delta, DensityPosterior
from fisherae.errors import InputError
from fisherae.objectives.checks import require_positive, require_samples
from fisherae.objectives.terms import LossTerms, Objective
from fisherae.priors import StandardNormal

__all__ = ["ElboObjective", "ElboTerms"]


@dataclass(frozen=True)
class ElboTerms(LossTerms):
    r"""The two terms of eq. (2): −E log p(x|z), summed over pixels, and β KL[q(z|x) ‖ p(z)]."""

    reconstruction: Tensor
    kl: Tensor


class ElboObjective(Objective):
    r"""L_VAE(x) = β KL[q_φ(z|x) ‖ p(z)] − E_q log p_θ(x|z), eq. (2), with the analytic KL.

    β = 1 is the VAE, another the β-VAE, eq. (4) of Higgins et al. With a Gaussian decoder whose
    variance is learned it is the σ-VAE of Rybkin et al., where the balance of the two terms, which
    a fixed variance (or β) sets by hand, is part of the model.

    Arguments:
        model: an auto-encoder with a Gaussian or polynomial posterior, a standard normal prior,
            and a Bernoulli or Gaussian decoder.
        samples: L, Monte Carlo samples per image.
        beta: β > 0, the weight of the KL.

    Raises:
        InputError: if the model's posterior or prior has no analytic KL, or an argument is out of
            range.

    References:
        Kingma and Welling (2014), Auto-Encoding Variational Bayes,
        https://arxiv.org/abs/1312.6114

        Higgins et al. (2017), β-VAE, https://openreview.net/forum?id=Sy2fzU9gl

        Rybkin, Daniilidis and Levine (2021), Simple and Effective VAE Training with Calibrated
        Decoders, https://arxiv.org/abs/2006.13202

    Example:
        >>> import torch
        >>> import fisherae as fae
        >>> encoder, decoder = fae.networks.mnist.encoder(8), fae.networks.mnist.decoder(8)
        >>> vae = fae.Autoencoder(encoder, decoder, fae.StandardNormal(8), likelihood="bernoulli")
        >>> terms = fae.ElboObjective(vae)(torch.rand(4, 1, 28, 28))
        >>> list(terms.by_name())
        ['reconstruction', 'kl']
    """

    def __init__(self, model: Autoencoder, samples: int = 1, beta: float = 1.0):
        super().__init__(model)
        if model.posterior is Delta or not isinstance(model.prior, StandardNormal):
            raise InputError(
                "the ELBO needs a Gaussian posterior (or a polynomial one) and a StandardNormal "
                f"prior for its analytic KL, got {model.posterior.__name__} and "
                f"{type(model.prior).__name__}"
            )
        require_samples(samples)
        require_positive("the KL's weight β", beta)
        self.samples = samples
        self.beta = beta

    def forward(self, x: Float[Tensor, "batch *event"], reduce: bool = True) -> ElboTerms:
        r"""The terms, averaged over the batch, or per image where `reduce` is off."""
        q = self.model.encode(x)
        assert isinstance(q, DensityPosterior)  # checked at construction
        log_likelihood = sum(
            (self.model.decode(q.rsample()).log_prob(x) for _ in range(self.samples)),
            start=x.new_zeros(len(x)),
        )
        terms = ElboTerms(-log_likelihood / self.samples, self.beta * q.kl_standard_normal())
        return terms.mean() if reduce else terms
