"""Small auto-encoders of points in the plane, many of them trained side by side.

Independent models side by side are one model: a block of two coordinates and one latent each, whose
objectives are the sums of theirs. For networks this small, that is several times faster.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from fisherae.autoencoder import Autoencoder
from fisherae.distributions import Gaussian, GaussianLikelihood
from fisherae.networks import mlp
from fisherae.priors import FactorablePolynomial, Prior, StandardNormal

__all__ = ["apart", "autoencoder", "clip_each", "side_by_side"]

HIDDEN = (64, 64)


def autoencoder(order: int = 2) -> Autoencoder:
    """One auto-encoder with one latent dimension, a decoder of learned variance, and the prior
    N(0, 1), or for an order above 2 a polynomial one."""
    return Autoencoder(
        mlp.encoder((2,), 1, hidden=HIDDEN),
        mlp.decoder((2,), 1, hidden=HIDDEN, output="linear"),
        _prior(1, order),
        GaussianLikelihood(1.0, learned=True),
    )


def side_by_side(models: Sequence[Autoencoder], order: int = 2) -> Autoencoder:
    """One model of all, from points (batch, models, 2) to latents (batch, models); a copy.

    Example:
        >>> model = side_by_side([autoencoder() for _ in range(3)])
        >>> model.encode(torch.zeros(5, 3, 2)).mean.shape
        torch.Size([5, 3])
    """
    return Autoencoder(
        _Encoder([model.encoder for model in models]),
        _Decoder([model.decoder for model in models]),
        _prior(len(models), order),
        _BlockLikelihood(len(models)),
    )


@torch.no_grad()
def apart(model: Autoencoder, order: int = 2) -> list[Autoencoder]:
    """The models of which one was made by `side_by_side`; copies."""
    variances = model.likelihood.log_variance
    assert isinstance(variances, Tensor)
    models = [autoencoder(order) for _ in variances]
    for block, (one, log_variance) in enumerate(zip(models, variances, strict=True)):
        assert isinstance(one.likelihood, GaussianLikelihood)
        one.likelihood.log_variance.copy_(log_variance)
        for layers, own in ((model.encoder, one.encoder), (model.decoder, one.decoder)):
            assert isinstance(layers, _Layers)
            for weight, bias, linear in zip(
                layers.weights, layers.biases, _linear(own), strict=True
            ):
                linear.weight.copy_(weight[block].mT)
                linear.bias.copy_(bias[block, 0])
        if isinstance(model.prior, FactorablePolynomial):
            assert isinstance(one.prior, FactorablePolynomial)
            one.prior.weight.copy_(model.prior.weight[block : block + 1])
    return models


@torch.no_grad()
def clip_each(model: Autoencoder, largest: float) -> None:
    """Clips the norm of the gradient of each block by itself."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    squares = [gradient.square().flatten(1).sum(1) for gradient in map(_rows, gradients)]
    factor = (largest / torch.stack(squares).sum(0).sqrt().clamp_min(1e-12)).clamp_max(1.0)
    for gradient in gradients:
        gradient.mul_(factor.view(-1, *[1] * (gradient.dim() - 1)))


class _Layers(nn.Module):
    """The same fully connected network many times, each with weights of its own."""

    def __init__(self, networks: Sequence[nn.Module]):
        super().__init__()
        layers = list(zip(*map(_linear, networks), strict=True))
        self.weights = nn.ParameterList(
            torch.stack([one.weight.detach().mT for one in layer]).contiguous() for layer in layers
        )
        self.biases = nn.ParameterList(
            torch.stack([one.bias.detach()[None] for one in layer]) for layer in layers
        )

    def _run(self, x: Float[Tensor, "blocks batch n"]) -> Float[Tensor, "blocks batch m"]:
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            x = x if layer == last else F.silu(x)
        return x


class _Encoder(_Layers):
    def forward(self, x: Float[Tensor, "batch blocks 2"]) -> Float[Tensor, "batch features"]:
        mean, log_variance = self._run(x.transpose(0, 1)).unbind(-1)
        return torch.cat([mean, log_variance]).mT


class _Decoder(_Layers):
    def forward(self, z: Float[Tensor, "batch blocks"]) -> Float[Tensor, "batch blocks 2"]:
        return self._run(z.mT[..., None]).transpose(0, 1)


class _BlockLikelihood(GaussianLikelihood):
    """Π_b N(x_b; f_b, s_b² I), a variance for each block, with no bound that would couple them."""

    def __init__(self, blocks: int):
        super().__init__(1.0, learned=True)
        self.log_variance = nn.Parameter(torch.zeros(blocks))

    @property
    def variance(self) -> Float[Tensor, " blocks"]:
        """s_b²."""
        return self.log_variance.exp()

    def forward(self, output: Float[Tensor, "batch blocks 2"]) -> Gaussian:
        return Gaussian(output, self.variance[:, None])


def _linear(network: nn.Module) -> list[nn.Linear]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Linear)]


def _prior(dim: int, order: int) -> Prior:
    return StandardNormal(dim) if order == 2 else FactorablePolynomial(dim, order)


def _rows(gradient: Tensor) -> Tensor:
    return gradient[:, None] if gradient.dim() == 1 else gradient
