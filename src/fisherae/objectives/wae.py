r"""The Wasserstein auto-encoder, with a GAN penalty (the paper's second baseline) or with MMD."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from fisherae.autoencoder import Autoencoder
from fisherae.errors import InputError
from fisherae.networks.layers import full_precision
from fisherae.objectives.checks import require_positive
from fisherae.objectives.terms import LossTerms, Objective
from fisherae.priors import StandardNormal

__all__ = [
    "WaeGanObjective",
    "WaeGanTerms",
    "WaeMmdObjective",
    "WaeMmdTerms",
    "squared_mmd",
]

RECONSTRUCTION_SCALE = 0.05
"""The factor of the squared error in Tolstikhin et al. (2018)."""


@dataclass(frozen=True)
class WaeGanTerms(LossTerms):
    r"""The auto-encoder's reconstruction and penalty, and the adversary's own loss.

    Each reaches its own parameters only (the adversary's none of the auto-encoder's, and the other
    way round), so that one backward pass of `total` trains both players at once.
    """

    reconstruction: Tensor
    penalty: Tensor
    adversary: Tensor


class WaeGanObjective(Objective):
    r"""0.05 ‖x − f(μ(x))‖² + λ · (−log D(z)), and the adversary's −log D(z̃) − log(1 − D(z)).

    z = μ(x) is the encoded image and z̃ a sample of the prior; D is the sigmoid of the adversary's
    logits. The penalty is the non-saturating one of the original.

    Arguments:
        model: an auto-encoder, usually with `posterior="delta"`, and the N(0, I) prior.
        discriminator: the adversary, latents (batch, dim) to logits (batch,).
        weight: λ; Tolstikhin et al. use 10 on MNIST and 1 on CelebA.

    Raises:
        InputError: if the prior is another one, or λ not positive.

    References:
        Tolstikhin, Bousquet, Gelly and Schölkopf (2018), Wasserstein Auto-Encoders,
        https://arxiv.org/abs/1711.01558

    Example:
        >>> import fisherae as fae
        >>> from fisherae.networks import mlp
        >>> encoder, decoder = mlp.encoder((64,), 2, outputs_per_dim=1), mlp.decoder((64,), 2)
        >>> wae = fae.Autoencoder(encoder, decoder, fae.StandardNormal(2), posterior="delta")
        >>> terms = fae.WaeGanObjective(wae, mlp.discriminator(2))(torch.rand(5, 64))
        >>> list(terms.by_name())
        ['reconstruction', 'penalty', 'adversary']
    """

    def __init__(self, model: Autoencoder, discriminator: nn.Module, weight: float = 10.0):
        super().__init__(model)
        _check(model, weight, "WAE-GAN")
        self.discriminator = discriminator
        self.weight = weight

    def forward(self, x: Float[Tensor, "batch *event"], reduce: bool = True) -> WaeGanTerms:
        r"""The terms, averaged over the batch, or per image where `reduce` is off."""
        z = self.model.encode(x).rsample()
        error = _squared_error(self.model, z, x)
        real = full_precision(self.discriminator(torch.randn_like(z)))
        fake = full_precision(self.discriminator(z.detach()))
        terms = WaeGanTerms(
            reconstruction=RECONSTRUCTION_SCALE * error,
            penalty=self.weight * F.softplus(-self._frozen_discriminator(z)),
            adversary=F.softplus(-real) + F.softplus(fake),
        )
        return terms.mean() if reduce else terms

    def _frozen_discriminator(self, z: Tensor) -> Tensor:
        """The adversary's logits, with a gradient to z but none to its parameters."""
        frozen = {name: p.detach() for name, p in self.discriminator.named_parameters()}
        logits: Tensor = functional_call(self.discriminator, frozen, (z,))
        return full_precision(logits)


@dataclass(frozen=True)
class WaeMmdTerms(LossTerms):
    r"""0.05 ‖x − f(z)‖², and λ MMD² of the batch's latents and the prior, each image's share."""

    reconstruction: Tensor
    penalty: Tensor


