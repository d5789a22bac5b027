r"""Reconstruction error and latents under corrupted input (Figures 1, 3, 4, 5, 7 and 9)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from fisherae.autoencoder import Autoencoder, device_of, evaluating
from fisherae.data.corruptions import Corruption
from fisherae.errors import InputError
from fisherae.evaluation.clustering import kmeans_nmi
from fisherae.evaluation.probe import LinearProbe
from fisherae.progress import tracked

__all__ = [
    "HIGHER_IS_BETTER",
    "Measure",
    "RobustnessPoint",
    "corrupt",
    "latents_under",
    "over_runs",
    "posterior_means",
    "robustness",
]

Measure = Literal["bce", "mse", "nmi", "nmi_tsne", "probe"]
HIGHER_IS_BETTER: frozenset[Measure] = frozenset({"nmi", "nmi_tsne", "probe"})


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
        probe: accuracy of a linear probe on the posterior means, in [0, 1]; None without one.
        nmi_tsne: of k-means on their t-SNE map, in [0, 1]; None without maps.
        shift: how far the posterior means move, √(E‖μ(x̃) − μ(x)‖² / E‖μ(x) − Eμ(x)‖²): 1 is as far
            as they are from each other; None where all clean ones are equal.
    """

    level: float
    bce: float | None
    mse: float
    nmi: float | None
    images: int
    bce_std: float | None
    mse_std: float
    probe: float | None = None
    nmi_tsne: float | None = None
    shift: float | None = None


