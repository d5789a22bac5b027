import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fisherae.data.corruptions import Corruption, GaussianNoise, Mask
from fisherae.errors import InputError

CORRUPTIONS = [GaussianNoise(0.3), Mask(0.4)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda c: c.name)
def test_contract(corruption: Corruption) -> None:
    x = torch.rand(5, 3, 6, 7, dtype=torch.float64)
    clean = x.clone()
    once, again = corruption(x, generator()), corruption(x, generator())
    assert torch.equal(once, again)
    assert not torch.equal(once, corruption(x, generator(1)))
    assert torch.equal(x, clean)
    assert (once.shape, once.dtype) == (x.shape, x.dtype)
    assert isinstance(corruption.label, str)


@pytest.mark.parametrize("corruption", [GaussianNoise(0.0), Mask(0.0)], ids=lambda c: c.name)
def test_level_zero_changes_nothing(corruption: Corruption) -> None:
    x = torch.rand(4, 1, 5, 5)
    assert corruption.level == 0
    assert torch.equal(corruption(x), x)


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda c: c.name)
def test_lower_precision_sees_the_same_random_numbers(corruption: Corruption) -> None:
    x = torch.rand(4, 1, 5, 5)
    half = corruption(x.bfloat16(), generator()).float()
    torch.testing.assert_close(half, corruption(x, generator()), atol=0.02, rtol=0.02)


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda c: c.name)
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


@pytest.mark.parametrize("variance", [-0.1, math.inf, math.nan])
def test_bad_variance(variance: float) -> None:
    with pytest.raises(InputError, match="variance"):
        GaussianNoise(variance)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, math.nan])
def test_bad_fraction(fraction: float) -> None:
    with pytest.raises(InputError, match="fraction"):
        Mask(fraction)
