"""Fully connected networks, for inputs of any shape."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import nn

from fisherae.networks import layers
from fisherae.networks.registry import Network, register

__all__ = ["decoder", "discriminator", "encoder"]


@register("mlp.encoder")
def encoder(
    shape: Sequence[int],
    dim: int,
    outputs_per_dim: int = 2,
    hidden: Sequence[int] = (512, 256),
    activation: str = "silu",
    normalization: str = "none",
) -> Network:
    """Fully connected encoder, (batch, *shape) -> (batch, outputs_per_dim * dim).

    Arguments:
        shape: The shape of one input: (channels, height, width) or (features,).
        dim: number d of latent dimensions.
        outputs_per_dim: 2 for a Gaussian posterior (mean, log variance), 1 for a deterministic one,
            K for a polynomial one of order K.
        hidden: The widths of the hidden layers; empty for a linear encoder.
        activation: A name of `activations`.
        normalization: A name of `normalization`.

    Raises:
        InputError: When a size is not a positive integer or a name is not known.

    Example:
        >>> import torch
        >>> encoder((1, 28, 28), dim=8)(torch.rand(5, 1, 28, 28)).shape
        torch.Size([5, 16])
    """
    widths = (prod(shape), *hidden)
    return Network(
        layers.InputSize(*shape),
        nn.Flatten(),
        *_hidden_layers(widths, activation, normalization),
        nn.Linear(widths[-1], outputs_per_dim * dim),
    )


@register("mlp.decoder")
def decoder(
    shape: Sequence[int],
    dim: int,
    hidden: Sequence[int] = (256, 512),
    activation: str = "silu",
    output: str = "sigmoid",
) -> Network:
    """Fully connected decoder, (batch, dim) -> (batch, *shape).

    Arguments:
        shape: The shape of one output: (channels, height, width) or (features,).
        dim: number d of latent dimensions.
        hidden: The widths of the hidden layers; empty for a linear decoder.
        activation: A name of `activations`.
        output: `sigmoid` for pixels in (0, 1), `tanh` in (-1, 1), `linear` without limits.

    Raises:
        InputError: When a size is not a positive integer or a name is not known.

    Example:
        >>> import torch
        >>> decoder((1, 28, 28), dim=8)(torch.randn(5, 8)).shape
        torch.Size([5, 1, 28, 28])
    """
    widths = (dim, *hidden)
    return Network(
        layers.InputSize(dim),
        *_hidden_layers(widths, activation),
        nn.Linear(widths[-1], prod(shape)),
        layers.output(output)(),
        nn.Unflatten(1, tuple(shape)),
    )


@register("mlp.discriminator")
def discriminator(dim: int, hidden: Sequence[int] = (256,)) -> Network:
    """Fully connected discriminator of latents, (batch, dim) -> **logits** (batch,).

    Without the sigmoid, because cross-entropy on logits does not saturate.

    Arguments:
        dim: number d of latent dimensions.
        hidden: The widths of the hidden layers, each followed by a ReLU.

    Raises:
        InputError: When a size is not a positive integer.

    Example:
        >>> import torch
        >>> discriminator(dim=8)(torch.randn(5, 8)).shape
        torch.Size([5])
    """
    widths = (dim, *hidden)
    return Network(
        layers.InputSize(dim),
        *_hidden_layers(widths, "relu"),
        nn.Linear(widths[-1], 1),
        nn.Flatten(start_dim=0),
    )


def _hidden_layers(
    widths: Sequence[int], activation: str, normalization: str = "none"
) -> list[nn.Module]:
    norm = layers.normalization(normalization, spatial=False)
    acts = layers.activations(activation, len(widths) - 1)
    return [
        layer
        for (n_in, n_out), act in zip(pairwise(widths), acts, strict=True)
        for layer in (nn.Linear(n_in, n_out), norm(n_out), act())
    ]
