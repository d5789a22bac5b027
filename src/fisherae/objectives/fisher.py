r"""The Fisher auto-encoder's objective, eq. (10), by Monte Carlo, eq. (11)."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from fisherae.autoencoder import Autoencoder
from fisherae.distributions import (
    Delta,
    DensityPosterior,
    DiagonalGaussian,
    Gaussian,
    GaussianLikelihood,
)
from fisherae.divergences import differentiating, point
from fisherae.errors import InputError
from fisherae.objectives.checks import require_images, require_noise, require_samples
from fisherae.objectives.noise import graded_noise
from fisherae.objectives.terms import LossTerms, Objective

__all__ = ["FisherObjective", "FisherTerms"]

Variant = Literal["exact", "reference"]


@dataclass(frozen=True)
class FisherTerms(LossTerms):
    r"""The three terms of eq. (10).

    - posterior ①: D_∇[q_φ(z|x) ‖ p_{η,θ}(z|x)], reaches φ, θ and η;
    - reconstruction ②: s_∇[p_θ(x|z)], reaches φ and θ;
    - stability ③: ½ ‖∇_x log q_φ(z|x)‖², reaches φ.
    """

    posterior: Tensor
    reconstruction: Tensor
    stability: Tensor


class FisherObjective(Objective):
    r"""L_F-AE(x; φ, η, θ), eq. (10), estimated with L samples z = μ + σ ⊙ ε as in eq. (11).

    By Theorem 1 its mean over the data is the Fisher divergence between the joints
    p⋆(x) q_φ(z|x) and p_η(z) p_θ(x|z), up to a constant of the data.

    The theory wants q(z|x) and p(x|z) of each image by itself. Batch normalisation in training
    couples the images of a batch in ∇_x and ∇_z; in the encoder that costs robustness. The loss
    has no gradient in x: its scores are taken at the images as they are.

    With `noise` the encoder sees x̃ = x + √v e, e ~ N(0, I), and the decoder still answers for x.
    Theorem 1 then holds for the joints of (x, e, z), p⋆(x) N(e) q_φ(z|x̃) and p_η(z) p_θ(x|z) N(e):
    terms ① and ② with q_φ(z|x̃) in the place of q_φ(z|x), and as the score of q reaches x̃ once
    through x and once through e, which √v scales, the stability term is

        ③: (1 + v) · ½ ‖∇_x̃ log q_φ(z|x̃)‖².

    Arguments:
        model: an auto-encoder with a Gaussian or polynomial posterior and a Gaussian decoder; any
            prior.
        samples: L, Monte Carlo samples per image.
        score_fraction: the share of each batch, drawn at random, on which the posterior and
            stability terms are estimated: without bias, but for batch normalisation in training,
            which sees the two parts of the batch apart. 1 is the paper's; a full step costs about
            two VAE steps, one with a quarter about 1.3.
        variant: "exact", or "reference" for what the authors' published code computes. There
            (a) log q(z(x)|x) is differentiated through the reparameterised z as well, the mean's
            path cancels and the stability term becomes ½ ‖∇_x Σ_j log σ_j(x)‖², without a
            gradient to μ; (b) ∇_z log p(x|z) is a constant, so that the posterior term does not
            train the decoder. For Gaussian posteriors only.
        noise: the most noise, in squared pixel units. Each image's variance is v = noise · u⁸ with
            u ~ U(0, 1) drawn anew at each call: half of the images get less than 1/256 of the
            most, so that one encoder serves clean and noisy images. 0: the paper's objective,
            eq. (10).
        standardize_prior: whether a polynomial prior follows the latents, as a training should
            have it: in training mode, before each call's scores (see `PolynomialPrior.follow`).
            Off, a call changes nothing, as in the paper.

    Raises:
        InputError: if the posterior has no density, the decoder is not Gaussian, or an argument is
            out of range.

    References:
        Elkhalil, Hasan, Ding, Farsiu and Tarokh (2021), Fisher Auto-Encoders,
        https://arxiv.org/abs/2007.06120

    Example:
        >>> import fisherae as fae
        >>> encoder, decoder = fae.networks.mnist.encoder(8), fae.networks.mnist.decoder(8)
        >>> model = fae.Autoencoder(encoder, decoder, fae.FactorablePolynomial(8, order=5))
        >>> terms = fae.FisherObjective(model)(torch.rand(4, 1, 28, 28))
        >>> terms.total.backward()
        >>> list(terms.by_name())
        ['posterior', 'reconstruction', 'stability']
    """

    def __init__(
        self,
        model: Autoencoder,
        samples: int = 1,
        score_fraction: float = 1.0,
        variant: Variant = "exact",
        noise: float = 0.0,
        standardize_prior: bool = False,
    ):
        super().__init__(model)
        _check(model, samples, score_fraction, variant, noise)
        self.samples = samples
        self.score_fraction = score_fraction
        self.variant = variant
        self.noise = noise
        self.standardize_prior = standardize_prior

    def forward(self, x: Float[Tensor, "batch *event"], reduce: bool = True) -> FisherTerms:
        r"""The terms, averaged over the batch, or per image where `reduce` is off.

        Per image and with `score_fraction` below 1, the two score terms are zero for the images
        left out and weighted up for the others: their mean over the batch is unbiased.
        """
        require_images(x)
        differentiable = torch.is_grad_enabled()
        with differentiating():
            terms = self._terms(point(x).detach())
        terms = terms if differentiable else terms.detach()
        return terms.mean() if reduce else terms

    def _terms(self, x: Tensor) -> FisherTerms:
        scored = max(1, round(self.score_fraction * len(x)))
        if scored == len(x):
            return self._scored_terms(x)
        order = torch.randperm(len(x), device=x.device)
        terms = self._scored_terms(x[order[:scored]])
        reconstruction = torch.cat([terms.reconstruction, self._reconstruction(x[order[scored:]])])
        weight = len(x) / scored
        return FisherTerms(
            posterior=x.new_zeros(len(x)).index_copy(0, order[:scored], weight * terms.posterior),
            reconstruction=torch.empty_like(reconstruction).index_copy(0, order, reconstruction),
            stability=x.new_zeros(len(x)).index_copy(0, order[:scored], weight * terms.stability),
        )

    def _reconstruction(self, x: Tensor) -> Tensor:
        """Term ② alone, of images whose score terms are left out."""
        q = self._encode(self.seen(x))
        scores = [self._decode(q.rsample()).hyvarinen_score(x) for _ in range(self.samples)]
        return torch.stack(scores).mean(0)

    def _scored_terms(self, x: Tensor) -> FisherTerms:
        """All three terms, averaged over the L samples of eq. (11)."""
        seen, variance = self._noisy(x)
        q = self._encode(seen.requires_grad_())
        latents = [q.rsample() for _ in range(self.samples)]
        if self.standardize_prior and self.training:
            self.model.prior.follow(torch.cat(latents))
        draws = [self._sampled_terms(x, q, z, seen) for z in latents]
        terms = {
            name: torch.stack([draw.by_name()[name] for draw in draws]).mean(0)
            for name in draws[0].by_name()
        }
        return FisherTerms(**{**terms, "stability": (1 + variance) * terms["stability"]})

    def seen(self, x: Tensor) -> Tensor:
        return self._noisy(x)[0]

    def _noisy(self, x: Tensor) -> tuple[Tensor, Tensor | float]:
        """The images x̃ that the encoder sees, and the variance v of the noise on each."""
        return graded_noise(x, self.noise) if self.noise else (x.detach(), 0.0)

    def _sampled_terms(
        self, x: Tensor, q: DensityPosterior, z: Tensor, seen: Tensor
    ) -> FisherTerms:
        """The summand of eq. (11) for one sample z ~ q(z|x̃), per image."""
        p = self._decode(z)
        with torch.autocast(z.device.type, enabled=False):  # bfloat16 is for the networks
            of_prior = self.model.prior.score(z)
        mismatch = q.score(z) - of_prior - self._decoder_score(p, x, z)
        return FisherTerms(
            posterior=mismatch.square().sum(-1) / 2,
            reconstruction=p.hyvarinen_score(x),
            stability=self._encoder_score(q, z, seen).square().flatten(1).sum(1) / 2,
        )

    def _encode(self, x: Tensor) -> DensityPosterior:
        q = self.model.encode(x)
        assert isinstance(q, DensityPosterior)  # checked at construction
        return q

    def _decode(self, z: Tensor) -> Gaussian:
        p = self.model.decode(z)
        assert isinstance(p, Gaussian)
        return p

    def _decoder_score(self, p: Gaussian, x: Tensor, z: Tensor) -> Tensor:
        r"""∇_z log p(x|z) = J_f(z)ᵀ (x − f(z)) / s², one product through the decoder."""
        exact = self.variant == "exact"
        (gradient,) = torch.autograd.grad(
            p.log_prob(x).sum(), z, create_graph=exact, retain_graph=True
        )
        return gradient

    def _encoder_score(self, q: DensityPosterior, z: Tensor, x: Tensor) -> Tensor:
        r"""∇_x log q(z|x) at fixed z = J_μᵀ(ε/σ) + J_{log σ}ᵀ(ε² − 1) of a Gaussian, one product
        through the encoder. The reference variant lets z move with x."""
        if self.variant == "reference":
            (gradient,) = torch.autograd.grad(q.log_prob(z).sum(), x, create_graph=True)
        else:
            (gradient,) = torch.autograd.grad(
                q.parameters, x, grad_outputs=q.parameter_scores(z), create_graph=True
            )
        return gradient


def _check(
    model: Autoencoder, samples: int, score_fraction: float, variant: str, noise: float
) -> None:
    if model.posterior is Delta:
        raise InputError(
            "the Fisher objective needs a posterior with a density, 'gaussian' or 'polynomial', "
            f"got {model.posterior.__name__}"
        )
    if variant == "reference" and model.posterior is not DiagonalGaussian:
        raise InputError(
            "the reference variant is what the published code computes, for a Gaussian posterior: "
            "give variant='exact' with a polynomial one"
        )
    if not isinstance(model.likelihood, GaussianLikelihood):
        raise InputError(
            "the Fisher objective needs a decoder with a density in x, such as "
            f"likelihood='gaussian'; {type(model.likelihood).__name__} has no Hyvärinen score"
        )
    require_samples(samples)
    if not 0 < score_fraction <= 1:
        raise InputError(f"score_fraction must lie in (0, 1], got {score_fraction}")
    if variant not in ("exact", "reference"):
        raise InputError(f"variant must be 'exact' or 'reference', got {variant!r}")
    require_noise(noise)
