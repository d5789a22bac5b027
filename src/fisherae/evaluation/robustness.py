r"""Reconstruction error and clustering under corrupted input (Figures 1, 3, 5, 7 and 9)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from fisherae.autoencoder import Autoencoder, evaluating
from fisherae.data.corruptions import Corruption
from fisherae.errors import InputError
from fisherae.evaluation.clustering import kmeans_nmi

__all__ = ["RobustnessPoint", "corrupt", "posterior_means", "robustness"]


@dataclass(frozen=True)
class RobustnessPoint:
    r"""What one model does at one level of corruption; errors are against the clean images.

    Attributes:
        level: noise variance σ², or the masked fraction ν.
        bce: binary cross-entropy, mean per pixel, in nats; None unless pixels lie in [0, 1].
        mse: squared error, mean per pixel.
        nmi: of k-means on the posterior means, in [0, 1]; None without labels.
        images: how many images were measured.
        bce_std: standard deviation over the images; divided by √n, over batches of n.
        mse_std: as `bce_std`.
    """

    level: float
    bce: float | None
    mse: float
    nmi: float | None
    images: int
    bce_std: float | None
    mse_std: float


def robustness(
    model: Autoencoder,
    images: Float[Tensor, "images channels height width"],
    corruption_levels: Sequence[Corruption],
    labels: Int[Tensor, "labels"] | None = None,
    value_range: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
    batch_size: int = 512,
) -> list[RobustnessPoint]:
    r"""Reconstructs corrupted images and compares them with the clean ones, level by level.

    With x̃ = c(x) the corrupted image and x̂ = f(μ(x̃)) the decoded posterior mean, D pixels:

        MSE = ‖x − x̂‖² / D,     BCE = −Σ_i [x_i log x̂_i + (1 − x_i) log(1 − x̂_i)] / D

    with x̂ limited to [10⁻⁶, 1 − 10⁻⁶]. Every model sees the same corruption at the same seed,
    whatever the batch size.

    Arguments:
        model: the networks run in eval mode; their flags are restored afterwards.
        images: clean images in `value_range`, shape (images, channels, height, width).
        corruption_levels: e.g. `[GaussianNoise(v) for v in (0.0, 0.1, 0.5)]`. Not clipped.
        labels: classes, shape (images,); they are needed for the NMI only.
        value_range: (0, 1) or (-1, 1).
        seed: of the corruption and of k-means.
        batch_size: images per forward pass.

    Raises:
        InputError: no images, a pixel outside `value_range`, one label too few or many, or a
            reconstruction that is not finite.

    References:
        Elkhalil et al. (2021), Fisher Auto-Encoders, section 4,
        https://arxiv.org/abs/2007.06120

    Example:
        >>> from fisherae.data.corruptions import GaussianNoise
        >>> from fisherae.networks import mlp
        >>> from fisherae.priors import StandardNormal
        >>> encoder, decoder = mlp.encoder((1, 4, 4), dim=2), mlp.decoder((1, 4, 4), dim=2)
        >>> model = Autoencoder(encoder, decoder, StandardNormal(2))
        >>> levels = [GaussianNoise(variance) for variance in (0.0, 0.5)]
        >>> points = robustness(model, torch.rand(10, 1, 4, 4), levels)
        >>> [point.level for point in points]
        [0.0, 0.5]
    """
    _check(images, labels, value_range)
    points = []
    for index, corruption in enumerate(corruption_levels):
        latents = posterior_means(model, corrupt(images, corruption, seed, index), batch_size)
        mse, bce = _errors(model, latents, images, batch_size, binary=value_range == (0.0, 1.0))
        points.append(
            RobustnessPoint(
                level=float(corruption.level),
                bce=None if bce is None else bce.mean().item(),
                mse=mse.mean().item(),
                nmi=None if labels is None else kmeans_nmi(latents, labels, seed),
                images=len(images),
                bce_std=None if bce is None else bce.std(correction=0).item(),
                mse_std=mse.std(correction=0).item(),
            )
        )
    return points


def corrupt(
    images: Float[Tensor, "images channels height width"],
    corruption: Corruption,
    seed: int = 0,
    index: int = 0,
) -> Float[Tensor, "images channels height width"]:
    r"""The corrupted images that `robustness` shows to a model at its level `index`.

    Example:
        >>> from fisherae.data.corruptions import GaussianNoise
        >>> images = torch.rand(2, 1, 4, 4)
        >>> torch.equal(corrupt(images, GaussianNoise(0.1)), corrupt(images, GaussianNoise(0.1)))
        True
    """
    # The levels' streams must not overlap, which seed + index would not give across seeds.
    (state,) = np.random.SeedSequence([seed, index]).generate_state(1)
    # All images at once: drawn batch by batch, the noise would depend on the batch size.
    return corruption(images.cpu(), torch.Generator().manual_seed(int(state)))


def posterior_means(
    model: Autoencoder, images: Float[Tensor, "images channels height width"], batch_size: int = 512
) -> Float[Tensor, "images dim"]:
    r"""μ(x) of every image, on the CPU, the networks in eval mode.

    Example:
        >>> from fisherae.networks import mlp
        >>> from fisherae.priors import StandardNormal
        >>> encoder, decoder = mlp.encoder((1, 4, 4), dim=2), mlp.decoder((1, 4, 4), dim=2)
        >>> model = Autoencoder(encoder, decoder, StandardNormal(2))
        >>> posterior_means(model, torch.rand(10, 1, 4, 4), batch_size=4).shape
        torch.Size([10, 2])
    """
    device = _device(model)
    with torch.no_grad(), evaluating(model):
        batches = torch.split(images, batch_size)
        return torch.cat([model.encode(batch.to(device)).mean.cpu() for batch in batches])


def _errors(
    model: Autoencoder, latents: Tensor, images: Tensor, batch_size: int, binary: bool
) -> tuple[Tensor, Tensor | None]:
    """MSE and, of pixels in [0, 1], BCE: mean per pixel, each of shape (images,)."""
    device = _device(model)
    mse, bce = [], []
    batches = zip(torch.split(latents, batch_size), torch.split(images, batch_size), strict=True)
    with torch.no_grad(), evaluating(model):
        for z, clean in batches:
            x = clean.cpu()
            decoded = model.decode(z.to(device)).mean.to(x)
            if not decoded.isfinite().all():
                raise InputError(
                    "reconstructions are not finite: the model has diverged; take an earlier "
                    "checkpoint or train with a smaller learning rate"
                )
            mse.append((decoded - x).square().flatten(1).mean(1))
            if binary:
                probability = decoded.clamp(1e-6, 1 - 1e-6)
                entropy = F.binary_cross_entropy(probability, x, reduction="none")
                bce.append(entropy.flatten(1).mean(1))
    return torch.cat(mse).double(), torch.cat(bce).double() if binary else None


def _device(model: nn.Module) -> torch.device:
    tensors = chain(model.parameters(), model.buffers())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


def _check(images: Tensor, labels: Tensor | None, value_range: tuple[float, float]) -> None:
    if len(images) == 0:
        raise InputError("there are no images to evaluate: give at least one")
    if labels is not None and len(labels) != len(images):
        raise InputError(
            f"{len(labels)} labels for {len(images)} images: give one label per image, or none"
        )
    low, high = images.min().item(), images.max().item()
    if not value_range[0] <= low <= high <= value_range[1]:
        raise InputError(
            f"pixels lie in [{low:g}, {high:g}], outside value_range {value_range}: "
            "scale the images to it, or name the range they have"
        )
