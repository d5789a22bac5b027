r"""How close generated images are to real ones: FID and KID (Table 1)."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from fisherae.errors import InputError
from fisherae.evaluation.extractors import Extractor
from fisherae.progress import tracked

__all__ = ["GenerationScore", "features_of", "fid", "frechet_distance", "generation_scores", "kid"]

ENOUGH_IMAGES = 2_048


@dataclass(frozen=True)
class GenerationScore:
    r"""One distance between generated and real images; the smaller, the better.

    Attributes:
        metric: with the extractor's name, e.g. "fid[mnist-cnn]"; values of different extractors
            do not compare.
        value: mean over the repeats.
        std: standard deviation: of the FID over the repeats, None for a single one; of the KID
            over the subsets of all repeats.
        floor: the same distance between two disjoint random parts of the real images; one of
            them has `images` images, or half of the real ones where that is less.
        images: generated, in each repeat.
        reference_images: real.
        repeats: how many times images were generated.
        extractor: what the features are.
        biased: whether this is an FID of fewer than 2,048 images, which is too high and compares
            at equal numbers of images only.
    """

    metric: str
    value: float
    std: float | None
    floor: float
    images: int
    reference_images: int
    repeats: int
    extractor: str
    biased: bool


def generation_scores(
    generated: Float[Tensor, "images channels height width"] | Iterable[Tensor],
    real: Float[Tensor, "reference channels height width"],
    extractor: Extractor,
    seed: int = 0,
    batch_size: int = 64,
    progress: bool = False,
    reference: Float[Tensor, "reference dim"] | None = None,
) -> list[GenerationScore]:
    r"""FID and KID of generated images, beside the floor that real images reach.

    Arguments:
        generated: images in [0, 1], or several such sets of one size, a set for each repeat. Of
            sets that are made one by one (by a generator), only the features are kept.
        real: images in [0, 1] that the model has not seen.
        extractor: of the features, see `fisherae.evaluation.extractors`.
        seed: of the parts for the floor, and of the subsets for the KID.
        batch_size: images per forward pass.
        progress: show a progress bar.
        reference: `features_of` the real images, where they are known from before.

    Raises:
        InputError: fewer than 4 generated or 8 real images, sets of different sizes, images of
            different shapes, or such as the extractor does not take.

    Warns:
        UserWarning: below 2,048 images, because the FID is biased.

    Example:
        >>> from torch import nn
        >>> pixels = Extractor("pixels", 4, "the pixels themselves", nn.Flatten())
        >>> black, grey = torch.zeros(2048, 1, 2, 2), torch.full((2048, 1, 2, 2), 0.5)
        >>> for score in generation_scores(black, grey, pixels):
        ...     print(score.metric, score.value, score.floor)  # 4 · 0.5²; (1 + ¼)³ − 1
        fid[pixels] 1.0 0.0
        kid[pixels] 0.953125 0.0
    """
    sets = [generated] if isinstance(generated, Tensor) else generated
    fakes = [features_of(_like(x, real), extractor, batch_size, progress) for x in sets]
    if reference is None:
        reference = features_of(real, extractor, batch_size, progress)
    images = _size(fakes, reference)
    order = torch.randperm(len(reference), generator=Generator().manual_seed(seed))
    part, rest = reference[order].tensor_split([min(images, len(reference) // 2)])
    values, floors = _distances(fakes, reference, seed), _distances([part], rest, seed)
    biased = min(images, len(reference)) < ENOUGH_IMAGES
    if biased:
        warnings.warn(
            f"the FID of {images} images against {len(reference)} is biased upwards: compare it "
            f"at equal numbers only, give {ENOUGH_IMAGES} or more of both, or use the KID",
            stacklevel=2,
        )
    return [
        GenerationScore(
            metric=f"{name}[{extractor.name}]",
            value=value.mean().item(),
            std=value.std().item() if len(value) > 1 else None,
            floor=floors[name].mean().item(),
            images=images,
            reference_images=len(reference),
            repeats=len(fakes),
            extractor=extractor.description,
            biased=biased and name == "fid",
        )
        for name, value in values.items()
    ]


def fid(features: Float[Tensor, "images dim"], reference: Float[Tensor, "reference dim"]) -> float:
    r"""Fréchet inception distance: `frechet_distance` of means and covariances, in float64.

    It is biased upwards by a term of order 1/images that depends on the model, so compare it at
    equal numbers of images; with fewer images than features the covariances are singular.

    Arguments:
        features: of generated images.
        reference: features of real images.

    Raises:
        InputError: fewer than two images, or features of different dimensions.

    References:
        Heusel et al. (2017), GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
        Equilibrium, https://arxiv.org/abs/1706.08500
        Bińkowski et al. (2018), Demystifying MMD GANs, appendix D (the bias),
        https://arxiv.org/abs/1801.01401

    Example:
        >>> fid(torch.tensor([[0.0], [2.0]]), torch.tensor([[5.0], [7.0]]))
        25.0
    """
    _require(features, reference, images=2)
    return frechet_distance(*_moments(features), *_moments(reference))


def frechet_distance(
    mean1: Float[Tensor, "dim"],
    cov1: Float[Tensor, "dim dim"],
    mean2: Float[Tensor, "dim"],
    cov2: Float[Tensor, "dim dim"],
) -> float:
    r"""Squared Fréchet (2-Wasserstein) distance of two Gaussians, computed in float64.

        d² = ‖μ₁ − μ₂‖² + tr Σ₁ + tr Σ₂ − 2 tr (Σ₁Σ₂)^½

    With Σᵢ = AᵢAᵢᵀ, the last trace is the sum of the singular values of A₁ᵀA₂. That needs no root
    of a matrix that is not symmetric, and holds for singular covariances too.

    Raises:
        InputError: the sizes do not fit each other.

    References:
        Dowson, Landau (1982), The Fréchet distance between multivariate normal distributions,
        https://doi.org/10.1016/0047-259X(82)90077-X

    Example:
        >>> mean, cov = torch.zeros(2), torch.eye(2)
        >>> round(frechet_distance(mean, cov, mean + 3, 4 * cov), 9)  # 2 · 3² + 2 · (2 − 1)²
        20.0
    """
    sizes = [tuple(given.shape) for given in (mean1, cov1, mean2, cov2)]
    dim = mean1.numel()
    if sizes != [(dim,), (dim, dim)] * 2:
        raise InputError(f"means and covariances have shapes {sizes}: give (dim,) and (dim, dim)")
    overlap = torch.linalg.svdvals(_root(cov1).T @ _root(cov2)).sum()
    offset = (mean1.double() - mean2.double()).square().sum()
    distance = offset + cov1.double().trace() + cov2.double().trace() - 2 * overlap
    return max(0.0, float(distance))  # equal Gaussians: zero up to rounding


def kid(
    features: Float[Tensor, "images dim"],
    reference: Float[Tensor, "reference dim"],
    subsets: int = 100,
    subset_size: int = 1_000,
    seed: int = 0,
) -> Float[Tensor, "subsets"]:
    r"""Kernel inception distance of random subsets, in float64; their mean is the KID.

        MMD² = Σ_{i≠j} [k(xᵢ, xⱼ) + k(yᵢ, yⱼ)] / m(m − 1) − 2 Σ_{ij} k(xᵢ, yⱼ) / m²,
        k(x, y) = (xᵀy / dim + 1)³

    It is unbiased at any number of images, and may be negative.

    Arguments:
        features: of generated images.
        reference: features of real images.
        subsets: how many pairs of subsets are drawn.
        subset_size: m, at most half of the images of either kind, so that subsets differ.
        seed: of the subsets.

    Raises:
        InputError: fewer than four images, features of different dimensions, no subset, or m < 2.

    References:
        Bińkowski et al. (2018), Demystifying MMD GANs, https://arxiv.org/abs/1801.01401

    Example:
        >>> kid(torch.randn(100, 8), torch.randn(100, 8) + 1, subsets=10).mean() > 1
        tensor(True)
    """
    _require(features, reference, images=4)
    if subsets < 1 or subset_size < 2:
        raise InputError(f"subsets {subsets}, subset_size {subset_size}: give at least 1 and 2")
    size = min(subset_size, len(features) // 2, len(reference) // 2)
    generator = Generator().manual_seed(seed)
    estimates = []
    for _ in range(subsets):
        x, y = (
            all_[torch.randperm(len(all_), generator=generator)[:size]].double()
            for all_ in (features, reference)
        )
        estimates.append(_mmd(x, y))
    return torch.stack(estimates)


def _mmd(x: Tensor, y: Tensor) -> Tensor:
    xx, yy, xy = ((a @ b.T / a.shape[1] + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    within = xx.sum() - xx.trace() + yy.sum() - yy.trace()
    return within / (len(x) * (len(x) - 1)) - 2 * xy.mean()


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and unbiased covariance in float64, without a copy of all features."""
    mean = features.mean(0, dtype=torch.float64)
    scatter = mean.new_zeros(len(mean), len(mean))
    for part in torch.split(features, 4096):
        centred = part - mean
        scatter += centred.T @ centred
    return mean, scatter / (len(features) - 1)