class WaeMmdObjective(Objective):
    r"""0.05 ‖x − f(μ(x))‖² + λ MMD²(q(z), p(z)), the unbiased estimate from a batch.

    The latents of the batch are compared with as many samples of N(0, I). The scale of the squared
    error and λ are those of the original.

    Arguments:
        model: an auto-encoder, usually with `posterior="delta"`, and the N(0, I) prior.
        weight: λ; Tolstikhin et al. use 10 on MNIST and 100 on CelebA.

    Raises:
        InputError: if the prior is another one, or λ not positive; in `forward` for one image,
            which has no distribution.

    References:
        Tolstikhin, Bousquet, Gelly and Schölkopf (2018), Wasserstein Auto-Encoders,
        https://arxiv.org/abs/1711.01558, Algorithm 2

    Example:
        >>> import fisherae as fae
        >>> from fisherae.networks import mlp
        >>> encoder, decoder = mlp.encoder((64,), 2, outputs_per_dim=1), mlp.decoder((64,), 2)
        >>> wae = fae.Autoencoder(encoder, decoder, fae.StandardNormal(2), posterior="delta")
        >>> terms = fae.WaeMmdObjective(wae)(torch.rand(5, 64))
        >>> list(terms.by_name())
        ['reconstruction', 'penalty']
    """

    def __init__(self, model: Autoencoder, weight: float = 10.0):
        super().__init__(model)
        _check(model, weight, "WAE-MMD")
        self.weight = weight

    def forward(self, x: Float[Tensor, "batch *event"], reduce: bool = True) -> WaeMmdTerms:
        r"""The terms, averaged over the batch, or per image where `reduce` is off. An image's share
        of the penalty depends on the whole batch."""
        if len(x) < 2:
            raise InputError(
                "WAE-MMD compares the latents of a batch with the prior, and one image has no "
                "distribution: give more images, or larger batches"
            )
        z = self.model.encode(x).rsample()
        terms = WaeMmdTerms(
            reconstruction=RECONSTRUCTION_SCALE * _squared_error(self.model, z, x),
            penalty=self.weight * squared_mmd(z, torch.randn_like(z), scale=2.0 * z.shape[1]),
        )
        return terms.mean() if reduce else terms


def squared_mmd(
    x: Float[Tensor, "n dim"], y: Float[Tensor, "n dim"], scale: float
) -> Float[Tensor, " n"]:
    r"""Summands whose mean is the unbiased estimate of MMD² of two samples of n ≥ 2:

        Σ_{i≠j} (k(x_i, x_j) + k(y_i, y_j)) / (n (n − 1)) − 2 Σ_ij k(x_i, y_j) / n²

    with the inverse multiquadratic kernel k(x, y) = C / (C + ‖x − y‖²). Unbiased, it may be
    negative.

    Arguments:
        x: one sample.
        y: the other.
        scale: C; for latents Tolstikhin et al. take 2 d, the mean squared distance of two of the
            prior's.

    References:
        Gretton, Borgwardt, Rasch, Schölkopf and Smola (2012), A Kernel Two-Sample Test,
        https://jmlr.org/papers/v13/gretton12a.html, Lemma 6

    Example:
        >>> x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [1.0]])
        >>> squared_mmd(x, y, scale=1.0)  # ½ + ½ − (1 + ½), for each
        tensor([-0.5000, -0.5000])
    """
    n = len(x)

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        # Differences, not products: no cancellation, and no gradient of a root at distance 0.
        return scale / (scale + (x[:, None] - y).square().sum(-1))

    within = (kernel(x, x) + kernel(y, y)).sum(1) - 2  # without k(x_i, x_i) = 1
    between = kernel(x, y)
    return within / (n - 1) - (between.sum(0) + between.sum(1)) / n


def _squared_error(model: Autoencoder, z: Tensor, x: Tensor) -> Tensor:
    return (x - model.decode(z).mean).square().flatten(1).sum(1)


def _check(model: Autoencoder, weight: float, whose: str) -> None:
    if not isinstance(model.prior, StandardNormal):
        raise InputError(
            f"{whose} draws from a StandardNormal prior, got {type(model.prior).__name__}"
        )
    require_positive("the penalty's weight λ", weight)
