import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from fisherae.data.contamination import AT_ONCE, contaminate
from fisherae.data.corruptions import Contrast, GaussianNoise, Mask
from fisherae.data.images import random_subset
from fisherae.errors import InputError

RANGES = [(0.0, 1.0), (-1.0, 1.0)]


def pictures(n: int) -> Tensor:
    """n random images without a zero in either range."""
    generator = torch.Generator().manual_seed(7)
    return torch.randint(1, 255, (n, 1, 4, 5), generator=generator, dtype=torch.uint8)


def changed(contaminated: Tensor, images: Tensor) -> np.ndarray:
    clean = images.numpy().astype(np.float32) / 255
    return np.abs(contaminated.numpy() - clean).max(axis=(1, 2, 3)) > 1e-6


@pytest.mark.parametrize("value_range", RANGES)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.37, 1.0])
def test_exactly_a_share_is_corrupted_and_the_rest_is_clean(
    share: float, value_range: tuple[float, float]
) -> None:
    images = pictures(300)
    low, high = value_range
    x = contaminate(images, Mask(0.4), share, value_range, seed=3)
    assert (x.dtype, x.shape) == (torch.float32, images.shape)
    clean = low + (high - low) * images.numpy() / 255
    masked = (x.numpy() == 0).sum(axis=(1, 2, 3))
    assert sorted(masked) == [0] * (300 - round(share * 300)) + [8] * round(share * 300)
    np.testing.assert_allclose(x.numpy(), np.where(x.numpy() == 0, 0, clean), atol=1e-6)


def test_the_level_is_honoured_by_every_image_alike() -> None:
    """More images than are corrupted at once: the noise of the portions is independent."""
    images = pictures(2 * AT_ONCE + 50)
    x = contaminate(images, GaussianNoise(0.3))
    noise = (x.numpy().astype(np.float64) - images.numpy() / 255) / np.sqrt(0.3)
    assert stats.kstest(noise.flatten(), "norm").pvalue > 1e-3
    assert len(np.unique(noise.reshape(len(images), -1)[:, 0].round(6))) > 0.99 * len(images)


def test_deterministic_corruptions_meet_the_chosen_images() -> None:
    images = pictures(100)
    x = contaminate(images, Contrast(1.0), share=0.5)
    flat = np.ptp(x.numpy(), axis=(1, 2, 3)) < 1e-6
    assert flat.sum() == 50
    means = images.numpy().mean(axis=(1, 2, 3)) / 255
    np.testing.assert_allclose(x.numpy()[flat].mean(axis=(1, 2, 3)), means[flat], atol=1e-6)


def test_the_seed_decides_and_nothing_else() -> None:
    images = pictures(200)
    before = torch.get_rng_state()
    once = contaminate(images, GaussianNoise(0.3), 0.5, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(9)
    assert torch.equal(contaminate(images, GaussianNoise(0.3), 0.5, seed=1), once)
    other = contaminate(images, GaussianNoise(0.3), 0.5, seed=2)
    assert (changed(once, images) != changed(other, images)).any()


def test_the_choice_is_independent_of_other_uses_of_the_seed() -> None:
    images = pictures(2000)
    corrupted = changed(contaminate(images, Mask(0.5), 0.5, seed=4), images)
    order = np.random.default_rng((4, 0)).permutation(2000)
    for first in (order[:1000], random_subset(2000, 1000, seed=4).numpy()):
        # Hypergeometric, mean 500: six standard deviations are 67.
        assert abs(corrupted[first].sum() - 500) < 67


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"share": 1.1}, "share 1.1"),
        ({"share": -0.1}, "share -0.1"),
        ({"seed": -1}, "seed -1"),
        ({"value_range": (0.0, 2.0)}, "value_range"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], match: str) -> None:
    with pytest.raises(InputError, match=match):
        contaminate(pictures(5), Mask(0.5), **arguments)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="float32"):
        contaminate(torch.rand(5, 1, 4, 4), Mask(0.5))
