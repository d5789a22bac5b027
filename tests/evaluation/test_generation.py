import dataclasses
import json

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import nn

from fisherae.errors import InputError
from fisherae.evaluation.extractors import Extractor
from fisherae.evaluation.generation import (
    GenerationScore,
    fid,
    frechet_distance,
    generation_scores,
    kid,
)

PIXELS = Extractor("pixels", 16, "the pixels themselves", nn.Flatten())
FEW = "ignore:the FID of:UserWarning"


def covariance(dim: int, rank: int) -> torch.Tensor:
    factor = torch.randn(dim, rank, dtype=torch.float64)
    return factor @ factor.T


def by_scipy(
    mean1: torch.Tensor, cov1: torch.Tensor, mean2: torch.Tensor, cov2: torch.Tensor
) -> float:
    """With Σ₁^½ Σ₂ Σ₁^½, which is symmetric, in place of Σ₁Σ₂: the traces of the roots agree."""
    root = sqrtm(cov1.numpy()).real
    overlap = np.trace(sqrtm(root @ cov2.numpy() @ root).real)
    offset = float((mean1 - mean2).square().sum())
    return offset + float(cov1.trace()) + float(cov2.trace()) - 2 * overlap


@pytest.mark.parametrize("dim", [1, 5, 40])
def test_distance_of_commuting_covariances_is_the_closed_form(dim: int) -> None:
    rotation, _ = torch.linalg.qr(torch.randn(dim, dim, dtype=torch.float64))
    a, b = torch.rand(2, dim, dtype=torch.float64)
    cov1, cov2 = rotation * a @ rotation.T, rotation * b @ rotation.T
    mean1, mean2 = torch.randn(2, dim, dtype=torch.float64)
    closed_form = (mean1 - mean2).square().sum() + (a.sqrt() - b.sqrt()).square().sum()
    assert frechet_distance(mean1, cov1, mean2, cov2) == pytest.approx(closed_form.item())


@pytest.mark.parametrize("dim", [1, 2, 8, 32])
def test_distance_is_that_of_scipy_and_symmetric(dim: int) -> None:
    one = torch.randn(dim, dtype=torch.float64), covariance(dim, 2 * dim)
    two = torch.randn(dim, dtype=torch.float64), covariance(dim, 2 * dim)
    assert frechet_distance(*one, *two) == pytest.approx(by_scipy(*one, *two), rel=1e-9)
    assert frechet_distance(*one, *two) == pytest.approx(frechet_distance(*two, *one))


@pytest.mark.parametrize("ridge", [1e-4, 1e-8, 1e-12])
def test_distance_of_nearly_singular_covariances_is_that_of_scipy(ridge: float) -> None:
    floor = ridge * torch.eye(20, dtype=torch.float64)
    cov1, cov2 = covariance(20, 3) + floor, covariance(20, 4) + floor
    mean = torch.zeros(20, dtype=torch.float64)
    truth = by_scipy(mean, cov1, mean, cov2)
    assert frechet_distance(mean, cov1, mean, cov2) == pytest.approx(truth, rel=1e-6)


def test_distance_of_singular_covariances_needs_no_ridge() -> None:
    mean, cov = torch.zeros(20), covariance(20, 3)
    assert frechet_distance(mean, cov, mean, cov) == pytest.approx(0, abs=1e-12)
    # Gaussians on orthogonal axes do not overlap: only the traces are left.
    x, y = torch.diag(torch.tensor([4.0, 0.0])), torch.diag(torch.tensor([0.0, 9.0]))
    assert frechet_distance(torch.zeros(2), x, torch.zeros(2), y) == pytest.approx(13)


def test_fid_is_the_distance_of_numpy_moments() -> None:
    features, reference = torch.rand(5000, 6) + 100, torch.rand(4500, 6) ** 2 + 100
    moments = [
        torch.from_numpy(moment)
        for x in (features.double().numpy(), reference.double().numpy())
        for moment in (x.mean(0), np.cov(x.T))
    ]
    assert fid(features, reference) == pytest.approx(by_scipy(*moments), rel=1e-8)


