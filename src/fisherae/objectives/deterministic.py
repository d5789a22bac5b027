r"""Auto-encoders with a deterministic encoder and no prior: plain, denoising, contractive and
regularised. To draw from one, fit a prior to its latents afterwards (`Prior.fit`)."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fisherae.autoencoder import Autoencoder
from fisherae.counts import is_count
from fisherae.distributions import Delta
from fisherae.divergences import differentiating, point
from fisherae.errors import InputError
from fisherae.objectives.checks import require_images, require_noise, require_positive
from fisherae.objectives.noise import graded_noise
from fisherae.objectives.terms import LossTerms, Objective

__all__ = [
    "ContractiveObjective",
    "ContractiveTerms",
    "DenoisingObjective",
    "DenoisingTerms",
    "RegularizedObjective",
    "RegularizedTerms",
    "squared_jacobian",
]


@dataclass(frozen=True)
class DenoisingTerms(LossTerms):
    r"""The only term: −log p(x|z), summed over pixels."""

    reconstruction: Tensor


class DenoisingObjective(Objective):
    r"""L_DAE(x) = −log p_θ(x | μ(x̃)) with x̃ = x + √v ε, ε ~ N(0, I); v = 0: the plain auto-encoder.

    The clean image is reconstructed from a corrupted one. Of a Bernoulli decoder the loss is the
    cross-entropy of the original, of a Gaussian one half the squared error over s². The original
    masks its images; Gaussian noise, here, is that of Vincent et al. (2010).

    Arguments:
        model: an auto-encoder with `posterior="delta"`; its prior has no part in the loss.
        noise: v ≥ 0, the variance of the noise, in squared pixel units.
        graded: whether that is the most, and each image's own variance is v · u⁸ with u ~ U(0, 1)
            drawn anew at each call, as in `FisherObjective`. Off: all have v, as in the original.

    Raises:
        InputError: if the encoder is not deterministic, or the variance negative or not finite.

    References:
        Vincent, Larochelle, Bengio and Manzagol (2008), Extracting and Composing Robust Features
        with Denoising Autoencoders, https://doi.org/10.1145/1390156.1390294

        Vincent et al. (2010), Stacked Denoising Autoencoders,
        https://jmlr.org/papers/v11/vincent10a.html

    Example:
        >>> import fisherae as fae
        >>> from fisherae.networks import mlp
        >>> encoder, decoder = mlp.encoder((64,), 2, outputs_per_dim=1), mlp.decoder((64,), 2)
        >>> model = fae.Autoencoder(encoder, decoder, fae.StandardNormal(2), posterior="delta")
        >>> terms = fae.DenoisingObjective(model, noise=0.25)(torch.rand(5, 64))
        >>> list(terms.by_name())
        ['reconstruction']
    """

    def __init__(self, model: Autoencoder, noise: float = 0.0, graded: bool = False):
        super().__init__(model)
        _require_deterministic(model, "a denoising auto-encoder")
        require_noise(noise)
        self.noise = noise
        self.graded = graded

    def forward(self, x: Float[Tensor, "batch *event"], reduce: bool = True) -> DenoisingTerms:
        r"""The term, averaged over the batch, or per image where `reduce` is off."""
        z = self.model.encode(self.seen(x)).mean
        terms = DenoisingTerms(-self.model.decode(z).log_prob(x))
        return terms.mean() if reduce else terms

    def seen(self, x: Tensor) -> Tensor:
        if not self.noise:
            return x
        if self.graded:
            return graded_noise(x, self.noise)[0]
        return x + math.sqrt(self.noise) * torch.randn_like(x)


@dataclass(frozen=True)
class ContractiveTerms(LossTerms):
    r"""−log p(x|z), summed over pixels, and λ ‖J_μ(x)‖²_F."""

    reconstruction: Tensor
    contraction: Tensor


class ContractiveObjective(Objective):
    r"""L_CAE(x) = −log p_θ(x | μ(x)) + λ ‖J_μ(x)‖²_F, with the Jacobian J_μ = ∂μ/∂x of the encoder.

    The norm is estimated without bias as the mean of ‖J_μᵀ v‖² over random signs v (Hutchinson),
    one product through the encoder each, or summed exactly over the d unit vectors.

    It is the Fisher objective's stability term with all σ_j = 1/√(2λ), fixed. With σ free, that
    term does not depend on the scale of z; here it does: in the original the decoder's weights are
    the encoder's, transposed; with weights of its own a decoder can make up for latents that
    shrink, which lowers the penalty without making the encoder any more stable.

    Arguments:
        model: an auto-encoder with `posterior="delta"`; its prior has no part in the loss.
        weight: λ > 0.
        probes: how many random v per image; None: the exact norm, d products.

    Raises:
        InputError: if the encoder is not deterministic, λ not positive, or there are no probes.

    References:
        Rifai, Vincent, Muller, Glorot and Bengio (2011), Contractive Auto-Encoders,
        https://icml.cc/2011/papers/455_icmlpaper.pdf, eq. (1) and section 3

    Example:
        >>> import fisherae as fae
        >>> from fisherae.networks import mlp
        >>> encoder, decoder = mlp.encoder((64,), 2, outputs_per_dim=1), mlp.decoder((64,), 2)
        >>> model = fae.Autoencoder(encoder, decoder, fae.StandardNormal(2), posterior="delta")
        >>> terms = fae.ContractiveObjective(model)(torch.rand(5, 64))
        >>> list(terms.by_name())
        ['reconstruction', 'contraction']
    """

    def __init__(self, model: Autoencoder, weight: float = 0.1, probes: int | None = 1):
        super().__init__(model)
        _require_deterministic(model, "a contractive auto-encoder")
        require_positive("the contraction's weight λ", weight)
        if probes is not None and not is_count(probes):
            raise InputError(f"probes must be at least 1, or None for the exact norm, got {probes}")
        self.weight = weight
        self.probes = probes

    def forward(self, x: Float[Tensor, "batch *event"], reduce: bool = True) -> ContractiveTerms:
        r"""The terms, averaged over the batch, or per image where `reduce` is off."""
        require_images(x)
        differentiable = torch.is_grad_enabled()
        with differentiating():
            images = point(x.detach())
            z = self.model.encode(images).mean
            contraction = self.weight * squared_jacobian(z, images, self.probes)
            terms = ContractiveTerms(-self.model.decode(z).log_prob(images.detach()), contraction)
        terms = terms if differentiable else terms.detach()
        return terms.mean() if reduce else terms


def squared_jacobian(
    z: Float[Tensor, "batch dim"], x: Float[Tensor, "batch *event"], probes: int | None = None
) -> Float[Tensor, " batch"]:
    r"""‖∂z/∂x‖²_F of each image, differentiable: Σ_j ‖Jᵀ e_j‖², or the mean of ‖Jᵀ v‖² over so many
    random signs v, which is unbiased, as E v vᵀ = I.

    Arguments:
        z: a function of x, each row of its own image.
        x: that requires a gradient.
        probes: how many v; None: the exact sum.

    Example:
        >>> x = torch.ones(1, 3, requires_grad=True)
        >>> squared_jacobian(x[:, :2] * torch.tensor([2.0, 3.0]), x).item()  # 2² + 3²
        13.0
    """
    if probes is None:
        vectors = [unit.expand_as(z) for unit in torch.eye(z.shape[1]).to(z)]
    else:
        vectors = [torch.empty_like(z).bernoulli_().mul(2).sub(1) for _ in range(probes)]
    products = [torch.autograd.grad(z, x, v, create_graph=True)[0] for v in vectors]
    squares = torch.stack([product.square().flatten(1).sum(1) for product in products])
    return squares.sum(0) if probes is None else squares.mean(0)


@dataclass(frozen=True)
class RegularizedTerms(LossTerms):
    r"""‖x − f(z)‖², β/2 ‖z‖², and λ ‖θ‖², the same for every image."""

    reconstruction: Tensor
    latent: Tensor
    decoder: Tensor


class RegularizedObjective(Objective):
    r"""L_RAE(x) = ‖x − f_θ(z)‖² + β/2 ‖z‖² + λ ‖θ‖² with z = μ(x): RAE-L2.

    θ are the parameters of the decoder. In place of the VAE's noise, they and the latents are kept
    small, and a density of the latents is fitted afterwards (ex-post density estimation).

    Arguments:
        model: an auto-encoder with `posterior="delta"`; its prior has no part in the loss.
        latent_weight: β > 0.
        decoder_weight: λ > 0.

    Raises:
        InputError: if the encoder is not deterministic, or a weight not positive.

    References:
        Ghosh, Sajjadi, Vergari, Black and Schölkopf (2020), From Variational to Deterministic
        Autoencoders, https://arxiv.org/abs/1903.12436, section 3

    Example:
        >>> import fisherae as fae
        >>> from fisherae.networks import mlp
        >>> encoder, decoder = mlp.encoder((64,), 2, outputs_per_dim=1), mlp.decoder((64,), 2)
        >>> model = fae.Autoencoder(encoder, decoder, fae.StandardNormal(2), posterior="delta")
        >>> terms = fae.RegularizedObjective(model)(torch.rand(5, 64))
        >>> list(terms.by_name())
        ['reconstruction', 'latent', 'decoder']
    """

    def __init__(
        self, model: Autoencoder, latent_weight: float = 1e-4, decoder_weight: float = 1e-7
    ):
        super().__init__(model)
        _require_deterministic(model, "a regularised auto-encoder")
        require_positive("the latents' weight β", latent_weight)
        require_positive("the decoder's weight λ", decoder_weight)
        self.latent_weight = latent_weight
        self.decoder_weight = decoder_weight

    def forward(self, x: Float[Tensor, "batch *event"], reduce: bool = True) -> RegularizedTerms:
        r"""The terms, averaged over the batch, or per image where `reduce` is off."""
        z = self.model.encode(x).mean
        parameters = torch.stack([p.square().sum() for p in self.model.decoder.parameters()])
        terms = RegularizedTerms(
            reconstruction=(x - self.model.decode(z).mean).square().flatten(1).sum(1),
            latent=self.latent_weight / 2 * z.square().sum(1),
            decoder=(self.decoder_weight * parameters.sum()).expand(len(x)),
        )
        return terms.mean() if reduce else terms


def _require_deterministic(model: Autoencoder, whose: str) -> None:
    if model.posterior is not Delta:
        raise InputError(
            f"{whose} needs a deterministic encoder, posterior='delta', "
            f"got {model.posterior.__name__}"
        )
