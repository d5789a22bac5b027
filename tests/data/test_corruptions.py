import math
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, stats
from sklearn.datasets import load_digits

from fisherae.data.config import CorruptionName
from fisherae.data.corruptions import (
    CORRUPTIONS,
    LEVELS,
    SUITE,
    Blur,
    Contrast,
    Corruption,
    GaussianNoise,
    Mask,
    Occlusion,
    SaltAndPepper,
    corruption_levels,
)
from fisherae.errors import InputError

OLD = [GaussianNoise(0.3), Mask(0.4), SaltAndPepper(0.4, (-1.0, 1.0)), Occlusion(0.3)]
OLD += [Blur(1.2), Contrast(0.4)]
ALL = [*OLD, *(corruption_levels(name)[1] for name in SUITE if name != "salt-and-pepper")]
DETERMINISTIC = {"blur", "contrast", "scale", "brightness", "canny-edges"}
ZERO = [corruption_levels(name, [0.0])[0] for name in CORRUPTIONS]


def each(corruptions: list[Corruption]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("corruption", corruptions, ids=lambda c: c.name)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@each(ALL)
def test_contract(corruption: Corruption) -> None:
    x = torch.rand(5, 3, 6, 7, dtype=torch.float64)
    clean = x.clone()
    once, again = corruption(x, generator()), corruption(x, generator())
    assert torch.equal(once, again)
    assert torch.equal(once, corruption(x, generator(1))) == (corruption.name in DETERMINISTIC)
    assert torch.equal(x, clean)
    assert not torch.equal(once, x)
    assert (once.shape, once.dtype) == (x.shape, x.dtype)
    assert isinstance(corruption.label, str)


@each(ALL)
def test_an_image_does_not_depend_on_the_others(corruption: Corruption) -> None:
    x = torch.rand(5, 1, 6, 6)
    other = x.clone()
    other[1:] = torch.rand(4, 1, 6, 6)
    first, same = corruption(x, generator())[0], corruption(other, generator())[0]
    torch.testing.assert_close(first, same)


@each(OLD)
def test_pixels_are_not_clipped(corruption: Corruption) -> None:
    x = 100 + torch.rand(5, 1, 6, 6)
    assert corruption(x, generator()).max() > 99


KEPT = [corruption_levels(name)[index] for name in CORRUPTIONS for index in (2, -1)]


@each([corruption for corruption in KEPT if corruption.keeps_range])
@pytest.mark.parametrize("white", [0.0, 0.5, 0.99, 1.0])
def test_all_but_noise_stay_in_the_range_to_the_last_bit(
    corruption: Corruption, white: float
) -> None:
    x = (torch.rand(20, 3, 16, 16) < white).float()
    low, high = corruption(x, generator()).aminmax()
    assert 0 <= low <= high <= 1


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_which_leave_the_range(name: str) -> None:
    keeps = name not in ("noise", "shot-noise")
    assert CORRUPTIONS[name].keeps_range == keeps
    if not keeps:
        assert corruption_levels(name)[-1](torch.ones(5, 1, 8, 8), generator()).max() > 1


@each(ZERO)
def test_level_zero_changes_nothing(corruption: Corruption) -> None:
    x = torch.rand(4, 1, 5, 5)
    assert corruption.level == 0
    once = corruption(x)
    assert torch.equal(once, x)
    assert once.data_ptr() != x.data_ptr()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_standard_levels_grow_from_nothing_and_do_more_and_more(name: str) -> None:
    corruptions = corruption_levels(name)
    assert [corruption.level for corruption in corruptions] == list(LEVELS[name])
    assert LEVELS[name][0] == 0
    x = torch.from_numpy(load_digits().images[:200, None]) / 16
    done = [(corruption(x, generator()) - x).square().mean().item() for corruption in corruptions]
    assert done == sorted(set(done))


@each(ALL)
def test_lower_precision_sees_the_same_random_numbers(corruption: Corruption) -> None:
    x = torch.rand(4, 1, 5, 5)
    half = corruption(x.bfloat16(), generator()).float()
    torch.testing.assert_close(half, corruption(x, generator()), atol=0.02, rtol=0.02)


@each(ALL)
def test_whole_numbers_are_refused(corruption: Corruption) -> None:
    with pytest.raises(InputError, match="uint8"):
        corruption(torch.zeros(2, 1, 4, 4, dtype=torch.uint8))


@pytest.mark.parametrize("variance", [0.1, 2.0])
def test_noise_is_gaussian_with_its_variance_and_not_clipped(variance: float) -> None:
    x = torch.rand(50, 1, 20, 20)
    noise = (GaussianNoise(variance)(x, generator()) - x).flatten().double()
    assert stats.kstest(noise.numpy(), "norm", args=(0, math.sqrt(variance))).pvalue > 1e-3


@given(fraction=st.floats(0, 1), shape=st.tuples(*[st.integers(1, 5)] * 4), seed=st.integers(0, 99))
def test_mask_zeroes_exactly_its_fraction(
    fraction: float, shape: tuple[int, ...], seed: int
) -> None:
    x = torch.ones(shape)
    masked = Mask(fraction)(x, generator(seed))
    expected = round(fraction * math.prod(shape[1:]))
    assert (masked == 0).flatten(1).sum(1).tolist() == [expected] * shape[0]
    assert torch.equal(masked[masked != 0], x[masked != 0])


def test_mask_hits_all_components_alike_and_images_apart() -> None:
    zeros = (Mask(0.25)(torch.ones(4000, 2, 4, 4), generator()) == 0).flatten(1)
    # Each component is masked Binomial(4000, 1/4) times: six standard deviations are 164.
    assert (zeros.sum(0) - 1000).abs().max() < 164
    assert len({tuple(row) for row in zeros.tolist()}) > 3900


@given(fraction=st.floats(0, 1), shape=st.tuples(*[st.integers(1, 5)] * 4), seed=st.integers(0, 99))
def test_salt_and_pepper_halve_exactly_their_fraction(
    fraction: float, shape: tuple[int, ...], seed: int
) -> None:
    x = torch.full(shape, 0.25)
    hit = SaltAndPepper(fraction, (-1.0, 1.0))(x, generator(seed)).flatten(1)
    expected = round(fraction * math.prod(shape[1:]))
    assert (hit == -1).sum(1).tolist() == [expected // 2] * shape[0]
    assert (hit == 1).sum(1).tolist() == [expected - expected // 2] * shape[0]
    assert ((hit == 0.25) | (hit.abs() == 1)).all()


def test_salt_and_pepper_hit_all_components_alike_and_images_apart() -> None:
    hit = SaltAndPepper(0.5)(torch.full((4000, 2, 4, 4), 0.5), generator()).flatten(1)
    for end in (0, 1):
        # Binomial(4000, 1/4) again.
        assert ((hit == end).sum(0) - 1000).abs().max() < 164
    assert len({tuple(row) for row in hit.tolist()}) > 3900


@given(fraction=st.floats(0, 1), height=st.integers(1, 9), width=st.integers(1, 9))
def test_occlusion_is_one_block_of_its_fraction_in_all_channels(
    fraction: float, height: int, width: int
) -> None:
    occluded = Occlusion(fraction)(torch.ones(20, 2, height, width), generator())
    sides = round(math.sqrt(fraction) * height), round(math.sqrt(fraction) * width)
    for image in occluded.numpy():
        np.testing.assert_array_equal(image[0], image[1])
        rows, columns = np.nonzero(image[0] == 0)
        assert len(rows) == math.prod(sides)
        if len(rows):
            assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == sides


def test_occlusion_lies_anywhere_inside_alike() -> None:
    hole = Occlusion(0.25)(torch.ones(9000, 1, 4, 4), generator())[:, 0] == 0
    corners = hole.flatten(1).float().argmax(1)
    # Nine places of a 2x2 square in 4x4 pixels, named by their upper left pixel.
    counts = corners.bincount(minlength=16).view(4, 4)[:3, :3].flatten()
    assert counts.sum() == 9000
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


@pytest.mark.parametrize("sigma", [0.05, 0.5, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 1, 28, 28), (1, 1, 5, 12), (1, 1, 1, 3)])
def test_blur_is_scipys(sigma: float, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, dtype=torch.float64)
    # scipy cuts at `truncate` standard deviations, in whole pixels.
    expected = ndimage.gaussian_filter(
        x.numpy(), (0, 0, sigma, sigma), mode="reflect", truncate=7.0
    )
    np.testing.assert_allclose(Blur(sigma)(x), expected, atol=1e-7)


@pytest.mark.parametrize("sigma", [1e-300, 100.0, 1e300])
def test_the_ends_of_blur(sigma: float) -> None:
    x = torch.randn(2, 3, 8, 8)
    expected = x if sigma < 1 else x.mean(dim=(2, 3), keepdim=True).expand_as(x)
    torch.testing.assert_close(Blur(sigma)(x), expected, atol=1e-6, rtol=0)


@given(reduction=st.floats(0, 1), seed=st.integers(0, 99))
def test_contrast_keeps_the_mean_and_shrinks_the_deviations(reduction: float, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(3, 2, 4, 5))
    mean = x.mean(axis=(1, 2, 3), keepdims=True)
    reduced = Contrast(reduction)(torch.from_numpy(x))
    np.testing.assert_allclose(reduced, mean + (1 - reduction) * (x - mean), atol=1e-12)


def test_every_name_of_the_configuration_is_a_corruption_and_has_levels() -> None:
    assert get_args(CorruptionName) == tuple(CORRUPTIONS) == tuple(LEVELS)
    assert all(len(LEVELS[name]) == 6 for name in SUITE)
    assert all(CORRUPTIONS[name].name == name for name in CORRUPTIONS)


def test_salt_and_pepper_learn_the_ends_of_the_range() -> None:
    assert corruption_levels("salt-and-pepper", [0.1, 0.2], (-1.0, 1.0)) == [
        SaltAndPepper(0.1, (-1.0, 1.0)),
        SaltAndPepper(0.2, (-1.0, 1.0)),
    ]
    assert corruption_levels("noise", (0.5,), (-1.0, 1.0)) == [GaussianNoise(0.5)]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("rain",), "unknown corruption 'rain'; known: noise, mask"),
        (("noise", []), "no levels"),
        (("noise", [0.2, 0.1, 0.2]), "give each once"),
        (("mask", [0.1, 1.5]), "masked fraction is 1.5"),
        (("salt-and-pepper", [0.1], (1.0, 0.0)), "value_range"),
    ],
)
def test_bad_levels(arguments: tuple[object, ...], match: str) -> None:
    with pytest.raises(InputError, match=match):
        corruption_levels(*arguments)  # type: ignore[arg-type]


UNBOUNDED = {
    "noise": "variance",
    "blur": "sigma",
    "shot-noise": "shot noise variance",
    "shear": "shear factor",
}


@pytest.mark.parametrize("name", UNBOUNDED)
@pytest.mark.parametrize("level", [-0.1, math.inf, math.nan])
def test_bad_scale(name: str, level: float) -> None:
    with pytest.raises(InputError, match=f"{UNBOUNDED[name]} is .* a finite number"):
        corruption_levels(name, [level])


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name not in UNBOUNDED])
@pytest.mark.parametrize("level", [-0.1, 1.1, math.nan])
def test_bad_fraction(name: str, level: float) -> None:
    level = 180 * level if name == "rotation" else level
    with pytest.raises(InputError, match=r"(is|are) .* in \[0, 1(80)?[\])]"):
        corruption_levels(name, [level])


COMPONENTS = {"noise", "mask", "salt-and-pepper", "shot-noise", "brightness", "contrast"}


@each([corruption for corruption in ALL if corruption.name not in COMPONENTS])
def test_rows_and_columns_are_needed(corruption: Corruption) -> None:
    with pytest.raises(InputError, match=r"\(2, 16\)"):
        corruption(torch.rand(2, 16))