def test_fid_of_many_gaussian_features_is_the_closed_form() -> None:
    features, reference = torch.randn(100_000, 3), 2 * torch.randn(100_000, 3) + 1
    assert fid(features, reference) == pytest.approx(3 * 1 + 3 * (2 - 1) ** 2, rel=0.02)


def test_fid_of_few_images_is_too_high_and_kid_is_not() -> None:
    fids, kids = [], []
    for _ in range(30):
        features, reference = torch.randn(2, 64, 16)
        fids.append(fid(features, reference))
        kids.append(kid(features, reference, subsets=4).mean().item())
    assert min(fids) > 1
    assert abs(np.mean(kids)) < 4 * np.std(kids) / np.sqrt(30)


def kernel(x: np.ndarray, y: np.ndarray) -> float:
    return float((x @ y / len(x) + 1) ** 3)


def test_kid_of_a_subset_is_the_double_loop() -> None:
    # A subset is at most half of the images: 4 of 8.
    features, reference = torch.randn(8, 5), torch.randn(8, 5) + 0.5
    (estimate,) = kid(features, reference, subsets=1, seed=3)
    generator = torch.Generator().manual_seed(3)
    x, y = (
        all_[torch.randperm(8, generator=generator)[:4]].double().numpy()
        for all_ in (features, reference)
    )
    pairs = [(i, j) for i in range(4) for j in range(4)]
    within = [kernel(z[i], z[j]) for z in (x, y) for i, j in pairs if i != j]
    between = [kernel(x[i], y[j]) for i, j in pairs]
    assert estimate.item() == pytest.approx(sum(within) / 12 - 2 * sum(between) / 16)


def test_mean_kid_of_gaussians_is_the_expected_value() -> None:
    # In one dimension E k(x, y) = Σ C(3, n) E xⁿ E yⁿ, with moments 0, 1, 0 and 1, 2, 4 about 0.
    features, reference = torch.randn(20_000, 1), torch.randn(20_000, 1) + 1
    own, other, both = 1 + 3, 1 + 3 + 3 * 4 + 16, 1 + 3 * 2
    estimates = kid(features, reference, subset_size=300)
    assert estimates.shape == (100,)
    assert estimates.mean().item() == pytest.approx(own + other - 2 * both, rel=0.1)


def test_subsets_are_random_and_repeat_themselves() -> None:
    features, reference = torch.randn(40, 3), torch.randn(60, 3)
    estimates = kid(features, reference)
    assert len(set(estimates.tolist())) == 100
    torch.testing.assert_close(kid(features, reference), estimates, rtol=0, atol=0)
    assert not torch.equal(kid(features, reference, seed=1), estimates)


def scores(generated: torch.Tensor, real: torch.Tensor, **options: int) -> list[GenerationScore]:
    return generation_scores(generated, real, PIXELS, **options)


@pytest.mark.filterwarnings(FEW)
def test_scores_are_the_measures_of_the_features() -> None:
    generated, real = torch.rand(50, 1, 4, 4), torch.rand(80, 1, 4, 4)
    by_fid, by_kid = scores(generated, real, seed=2)
    assert by_fid.value == fid(generated.flatten(1), real.flatten(1))
    estimates = kid(generated.flatten(1), real.flatten(1), seed=2)
    assert (by_kid.value, by_kid.std) == (estimates.mean().item(), estimates.std().item())
    assert (by_fid.metric, by_kid.metric) == ("fid[pixels]", "kid[pixels]")
    assert (by_fid.images, by_fid.reference_images, by_fid.repeats) == (50, 80, 1)
    assert (by_fid.std, by_fid.biased, by_kid.biased) == (None, True, False)
    assert by_fid.extractor == "the pixels themselves"


@pytest.mark.filterwarnings(FEW)
def test_value_and_spread_of_several_repeats() -> None:
    sets, real = torch.rand(3, 40, 1, 4, 4), torch.rand(60, 1, 4, 4)
    singles = [scores(generated, real)[0].value for generated in sets]
    by_fid, by_kid = generation_scores((generated for generated in sets), real, PIXELS)
    assert by_fid.value == pytest.approx(np.mean(singles))
    assert by_fid.std == pytest.approx(np.std(singles, ddof=1))
    assert by_fid.repeats == by_kid.repeats == 3


