"""A light convolutional pair for small images, from 8x8 to about 32x32.

Smooth and without normalisation by default, as suits the Fisher objective: the stability term
differentiates the encoder twice, image by image.
"""

from collections.abc import Sequence

from torch import nn

from fisherae.errors import InputError
from fisherae.networks import layers
from fisherae.networks.registry import Network, register
from fisherae.networks.twice import Conv2d, ConvTranspose2d

__all__ = ["decoder", "encoder"]


@register("small.encoder")
def encoder(
    shape: Sequence[int],
    dim: int,
    outputs_per_dim: int = 2,
    normalization: str = "none",
    activation: str = "silu",
) -> Network:
    """Two convolutions and a hidden layer, (batch, *shape) -> (batch, outputs_per_dim * dim).

    Arguments:
        shape: The shape of one image, (channels, height, width); sides divisible by 4.
        dim: number d of latent dimensions.
        outputs_per_dim: 2 for a Gaussian posterior (mean, log variance), 1 for a deterministic one,
            K for a polynomial one of order K.
        normalization: A name of `normalization`, used after the
            convolutions.
        activation: A name of `activations`.

    Raises:
        InputError: When a side is not divisible by 4, a size is not a positive integer or a name
            is not known.

    Example:
        >>> import torch
        >>> encoder((1, 8, 8), dim=4)(torch.rand(5, 1, 8, 8)).shape
        torch.Size([5, 8])
    """
    channels, rows, columns = _quarter(shape)
    norm = layers.normalization(normalization)
    first, second, third = layers.activations(activation, 3)
    return Network(
        layers.InputSize(*shape),
        Conv2d(channels, 32, 4, 2, 1),
        norm(32),
        first(),
        Conv2d(32, 64, 4, 2, 1),
        norm(64),
        second(),
        nn.Flatten(),
        nn.Linear(64 * rows * columns, 256),
        third(),
        nn.Linear(256, outputs_per_dim * dim),
    )


@register("small.decoder")
def decoder(
    shape: Sequence[int],
    dim: int,
    normalization: str = "none",
    activation: str = "silu",
    output: str = "sigmoid",
) -> Network:
    """The encoder backwards, (batch, dim) -> (batch, *shape).

    Arguments:
        shape: The shape of one image, (channels, height, width); sides divisible by 4.
        dim: number d of latent dimensions.
        normalization: A name of `normalization`, used between the
            convolutions.
        activation: A name of `activation`.
        output: `sigmoid` for pixels in (0, 1), `tanh` in (-1, 1), `linear` without limits.

    Raises:
        InputError: When a side is not divisible by 4, `dim` is not a positive integer or a name
            is not known.

    Example:
        >>> import torch
        >>> decoder((1, 8, 8), dim=4)(torch.randn(5, 4)).shape
        torch.Size([5, 1, 8, 8])
    """
    channels, rows, columns = _quarter(shape)
    norm, act = layers.normalization(normalization), layers.activation(activation)
    return Network(
        layers.InputSize(dim),
        nn.Linear(dim, 256),
        act(),
        nn.Linear(256, 64 * rows * columns),
        act(),
        nn.Unflatten(1, (64, rows, columns)),
        ConvTranspose2d(64, 32, 4, 2, 1),
        norm(32),
        act(),
        ConvTranspose2d(32, channels, 4, 2, 1),
        layers.output(output)(),
    )


def _quarter(shape: Sequence[int]) -> tuple[int, int, int]:
    """(channels, height / 4, width / 4)."""
    if len(shape) != 3 or shape[1] % 4 or shape[2] % 4:
        raise InputError(
            "shape must be (channels, height, width) with height and width divisible by 4, got "
            f"{tuple(shape)}: pad or crop the images, or use an mlp network."
        )
    channels, height, width = shape
    return channels, height // 4, width // 4
