"""The energy prior against a known mixture, the Gaussian, and what its parameters promise."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from fisherae.divergences import fisher_divergence
from fisherae.errors import InputError
from fisherae.priors import EnergyPrior, GaussianMixture, energy
from fisherae.samplers import kernel_stein_discrepancy, sample


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def truth() -> GaussianMixture:
    """Three Gaussians in the plane that overlap, of different shapes and weights."""
    prior = GaussianMixture(2, components=3)
    prior.weights.copy_(torch.tensor([0.2, 0.5, 0.3]))
    prior.means.copy_(torch.tensor([[-1.6, 10.8], [0.0, 9.2], [1.6, 10.8]]))
    covariances = [[[0.5, 0.3], [0.3, 0.5]], [[0.4, 0.0], [0.0, 0.3]], [[0.5, -0.3], [-0.3, 0.6]]]
    prior.scale_tril.copy_(torch.linalg.cholesky(torch.tensor(covariances)))
    return prior


@pytest.fixture(scope="module")
def fitted(truth: GaussianMixture) -> EnergyPrior:
    return EnergyPrior(2, width=32).fit(truth.draw(20_000, seeded()))


def normal_samples(n: int, dim: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(n, dim, generator=seeded(seed))


# fit


def test_fit_finds_the_score_of_a_mixture(truth: GaussianMixture, fitted: EnergyPrior) -> None:
    """On held-out points; the Gaussian of the same mean and covariance is what it starts from."""
    z = truth.draw(4_000, seeded(1))
    gaussian = MultivariateNormal(z.mean(0), z.mT.cov())
    error = fisher_divergence(truth, fitted, z)
    assert error < 0.15 * fisher_divergence(truth, gaussian, z)


def test_samples_of_the_fit_are_those_of_the_mixture(
    truth: GaussianMixture, fitted: EnergyPrior
) -> None:
    """MALA's samples: moments, shares of the three regions, and the discrepancy from the truth."""
    z = sample(fitted, 2_000, "mala", seeded(), steps=400)
    right = truth.draw(20_000, seeded(2))
    torch.testing.assert_close(z.mean(0), right.mean(0), rtol=0, atol=0.2)
    torch.testing.assert_close(z.mT.cov(), right.mT.cov(), rtol=0, atol=0.3)
    shares = [(points[:, 0] < -1).double().mean() for points in (z, right)]
    assert float(shares[0]) == pytest.approx(float(shares[1]), abs=0.05)
    gaussian = right.mean(0) + normal_samples(2_000) @ torch.linalg.cholesky(right.mT.cov()).mT
    discrepancy = [float(kernel_stein_discrepancy(truth, points)) for points in (z, gaussian)]
    assert discrepancy[0] < 0.3 * discrepancy[1]


def test_few_samples_of_a_gaussian_are_not_overfitted() -> None:
    """A network could match them almost exactly; the held-out ones forbid it."""
    prior = EnergyPrior(2).fit(normal_samples(60))
    z = normal_samples(2_000, seed=1)
    gaussian = MultivariateNormal(normal_samples(60).mean(0), normal_samples(60).mT.cov())
    error, least = (
        fisher_divergence(MultivariateNormal(torch.zeros(2), torch.eye(2)), p, z)
        for p in (prior, gaussian)
    )
    assert error < least + 0.02


def test_fit_begins_with_the_gaussian_of_the_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "_STEPS", 0)
    z = 5 + normal_samples(200, 3) @ torch.tensor([[1.0, 0.9, 0.0], [0.0, 0.1, 0.0], [0, 0, 50.0]])
    prior = EnergyPrior(3).fit(z)
    gaussian = MultivariateNormal(z.mean(0), z.mT.cov(correction=0))
    log_ratio = prior.log_density(z) - gaussian.log_prob(z)
    torch.testing.assert_close(log_ratio, log_ratio[:1].expand(200), rtol=1e-4, atol=1e-4)
    drawn = prior.start(100_000, seeded())
    torch.testing.assert_close(drawn.mean(0), z.mean(0), rtol=0.02, atol=0.5)
    torch.testing.assert_close(drawn.mT.corrcoef(), z.mT.corrcoef(), rtol=0, atol=0.02)
    torch.testing.assert_close(prior.spread, z.std(0, correction=0), rtol=1e-4, atol=0)


def test_fit_repeats_with_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the prior was before, and without touching the global random state."""
    monkeypatch.setattr(energy, "_STEPS", 100)
    z = 4 * normal_samples(600).sign() + normal_samples(600, seed=1)
    before = torch.get_rng_state()
    one = EnergyPrior(2, width=16)
    two, other = EnergyPrior(2, width=16), EnergyPrior(2, width=16)
    torch.set_rng_state(before)
    one.fit(z, seed=1)
    two.fit(z, seed=2).fit(z, seed=1)
    other.fit(z, seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.log_density(z), two.log_density(z))
    assert not torch.equal(one.log_density(z), other.log_density(z))


# the density


def test_it_differs_from_its_base_measure_by_a_bounded_factor() -> None:
    """|log p + ½ ‖W (z − m)‖²| ≤ ‖η‖₁ wherever z is: so it integrates."""
    prior = EnergyPrior(3, width=5).double()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.normal_(std=0.5)
        prior.eta.mul_(20)
    raw = prior.whitening.detach().numpy()
    root = np.tril(raw, -1) + np.diag(np.exp(np.diag(raw)))
    z = torch.randn(500, 3, dtype=torch.float64) * torch.logspace(-2, 4, 500)[:, None]
    u = (z - prior.location).detach().numpy() @ root.T
    excess = np.abs(prior.log_density(z).detach().numpy() + (u**2).sum(-1) / 2)
    assert excess.max() <= prior.eta.abs().sum().item() * (1 + 1e-9)
    assert excess.max() > 1
    assert prior.is_normalizable.tolist() == [True] * 3


def test_density_by_hand() -> None:
    """One statistic: η tanh(2 u + 1) − ½ u², u = 3 (z − 0.5)."""
    prior = EnergyPrior(1, width=1, depth=1)
    with torch.no_grad():
        prior.layers[0].weight.fill_(2.0)
        prior.layers[0].bias.fill_(1.0)
        prior.eta.fill_(4.0)
        prior.location.fill_(0.5)
        prior.whitening.fill_(math.log(3.0))
    expected = 4 * math.tanh(2 * 1.5 + 1) - 1.5**2 / 2
    assert prior.log_density(torch.tensor([[1.0]])).item() == pytest.approx(expected)


def test_a_new_one_is_the_standard_normal() -> None:
    z = torch.randn(5, 3)
    torch.testing.assert_close(EnergyPrior(3).score(z), -z)


# what is refused


@pytest.mark.parametrize("option", ["width", "depth"])
def test_unusable_sizes(option: str) -> None:
    with pytest.raises(InputError, match=f"{option} must be a positive integer, got 0"):
        EnergyPrior(2, **{option: 0})


def test_what_cannot_be_fitted() -> None:
    with pytest.raises(InputError, match=r"19 samples cannot determine an energy: .* least 20"):
        EnergyPrior(2).fit(torch.randn(19, 2))
    z = torch.randn(50, 2)
    z[:, 1] = -z[:, 0]
    with pytest.raises(InputError, match="covariance of the samples is singular"):
        EnergyPrior(2).fit(z)
    z[:, 1] = 3.0
    with pytest.raises(InputError, match="dimension 1 is constant"):
        EnergyPrior(2).fit(z)