@pytest.mark.filterwarnings(FEW)
def test_floor_is_near_zero_and_noise_goes_up_from_there() -> None:
    real = torch.rand(1600, 1, 4, 4) * 0.5 + 0.25
    results = [
        scores((real[:800] + sigma * torch.randn(800, 1, 4, 4)).clamp(0, 1), real)
        for sigma in (0.4, 0.6, 0.8)
    ]
    for series in zip(*results, strict=True):
        floor, values = series[0].floor, [score.value for score in series]
        assert abs(floor) < 5e-3
        assert floor < values[0] < values[1] < values[2]


@pytest.mark.filterwarnings(FEW)
def test_batch_size_does_not_matter() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    extractor = Extractor("conv", 16, "random", network)
    generated, real = torch.rand(50, 1, 4, 4), torch.rand(80, 1, 4, 4)
    results = [
        generation_scores(generated, real, extractor, batch_size=size) for size in (7, 50, 512)
    ]
    for result in results[1:]:
        assert [s.value for s in result] == pytest.approx([s.value for s in results[0]], rel=1e-4)
    assert all(module.training for module in network)


@pytest.mark.parametrize(("generated", "real"), [(2047, 2048), (10, 2048), (2048, 10)])
def test_below_2048_images_of_either_kind_the_fid_is_said_to_be_biased(
    generated: int, real: int
) -> None:
    with pytest.warns(UserWarning, match=rf"FID of {generated} images against {real} is biased"):
        by_fid, by_kid = scores(torch.rand(generated, 1, 4, 4), torch.rand(real, 1, 4, 4))
    assert (by_fid.biased, by_kid.biased) == (True, False)


def test_from_2048_images_on_nothing_is_said() -> None:
    assert not scores(torch.rand(2048, 1, 4, 4), torch.rand(2048, 1, 4, 4))[0].biased


@pytest.mark.filterwarnings(FEW)
def test_scores_are_ready_for_json() -> None:
    for score in scores(torch.rand(20, 1, 4, 4), torch.rand(20, 1, 4, 4)):
        assert json.loads(json.dumps(dataclasses.asdict(score))) == dataclasses.asdict(score)


IMAGES = torch.full((10, 1, 4, 4), 0.5)


@pytest.mark.parametrize(
    ("generated", "real", "message"),
    [
        (IMAGES[:3], IMAGES, "3 generated and 10 real images are too few"),
        (IMAGES, IMAGES[:7], "10 generated and 7 real images are too few"),
        (IMAGES[:0], IMAGES, "N ≥ 1"),
        ([], IMAGES, r"sizes \[\]"),
        ([IMAGES, IMAGES[:9]], IMAGES, r"sizes \[10, 9\]"),
        (IMAGES[0], IMAGES, "generated images have shape"),
        (IMAGES[..., :3], IMAGES, r"shape \(1, 4, 3\), real ones \(1, 4, 4\)"),
        (IMAGES * torch.nan, IMAGES, r"pixels lie in \[nan, nan\]"),
        (IMAGES * torch.inf, IMAGES, r"pixels lie in \[inf, inf\]"),
        (IMAGES * 2 - 2, IMAGES, r"pixels lie in \[-1, -1\]"),
        (IMAGES, IMAGES * 255, r"pixels lie in \[127.5, 127.5\]"),
    ],
)
def test_images_that_cannot_be_compared_are_named(
    generated: torch.Tensor | list[torch.Tensor], real: torch.Tensor, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        generation_scores(generated, real, PIXELS)


def test_features_and_moments_that_do_not_fit_are_named() -> None:
    x, mean, cov = torch.zeros(5, 3), torch.zeros(3), torch.eye(3)
    with pytest.raises(InputError, match="the same dim"):
        fid(x, torch.zeros(5, 2))
    with pytest.raises(InputError, match="at least 2 images"):
        fid(x[:1], x)
    with pytest.raises(InputError, match="at least 4 images"):
        kid(x, x[:3])
    with pytest.raises(InputError, match="subsets 0, subset_size 1000"):
        kid(x, x, subsets=0)
    with pytest.raises(InputError, match=r"give \(dim,\) and \(dim, dim\)"):
        frechet_distance(mean, cov, torch.zeros(2), torch.eye(2))
