"""The Gaussian mixture against scipy, scikit-learn and the mixture that made the samples."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture as ExpectationMaximisation

from fisherae.errors import InputError
from fisherae.priors import GaussianMixture, StandardNormal

WEIGHTS = [0.2, 0.5, 0.3]
MEANS = [[-4.0, 100.0], [0.0, 101.0], [3.0, 97.0]]
COVARIANCES = [[[1.0, 0.6], [0.6, 0.5]], [[0.2, 0.0], [0.0, 2.0]], [[0.5, -0.3], [-0.3, 0.4]]]


@pytest.fixture
def prior() -> GaussianMixture:
    prior = GaussianMixture(2, components=3).double()
    prior.weights.copy_(torch.tensor(WEIGHTS, dtype=torch.float64))
    prior.means.copy_(torch.tensor(MEANS, dtype=torch.float64))
    prior.scale_tril.copy_(torch.linalg.cholesky(torch.tensor(COVARIANCES, dtype=torch.float64)))
    return prior


def mixture_moments() -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance, by the law of total covariance."""
    weights, means = np.array(WEIGHTS), np.array(MEANS)
    mean = weights @ means
    centred = means - mean
    within = np.einsum("k,kij->ij", weights, np.array(COVARIANCES))
    return mean, within + np.einsum("k,ki,kj->ij", weights, centred, centred)


def test_log_density_is_that_of_scipy(prior: GaussianMixture) -> None:
    z = torch.tensor([0.0, 99.0]) + 3 * torch.randn(20, 2, dtype=torch.float64)
    parts = zip(WEIGHTS, MEANS, COVARIANCES, strict=True)
    density = sum(w * multivariate_normal(m, c).pdf(z.numpy()) for w, m, c in parts)
    np.testing.assert_allclose(prior.log_density(z), np.log(density), rtol=1e-10)


def test_a_new_one_is_the_standard_normal() -> None:
    z = torch.randn(20, 3)
    prior = GaussianMixture(3)
    expected = StandardNormal(3).log_density(z) - 1.5 * math.log(2 * math.pi)
    torch.testing.assert_close(prior.log_density(z), expected)
    torch.testing.assert_close(prior.score(z), -z)
    assert prior.is_normalizable.tolist() == [True] * 3


def test_mean_std_and_draws(prior: GaussianMixture) -> None:
    mean, covariance = mixture_moments()
    np.testing.assert_allclose(prior.mean, mean)
    np.testing.assert_allclose(prior.std, np.sqrt(np.diag(covariance)))
    z = prior.draw(200_000, torch.Generator().manual_seed(0)).numpy()
    np.testing.assert_allclose(z.mean(0), mean, atol=0.02)
    np.testing.assert_allclose(np.cov(z.T), covariance, rtol=0.02)


def test_score_and_density_far_away_are_finite(prior: GaussianMixture) -> None:
    z = torch.tensor([[1e4, -1e4]], dtype=torch.float64)
    assert bool(prior.log_density(z).isfinite().all())
    assert bool(prior.score(z).isfinite().all())


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_fit_finds_the_mixture_that_made_the_samples(prior: GaussianMixture, scale: float) -> None:
    """Likelihood as high as that of the truth, at any scale of the latents."""
    samples = prior.draw(5_000, torch.Generator().manual_seed(0))
    held_out = prior.draw(5_000, torch.Generator().manual_seed(1))
    fitted = GaussianMixture(2, components=3).double().fit(scale * samples)
    gain = fitted.log_density(scale * held_out) + 2 * math.log(scale) - prior.log_density(held_out)
    assert float(gain.mean()) == pytest.approx(0, abs=0.01)
    order = fitted.means[:, 0].argsort()
    np.testing.assert_allclose(fitted.weights[order], WEIGHTS, atol=0.02)
    np.testing.assert_allclose(fitted.means[order] / scale, MEANS, atol=0.1)


def test_one_component_is_the_sample_mean_and_covariance() -> None:
    z = torch.randn(300, 3) @ torch.tensor([[1.0, 0.4, 0.0], [0.0, 2.0, 0.3], [0.0, 0.0, 0.1]])
    prior = GaussianMixture(3, components=1).fit(z)
    covariance = prior.scale_tril[0] @ prior.scale_tril[0].mT
    np.testing.assert_allclose(prior.mean, z.mean(0), atol=1e-5)
    np.testing.assert_allclose(covariance, np.cov(z.numpy().T, ddof=0), rtol=0.005, atol=1e-4)


def test_fit_is_as_good_as_that_of_scikit_learn() -> None:
    """On standardised samples the two maximise the same likelihood."""
    z = torch.rand(2_000, 2, dtype=torch.float64)
    z = (z - z.mean(0)) / z.std(0)
    theirs = ExpectationMaximisation(4, n_init=3, max_iter=1000, random_state=0).fit(z.numpy())
    ours = GaussianMixture(2, components=4).double().fit(z, seed=0)
    assert float(ours.log_density(z).mean()) == pytest.approx(theirs.score(z.numpy()), abs=1e-5)


def test_fit_repeats_with_its_seed() -> None:
    z = torch.rand(500, 2)
    one, same, other = (GaussianMixture(2, 5).fit(z, seed) for seed in (1, 1, 2))
    assert torch.equal(one.means, same.means)
    assert not torch.equal(one.means, other.means)


def test_what_cannot_be_fitted() -> None:
    with pytest.raises(InputError, match="10 samples cannot determine 10 components"):
        GaussianMixture(2).fit(torch.randn(10, 2))
    z = torch.randn(50, 2)
    z[:, 1] = 3.0
    with pytest.raises(InputError, match="dimension 1 is constant"):
        GaussianMixture(2).fit(z)


@pytest.mark.parametrize("components", [0, -1])
def test_unusable_components(components: int) -> None:
    with pytest.raises(
        InputError, match=f"components must be a positive integer, got {components}"
    ):
        GaussianMixture(2, components)
