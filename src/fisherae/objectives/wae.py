r"""The Wasserstein auto-encoder with a GAN penalty, the paper's second baseline."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from fisherae.autoencoder import Autoencoder
from fisherae.errors import InputError
from fisherae.networks.layers import full_precision
from fisherae.objectives.terms import LossTerms
from fisherae.priors import StandardNormal

__all__ = ["WaeGanObjective", "WaeGanTerms"]

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


class WaeGanObjective(nn.Module):
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
        super().__init__()
        if not isinstance(model.prior, StandardNormal):
            raise InputError(
                f"WAE-GAN draws from a StandardNormal prior, got {type(model.prior).__name__}"
            )
        if not weight > 0:
            raise InputError(f"the penalty's weight λ must be positive, got {weight}")
        self.model = model
        self.discriminator = discriminator
        self.weight = weight

    def forward(self, x: Float[Tensor, "batch *event"], reduce: bool = True) -> WaeGanTerms:
        r"""The terms, averaged over the batch, or per image where `reduce` is off."""
        z = self.model.encode(x).rsample()
        error = (x - self.model.decode(z).mean).square().flatten(1).sum(1)
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