def _root(cov: Tensor) -> Tensor:
    """A with AAᵀ = cov."""
    values, vectors = torch.linalg.eigh(cov.double())
    root: Tensor = vectors * values.clamp(min=0).sqrt()
    return root


def features_of(
    images: Float[Tensor, "images channels height width"],
    extractor: Extractor,
    batch_size: int = 64,
    progress: bool = False,
) -> Float[Tensor, "images dim"]:
    r"""The features of any number of images in [0, 1], on the CPU, batch by batch.

    Example:
        >>> from torch import nn
        >>> features_of(torch.rand(100, 1, 2, 2), Extractor("pixels", 4, "", nn.Flatten())).shape
        torch.Size([100, 4])
    """
    batches = tracked(torch.split(images, batch_size), f"features of {extractor.name}", progress)
    return torch.cat([extractor(batch) for batch in batches])


def _like(images: Tensor, real: Tensor) -> Tensor:
    if images.shape[1:] != real.shape[1:]:
        raise InputError(
            f"generated images have shape {tuple(images.shape[1:])}, real ones "
            f"{tuple(real.shape[1:])}: give both the same"
        )
    return images


def _distances(fakes: list[Tensor], reference: Tensor, seed: int) -> dict[str, Tensor]:
    """Each measure's values: one for each repeat, or for each of its subsets."""
    return {
        "fid": torch.tensor([fid(fake, reference) for fake in fakes], dtype=torch.float64),
        "kid": torch.cat([kid(fake, reference, seed=seed) for fake in fakes]),
    }


def _size(fakes: list[Tensor], reference: Tensor) -> int:
    """How many images each generated set has."""
    sizes = [len(fake) for fake in fakes]
    if len(set(sizes)) != 1:
        raise InputError(f"the generated sets have sizes {sizes}: give one or more of one size")
    if sizes[0] < 4 or len(reference) < 8:
        raise InputError(
            f"{sizes[0]} generated and {len(reference)} real images are too few: give at least "
            f"4 and 8, or {ENOUGH_IMAGES} for an FID with little bias"
        )
    return sizes[0]


def _require(features: Tensor, reference: Tensor, images: int) -> None:
    if features.shape[1:] != reference.shape[1:] or min(len(features), len(reference)) < images:
        raise InputError(
            f"features have shapes {tuple(features.shape)} and {tuple(reference.shape)}: give "
            f"(images, dim) with the same dim and at least {images} images in each"
        )
