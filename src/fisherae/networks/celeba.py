"""The networks of the paper for CelebA, 64x64: Tables 4 and 5.

The tables contradict themselves in four places; the docstrings say what was chosen, and why.
Source: Elkhalil, Hasan, Ding, Farsiu, Tarokh, *Fisher Auto-Encoders*, 2021,
https://arxiv.org/abs/2007.06120, supplementary material.
"""

from torch import nn

from fisherae.networks import layers, mlp
from fisherae.networks.registry import Network, register
from fisherae.networks.twice import Conv2d

__all__ = ["decoder", "discriminator", "encoder"]

FLAT_START = 0.1


@register("celeba.encoder")
def encoder(
    dim: int = 64,
    outputs_per_dim: int = 2,
    normalization: str = "batch",
    activation: str = "leaky_relu",
) -> Network:
    """Encoder of Table 4, (batch, 3, 64, 64) -> (batch, outputs_per_dim * dim).

    With `outputs_per_dim=1` it is the encoder of Table 5. Where the tables contradict
    themselves:

    - They print three poolings, but FC(8192, 64): 8192 = 512·4·4 needs a **fourth AvgPool**,
      after the last convolution.
    - They print one FC(8192, 64), but a Gaussian posterior has two heads, mean and log variance:
      they are the two halves of one **FC(8192, 2·dim)**.

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
        >>> encoder(dim=64)(torch.rand(2, 3, 64, 64)).shape
        torch.Size([2, 128])
    """
    norm = layers.normalization(normalization)
    first, second, third, fourth = layers.activations(activation, 4)
    return Network(
        layers.InputSize(3, 64, 64),
        Conv2d(3, 64, 5, 1, 2),
        first(),
        nn.AvgPool2d(2, 2, 0),
        Conv2d(64, 128, 5, 1, 2),
        norm(128),
        second(),
        nn.AvgPool2d(2, 2, 0),
        Conv2d(128, 256, 5, 1, 2),
        norm(256),
        third(),
        nn.AvgPool2d(2, 2, 0),
        Conv2d(256, 512, 5, 1, 2),
        norm(512),
        fourth(),
        nn.AvgPool2d(2, 2, 0),
        nn.Flatten(),
        nn.Linear(8192, outputs_per_dim * dim),
    )


@register("celeba.decoder")
def decoder(dim: int = 64, normalization: str = "batch", activation: str = "relu") -> Network:
    """Decoder of Table 4 and generator of Table 5, (batch, dim) -> (batch, 3, 64, 64) in (-1, 1).

    The tables print five bilinear interpolations (BiI) from 1x1 and an output of 64x64, but five
    doublings reach only 32: the **first interpolation goes to 4x4**, the others double, and the
    maps have sides 1, 4, 8, 16, 32, 64.

    Of the initial weights the tables say nothing. Here the last convolution begins at a tenth of
    PyTorch's, so that the images hardly depend on z at first: the posterior term grows with the
    square of that dependence, summed over 12,288 pixels, and would drive σ to infinity.

    Arguments:
        dim: number d of latent dimensions.
        normalization: A name of `normalization`.
        activation: A name of `activation`.

    Raises:
        InputError: When `dim` is not a positive integer or a name is not known.

    Example:
        >>> import torch
        >>> decoder(dim=64)(torch.randn(2, 64)).shape
        torch.Size([2, 3, 64, 64])
    """
    norm, act = layers.normalization(normalization), layers.activation(activation)
    last = Conv2d(64, 3, 5, 1, 2)
    last.weight.data.mul_(FLAT_START)
    return Network(
        layers.InputSize(dim),
        nn.Unflatten(1, (dim, 1, 1)),
        nn.Upsample(scale_factor=4, mode="bilinear"),
        Conv2d(dim, 512, 5, 1, 2),
        norm(512),
        act(),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        Conv2d(512, 256, 5, 1, 2),
        norm(256),
        act(),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        Conv2d(256, 128, 5, 1, 2),
        norm(128),
        act(),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        Conv2d(128, 64, 5, 1, 2),
        norm(64),
        act(),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        last,
        layers.output("tanh")(),
    )


@register("celeba.discriminator")
def discriminator(dim: int = 64) -> Network:
    """Discriminator of Table 5, (batch, dim) -> **logits** (batch,), without the sigmoid.

    The table prints the input size of MNIST, 8; the latents of CelebA are 64.

    Arguments:
        dim: number d of latent dimensions.

    Raises:
        InputError: When `dim` is not a positive integer.

    Example:
        >>> import torch
        >>> discriminator(dim=64)(torch.randn(5, 64)).shape
        torch.Size([5])
    """
    return mlp.discriminator(dim, hidden=(256,))
