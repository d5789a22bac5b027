"""Polynomials with pairwise terms against Gaussians, numpy and the general exponential family."""

import math

import numpy as np
import pytest
import torch
from numpy.polynomial import Polynomial
from scipy.special import logsumexp
from torch import Tensor
from torch.distributions import MultivariateNormal

from fisherae.errors import InputError
from fisherae.priors import ExponentialFamily, FactorablePolynomial, PairwisePolynomial

# Four modes near (±1.5, ±1.5), those of equal signs higher, and a skew.
ETA = [[0.1, 1.0, 0.0, -0.25], [-0.1, 0.8, 0.05, -0.2]]
COUPLING = 0.4


def doubles(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def correlated(n: int, dim: int = 3) -> Tensor:
    return 1 + doubles(n, dim) @ (doubles(dim, dim) + 2 * torch.eye(dim, dtype=torch.float64))


def pairs_of(*values: float) -> Tensor:
    """The symmetric matrix of the pairs (1, 2), (1, 3), (2, 3), …"""
    dim = round((1 + math.sqrt(1 + 8 * len(values))) / 2)
    matrix = torch.zeros(dim, dim, dtype=torch.float64)
    matrix[tuple(torch.triu_indices(dim, dim, 1))] = torch.tensor(values, dtype=torch.float64)
    return matrix + matrix.mT


def planar(eta: list[list[float]], coupling: float) -> PairwisePolynomial:
    prior = PairwisePolynomial(2, len(eta[0])).double()
    prior.set_eta(torch.tensor(eta, dtype=torch.float64), pairs_of(coupling))
    return prior


def log_density_on(grid: np.ndarray, eta: list[list[float]], coupling: float) -> np.ndarray:
    """On grid × grid, by numpy."""
    first, second = (Polynomial([0.0, *row])(grid) for row in eta)
    return first[:, None] + second + coupling * grid[:, None] * grid


def grid_samples(n: int, generator: np.random.Generator) -> Tensor:
    """Independent samples of ETA and COUPLING: cells of a fine grid, uniform within."""
    grid, step = np.linspace(-5, 5, 801, retstep=True)
    mass = np.exp(log_density_on(grid, ETA, COUPLING)).ravel()
    cell = generator.choice(mass.size, n, p=mass / mass.sum())
    z = np.stack([grid[cell // 801], grid[cell % 801]], axis=-1)
    return torch.from_numpy(z + step * (generator.random((n, 2)) - 0.5))


# the parametrisation


def test_the_natural_parameters_are_those_of_the_monomials() -> None:
    prior, grid = planar(ETA, COUPLING), np.linspace(-2, 2, 7)
    z = torch.cartesian_prod(*[torch.from_numpy(grid)] * 2)
    expected = torch.from_numpy(log_density_on(grid, ETA, COUPLING).ravel())
    torch.testing.assert_close(prior.log_density(z).diff(), expected.diff())
    torch.testing.assert_close(prior.eta, torch.tensor(ETA, dtype=torch.float64))
    torch.testing.assert_close(prior.pairs, pairs_of(COUPLING))


@pytest.mark.parametrize("order", [2, 4, 6])
def test_natural_parameters_of_any_location_and_scale(order: int) -> None:
    """What `eta` and `pairs` say is the same density again, from zero location and unit scale."""
    prior, again = (PairwisePolynomial(3, order).double() for _ in range(2))
    with torch.no_grad():
        prior.weight.normal_()
        prior.coupling.normal_()
        prior.location.copy_(torch.tensor([3.0, -1.5, 0.0]))
        prior.scale.copy_(torch.tensor([0.5, 4.0, 1.0]))
    again.set_eta(prior.eta, prior.pairs)
    z = doubles(9, 3)
    torch.testing.assert_close(again.score(z), prior.score(z))
    torch.testing.assert_close(again.log_density(z).diff(), prior.log_density(z).diff())


def test_without_pairs_it_is_the_factorable_family() -> None:
    eta, z = doubles(3, 4), doubles(5, 3)
    pairwise = PairwisePolynomial(3, 4).double()
    factorable = FactorablePolynomial(3, 4).double()
    pairwise.set_eta(eta)
    factorable.set_eta(eta)
    torch.testing.assert_close(pairwise.log_density(z), factorable.log_density(z))
    torch.testing.assert_close(pairwise.score(z), factorable.score(z))


def test_a_new_one_is_the_standard_normal() -> None:
    z = torch.randn(5, 3)
    torch.testing.assert_close(PairwisePolynomial(3).score(z), -z)


# fit


@pytest.mark.parametrize("units", [(1.0, 1.0, 1.0), (1e-3, 1.0, 1e3)])
def test_order_2_is_the_gaussian_of_the_sample_mean_and_covariance(
    units: tuple[float, ...],
) -> None:
    """For every sample, not only in the limit: also for samples that are not Gaussian."""
    z = (correlated(50) + correlated(50).square()) * torch.tensor(units, dtype=torch.float64)
    prior = PairwisePolynomial(3, 2).double().fit(z)
    gaussian = MultivariateNormal(z.mean(0), z.mT.cov(correction=0))
    log_ratio = prior.log_density(z) - gaussian.log_prob(z)
    torch.testing.assert_close(log_ratio, log_ratio[:1].expand(50), rtol=1e-7, atol=1e-7)
    precision = -prior.pairs - 2 * torch.diag(prior.eta[:, 1])
    torch.testing.assert_close(torch.linalg.inv(precision), gaussian.covariance_matrix)
    torch.testing.assert_close(torch.linalg.solve(precision, prior.eta[:, 0]), gaussian.mean)
    assert prior.is_normalizable.all()
    assert prior.support.isinf().all()


def test_fit_recovers_a_correlated_bimodal_density() -> None:
    """Ten fits to 4,000 independent samples each: their mean is within four standard errors."""
    generator = np.random.default_rng(0)
    estimates = []
    for _ in range(10):
        prior = PairwisePolynomial(2, 4).double().fit(grid_samples(4_000, generator))
        estimates.append(torch.cat([prior.eta.flatten(), prior.pairs[0, 1:]]).detach())
    errors, means = torch.std_mean(torch.stack(estimates), dim=0)
    errors = errors / 10**0.5
    truth = torch.tensor([*ETA[0], *ETA[1], COUPLING], dtype=torch.float64)
    assert (errors < 0.03).all()
    assert ((means - truth).abs() < 4 * errors).all()


@pytest.mark.parametrize("order", [2, 4, 6])
def test_fit_equals_the_general_family_of_the_same_statistics(order: int) -> None:
    z = correlated(400) + 0.1 * correlated(400) ** 2
    u = (z - z.mean(0)) / z.std(0)
    first, second = torch.triu_indices(3, 3, 1)

    def statistics(u: Tensor) -> Tensor:
        powers = [u**k for k in range(1, order + 1)]
        return torch.cat([*powers, u[..., first] * u[..., second]], dim=-1)

    general = ExponentialFamily(3, statistics).double().fit(u)
    ours = PairwisePolynomial(3, order).double().fit(z)
    torch.testing.assert_close(ours.score(z) * z.std(0), general.score(u), rtol=1e-6, atol=1e-7)


def test_fit_does_not_depend_on_units_or_place() -> None:
    y = grid_samples(2_000, np.random.default_rng(1))
    shift, slope = torch.tensor([100.0, -7.0]), torch.tensor([1e-3, 50.0])
    scaled, plain = (PairwisePolynomial(2).fit(z).double().score(z) for z in (shift + slope * y, y))
    torch.testing.assert_close(slope * scaled, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dim", [1, 2])
def test_fit_of_independent_dimensions_is_that_of_the_factorable_family(dim: int) -> None:
    """One dimension has no pairs; two that are independent have a θ near zero."""
    z = grid_samples(40_000, np.random.default_rng(2))
    z = torch.stack([z[:20_000, 0], z[20_000:, 1]], dim=-1)[:, :dim]
    pairwise = PairwisePolynomial(dim, 4).double().fit(z)
    factorable = FactorablePolynomial(dim, 4).double().fit(z)
    torch.testing.assert_close(pairwise.eta, factorable.eta, rtol=0, atol=0.01)
    assert pairwise.coupling.abs().sum() < 0.03


def test_fit_confines_what_may_rise_beyond_the_samples() -> None:
    """Heavy tails give a positive z⁴; the other two dimensions get the whole line."""
    generator = np.random.default_rng(0)
    z = torch.from_numpy(generator.laplace(size=(3_000, 3)))
    z[:, :2] = grid_samples(3_000, generator)
    z[:, 2] += z[:, 0]
    prior = PairwisePolynomial(3, 4).double().fit(z)
    assert prior.eta[2, 3] > 0
    assert prior.support[2].tolist() == [z[:, 2].min().item(), z[:, 2].max().item()]
    assert prior.support[:2].isinf().all()
    assert prior.is_normalizable.all()
    assert prior.log_density(z).isfinite().all()
    beyond = z[:1].clone()
    beyond[:, 2] = 1.01 * z[:, 2].max()
    assert prior.log_density(beyond) == -torch.inf
    prior.fit(z[:, [0, 1, 0]] + 0.1 * doubles(3_000, 3))
    assert prior.support.isinf().all(), "a proper fit gets the whole line back"


def test_confine_sees_a_coupling_that_outgrows_a_gaussian() -> None:
    """Precision (1, −θ; −θ, 1): positive definite below θ = 1 only."""
    z = torch.linspace(-3, 3, 200, dtype=torch.float64)[:, None].expand(-1, 2)
    for coupling, proper in ((0.99, True), (1.01, False)):
        prior = planar([[0.0, -0.5]] * 2, coupling)
        assert prior.is_normalizable.tolist() == [proper] * 2
        prior.confine(z)
        assert prior.support.isinf().all() == proper
        assert prior.is_normalizable.all()


# normalisability


@pytest.mark.parametrize(
    ("eta", "coupling", "expected"),
    [
        ([[0.0, -0.5], [0.0, -0.5]], 0.0, [True, True]),
        ([[0.3, -0.5], [0.0, -2.0]], 1.9, [True, True]),  # precision (1, 4), θ² < 4
        ([[0.3, -0.5], [0.0, -2.0]], 2.1, [False, False]),
        ([[0.0, 1.0, 0.0, -0.1], [0.0, 1.0, 0.0, -0.1]], 5.0, [True, True]),
        ([[0.0, 0.0, 0.0, -0.1], [0.0, -0.5, 0.0, 0.0]], 2.0, [True, True]),  # z⁴/10 outgrows 2z²
        ([[0.0, 0.0, 0.0, 0.1], [0.0, -0.5, 0.0, 0.0]], 0.0, [False, True]),
        ([[0.0, -0.5, 0.1, 0.0], [0.0, -0.5, 0.0, 0.0]], 0.0, [False, True]),
        ([[0.0, 0.0], [0.0, -0.5]], 0.0, [False, True]),  # flat
        ([[0.0, 0.0], [0.0, -0.5]], 0.5, [False, True]),
    ],
)
def test_is_normalizable(eta: list[list[float]], coupling: float, expected: list[bool]) -> None:
    assert planar(eta, coupling).is_normalizable.tolist() == expected

    def log_mass(reach: float) -> float:
        grid = np.arange(-reach, reach + 0.05, 0.1)
        return logsumexp(log_density_on(grid, eta, coupling))

    assert (log_mass(45) < log_mass(30) + 1e-3) == all(expected)


# what is refused


@pytest.mark.parametrize("order", [3, 5])
def test_an_odd_order_is_refused(order: int) -> None:
    with pytest.raises(InputError, match=f"pairwise polynomials must be even, got {order}"):
        PairwisePolynomial(3, order)


@pytest.mark.parametrize(
    "pairs", [torch.ones(2, 2), torch.zeros(3, 3), torch.tensor([[0.0, 1.0], [2.0, 0.0]])]
)
def test_unusable_pairs(pairs: Tensor) -> None:
    with pytest.raises(InputError, match=r"symmetric matrix of shape \(2, 2\) with zeros"):
        PairwisePolynomial(2).set_eta(torch.zeros(2, 4), pairs)


def test_fit_needs_enough_samples_and_independent_dimensions() -> None:
    with pytest.raises(InputError, match="3 samples determine only 9 of the 15 natural parameters"):
        PairwisePolynomial(3, 4).fit(torch.randn(3, 3))
    z = doubles(100, 3)
    z[:, 2] = 2 * z[:, 0]
    with pytest.raises(InputError, match="leave out dimensions that depend on others"):
        PairwisePolynomial(3, 4).fit(z)
    z[:, 2] = 7.0
    with pytest.raises(InputError, match="dimension 2 is constant"):
        PairwisePolynomial(3, 4).fit(z)
