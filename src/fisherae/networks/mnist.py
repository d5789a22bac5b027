"""The networks of the paper for MNIST: Tables 2 and 3.

Source: Elkhalil, Hasan, Ding, Farsiu, Tarokh, *Fisher Auto-Encoders*, 2021,
https://arxiv.org/abs/2007.06120, supplementary material. The tables' `Conv(n_in, n_out, k, s, p)`
and `ConvT(n_in, n_out, k, s, p)` have the argument order of PyTorch.
"""

from torch import nn

from fisherae.networks import layers, mlp
from fisherae.networks.registry import Network, register
from fisherae.networks.twice import Conv2d, ConvTranspose2d

__all__ = ["decoder", "discriminator", "encoder"]


@register("mnist.encoder")
def encoder(
    dim: int = 8,
    outputs_per_dim: int = 2,
    normalization: str = "batch",
    activation: str = "leaky_relu",
) -> Network:
    """Encoder of Table 2, (batch, 1, 28, 28) -> (batch, outputs_per_dim * dim).

    Its maps have sides 28, 15, 9, 6, 3, 1. With `outputs_per_dim=1` it is the encoder of
    Table 3, which prints stride 1 where Table 2 prints stride 2 in the last convolution: a
    kernel of side 3 has one position on a 3x3 map, so both are the same function.

    Arguments:
        dim: number d of latent dimensions.
        outputs_per_dim: 2 for a Gaussian posterior (mean, log variance), 1 for a deterministic one,
            K for a polynomial one of order K.
        normalization: A name of `normalization`.
        activation: A name of `activations`.

    Raises:
        InputError: When a size is not a positive integer or a name is not known.

    Example:
        >>> import torch
        >>> encoder(dim=8)(torch.rand(5, 1, 28, 28)).shape
        torch.Size([5, 16])
    """
    norm = layers.normalization(normalization)
    first, second, third, fourth = layers.activations(activation, 4)
    return Network(
        layers.InputSize(1, 28, 28),
        Conv2d(1, 64, 3, 2, 2),
        first(),
        Conv2d(64, 128, 3, 2, 2),
        norm(128),
        second(),
        Conv2d(128, 256, 3, 2, 2),
        norm(256),
        third(),
        Conv2d(256, 512, 3, 2, 1),
        norm(512),
        fourth(),
        Conv2d(512, outputs_per_dim * dim, 3, 2, 0),
        nn.Flatten(),
    )


@register("mnist.decoder")
def decoder(dim: int = 8, normalization: str = "batch", activation: str = "relu") -> Network:
    """Decoder of Table 2 and generator of Table 3, (batch, dim) -> (batch, 1, 28, 28) in (0, 1).

    Its maps have sides 1, 3, 5, 11, 13, 28.

    Arguments:
        dim: number d of latent dimensions.
        normalization: A name of `normalization`.
        activation: A name of `activation`.

    Raises:
        InputError: When `dim` is not a positive integer or a name is not known.

    Example:
        >>> import torch
        >>> decoder(dim=8)(torch.randn(5, 8)).shape
        torch.Size([5, 1, 28, 28])
    """
    norm, act = layers.normalization(normalization), layers.activation(activation)
    return Network(
        layers.InputSize(dim),
        nn.Unflatten(1, (dim, 1, 1)),
        ConvTranspose2d(dim, 512, 5, 1, 1),
        norm(512),
        act(),
        ConvTranspose2d(512, 256, 5, 1, 1),
        norm(256),
        act(),
        ConvTranspose2d(256, 128, 5, 2, 1),
        norm(128),
        act(),
        ConvTranspose2d(128, 64, 5, 1, 1),
        norm(64),
        act(),
        ConvTranspose2d(64, 1, 4, 2, 0),
        layers.output("sigmoid")(),
    )


@register("mnist.discriminator")
def discriminator(dim: int = 8) -> Network:
    """Discriminator of Table 3, (batch, dim) -> **logits** (batch,), without the sigmoid.

    Arguments:
        dim: number d of latent dimensions.

    Raises:
        InputError: When `dim` is not a positive integer.

    Example:
        >>> import torch
        >>> discriminator(dim=8)(torch.randn(5, 8)).shape
        torch.Size([5])
    """
    return mlp.discriminator(dim, hidden=(256,))