def robustness(
    model: Autoencoder,
    images: Float[Tensor, "images channels height width"],
    corruption_levels: Sequence[Corruption],
    labels: Int[Tensor, "labels"] | None = None,
    value_range: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
    batch_size: int = 512,
    probe: LinearProbe | None = None,
    maps: Sequence[Float[Tensor, "_ 2"]] | None = None,
    progress: bool = False,
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
        labels: classes, shape (images,); the NMI, the probe and the maps need them.
        value_range: (0, 1) or (-1, 1).
        seed: of the corruption and of k-means.
        batch_size: images per forward pass.
        probe: fitted to the latents of clean training images.
        maps: for each level a t-SNE map of the latents that `latents_under` gives, or of the
            first of them, as t-SNE is slow; each map of shape (mapped images, 2).
        progress: show progress bars.

    Raises:
        InputError: no images, a pixel outside `value_range`, one label too few or many, a probe
            or maps without labels, one map too few or many, or a reconstruction that is not
            finite.

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
    if labels is None and (probe is not None or maps is not None):
        raise InputError("a probe and maps need the labels: give one per image")
    if maps is not None and len(maps) != len(corruption_levels):
        raise InputError(f"{len(maps)} maps for {len(corruption_levels)} levels: give one each")
    by_level = latents_under(model, images, corruption_levels, seed, batch_size, progress)
    at_zero = (z for c, z in zip(corruption_levels, by_level, strict=True) if c.level == 0)
    clean = next(at_zero, None)
    clean = posterior_means(model, images, batch_size) if clean is None else clean
    mapped: Sequence[Tensor | None] = maps or [None] * len(by_level)
    points = []
    for corruption, latents, shown in zip(corruption_levels, by_level, mapped, strict=True):
        mse, bce = _errors(model, latents, images, batch_size, binary=value_range == (0.0, 1.0))
        points.append(
            RobustnessPoint(
                level=float(corruption.level),
                bce=None if bce is None else bce.mean().item(),
                mse=mse.mean().item(),
                images=len(images),
                bce_std=None if bce is None else bce.std(correction=0).item(),
                mse_std=mse.std(correction=0).item(),
                shift=_shift(latents, clean),
                **_by_class(latents, labels, seed, probe, shown),
            )
        )
    return points


def over_runs(
    runs: Sequence[Sequence[RobustnessPoint]], measure: Measure
) -> list[tuple[float, float | None, float | None]]:
    r"""Level, mean and standard deviation of a measure over runs (seeds) of one model.

    The standard deviation is the unbiased one, and None of a single run; the mean, too, is None
    where a run lacks the measure. Levels ascend.

    Raises:
        InputError: no runs, or runs that were measured at different levels.

    Example:
        >>> runs = [[RobustnessPoint(0.1, bce, 0.03, None, 100, 0.1, 0.1)] for bce in (0.2, 0.4)]
        >>> [(level, mean, std)] = over_runs(runs, "bce")
        >>> f"at {level}: {mean:.2f} ± {std:.2f}"
        'at 0.1: 0.30 ± 0.14'
    """
    by_level = [{point.level: getattr(point, measure) for point in run} for run in runs]
    if not by_level or any(run.keys() != by_level[0].keys() for run in by_level):
        raise InputError(f"{len(runs)} runs: give at least one, and measure all at the same levels")
    summary = []
    for level in sorted(by_level[0]):
        values = [run[level] for run in by_level]
        known = None not in values
        mean = float(np.mean(values)) if known else None
        std = float(np.std(values, ddof=1)) if known and len(values) > 1 else None
        summary.append((level, mean, std))
    return summary


def latents_under(
    model: Autoencoder,
    images: Float[Tensor, "images channels height width"],
    corruption_levels: Sequence[Corruption],
    seed: int = 0,
    batch_size: int = 512,
    progress: bool = False,
) -> list[Float[Tensor, "images dim"]]:
    r"""The posterior means that `robustness` measures: for each level those of all images.

    They depend on all images together. Cut the latents, not the images, to map fewer:

    Example:
        >>> from fisherae.data.corruptions import GaussianNoise
        >>> from fisherae.evaluation.clustering import tsne
        >>> from fisherae.networks import mlp
        >>> from fisherae.priors import StandardNormal
        >>> encoder, decoder = mlp.encoder((1, 4, 4), dim=2), mlp.decoder((1, 4, 4), dim=2)
        >>> model = Autoencoder(encoder, decoder, StandardNormal(2))
        >>> images, labels = torch.rand(20, 1, 4, 4), torch.arange(20) % 2
        >>> levels = [GaussianNoise(variance) for variance in (0.0, 0.5)]
        >>> maps = [tsne(latents[:10]) for latents in latents_under(model, images, levels)]
        >>> points = robustness(model, images, levels, labels, maps=maps)
        >>> 0 <= points[0].nmi_tsne <= 1
        True
    """
    return [
        posterior_means(model, corrupt(images, corruption, seed, index), batch_size, progress)
        for index, corruption in enumerate(corruption_levels)
    ]


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
    model: Autoencoder,
    images: Float[Tensor, "images channels height width"],
    batch_size: int = 512,
    progress: bool = False,
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
    device = device_of(model)
    with torch.no_grad(), evaluating(model):
        batches = tracked(torch.split(images, batch_size), "encoding", progress)
        return torch.cat([model.encode(batch.to(device)).mean.cpu() for batch in batches])


def _shift(latents: Tensor, clean: Tensor) -> float | None:
    """`RobustnessPoint.shift`."""
    if (clean == clean[0]).all():
        return None
    spread = (clean - clean.mean(0)).square().sum(1).mean()
    moved = (latents - clean).square().sum(1).mean()
    return (moved / spread).sqrt().item()


def _by_class(
    latents: Tensor,
    labels: Tensor | None,
    seed: int,
    probe: LinearProbe | None,
    shown: Tensor | None,
) -> dict[str, float | None]:
    """How well the latents tell the classes, as the fields of a `RobustnessPoint`."""
    if labels is None:
        return {"nmi": None}
    return {
        "nmi": kmeans_nmi(latents, labels, seed),
        "probe": None if probe is None else probe.accuracy(latents, labels),
        "nmi_tsne": None if shown is None else kmeans_nmi(shown, labels[: len(shown)], seed),
    }


def _errors(
    model: Autoencoder, latents: Tensor, images: Tensor, batch_size: int, binary: bool
) -> tuple[Tensor, Tensor | None]:
    """MSE and, of pixels in [0, 1], BCE: mean per pixel, each of shape (images,)."""
    device = device_of(model)
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
