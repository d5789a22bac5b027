"""SVGD against a double loop written from the paper and the authors' code."""

import numpy as np
import pytest
import torch
from torch import Tensor

from fisherae.priors import ExponentialFamily, FactorablePolynomial, StandardNormal
from fisherae.samplers import SVGD, AdaGrad, median_bandwidth, svgd
from fisherae.samplers.kernels import spaced, squared_distances


def skewed(dim: int) -> FactorablePolynomial:
    prior = FactorablePolynomial(dim, 4).double()
    prior.set_eta(torch.tensor([[0.3, 1.0, 0.1, -0.25]], dtype=torch.float64).expand(dim, 4))
    return prior


def naive_direction(z: np.ndarray, score: np.ndarray) -> np.ndarray:
    """φ with the bandwidth of the authors' code, 2 h² = med² / log(n + 1)."""
    n = len(z)
    squares = np.array([[((a - b) ** 2).sum() for b in z] for a in z])
    h = np.sqrt(0.5 * np.median(squares) / np.log(n + 1))
    phi = np.zeros_like(z)
    for i in range(n):
        for j in range(n):
            k = np.exp(-squares[i, j] / (2 * h**2))
            phi[i] += k * score[j] + k * (z[i] - z[j]) / h**2
    return phi / n


def numpy_score(z: np.ndarray) -> np.ndarray:
    return 0.3 + 2 * z + 0.3 * z**2 - z**3


def per_column(z: np.ndarray, score: np.ndarray) -> np.ndarray:
    columns = [naive_direction(z[:, [j]], score[:, [j]]) for j in range(z.shape[1])]
    return np.concatenate(columns, axis=1)


@pytest.mark.parametrize(("per_dim", "naive"), [(False, naive_direction), (True, per_column)])
def test_step_is_the_naive_one(per_dim: bool, naive) -> None:
    z = torch.randn(7, 3, dtype=torch.float64)
    sampler = SVGD(skewed(3), per_dim=per_dim, step_rule=AdaGrad(0.1))
    state = sampler.init(z)
    expected, memory = z.numpy(), None
    for _ in range(4):
        state = sampler.step(state)
        phi = naive(expected, numpy_score(expected))
        memory = phi**2 if memory is None else 0.9 * memory + 0.1 * phi**2
        expected = expected + 0.1 * phi / (1e-6 + np.sqrt(memory))
    np.testing.assert_allclose(state.position, expected, rtol=1e-9)


@pytest.mark.parametrize("per_dim", [False, True])
def test_tiles_change_nothing(per_dim: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    z = torch.randn(50, 3, dtype=torch.float64)
    sampler = SVGD(skewed(3), per_dim=per_dim)
    whole = sampler.direction(z)
    monkeypatch.setattr(svgd, "_TILE", 400)
    torch.testing.assert_close(sampler.direction(z), whole)


@pytest.mark.parametrize("rows", [6, 2])
def test_any_radial_kernel_and_bandwidth(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The inverse multiquadric, its repulsion by automatic differentiation."""
    monkeypatch.setattr(svgd, "_TILE", 6 * rows)

    def multiquadric(r: Tensor) -> tuple[Tensor, Tensor]:
        return (1 + r) ** -0.5, 0.5 * (1 + r) ** -1.5

    prior, h = skewed(2), 0.7
    z = torch.randn(6, 2, dtype=torch.float64)
    sampler = SVGD(prior, kernel=multiquadric, bandwidth=lambda *_: torch.tensor(h))

    moving = z.clone().requires_grad_()
    k = (1 + (moving[:, None] - z).square().sum(-1) / h) ** -0.5  # [j, i]
    repulsion = torch.stack([torch.autograd.grad(k[:, i].sum(), moving, retain_graph=True)[0].sum(0)
                             for i in range(len(z))])  # fmt: skip
    expected = (k.mT @ prior.score(z) + repulsion) / len(z)
    torch.testing.assert_close(sampler.direction(z), expected.detach())


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 10])
def test_median_is_that_of_all_pairs(n: int) -> None:
    z = torch.randn(2, n, 3, dtype=torch.float64)
    bandwidths = median_bandwidth(squared_distances(z, z), n).flatten()
    for group, bandwidth in zip(z.numpy(), bandwidths, strict=True):
        squares = ((group[:, None] - group) ** 2).sum(-1)
        median = np.sort(squares, axis=None)[(n * n - 1) // 2]
        expected = (median or squares.mean()) / np.log(n + 1)
        assert bandwidth.item() == pytest.approx(expected, rel=1e-9, abs=1e-30)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_where_half_of_the_pairs_coincide_the_bandwidth_is_of_their_mean(
    dtype: torch.dtype,
) -> None:
    """Of 100 particles 80 in one place: the median is 0, or what rounding leaves of it."""
    z = torch.randn(100, 3, dtype=dtype)
    z[20:] = z[0]
    bandwidth = median_bandwidth(squared_distances(z[None], z[None]), 100)
    squares = ((z[:, None] - z).numpy().astype(float) ** 2).sum(-1)
    assert bandwidth.item() == pytest.approx(squares.mean() / np.log(101), rel=1e-4)


@pytest.mark.parametrize("tile", [2**18, 400])
def test_far_from_the_origin_float32_is_as_good(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svgd, "_TILE", tile)
    prior = FactorablePolynomial(8, 2)
    prior.location.fill_(1e4)
    z = 1e4 + torch.randn(50, 8)
    direction = SVGD(prior).direction(z)
    expected = SVGD(prior.double()).direction(z.double())
    torch.testing.assert_close(direction.double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tile", [2**18, 400])
@pytest.mark.parametrize("per_dim", [False, True])
def test_where_all_coincide_nothing_drives_them_apart(
    per_dim: bool, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(svgd, "_TILE", tile)
    prior = FactorablePolynomial(8, 2)
    z = (100 * torch.randn(1, 8)).expand(50, 8)
    torch.testing.assert_close(SVGD(prior, per_dim).direction(z), prior.score(z))


def test_two_particles_repel_each_other() -> None:
    """By the mean of all four distances, ‖z − z′‖² / 2."""
    z = torch.tensor([[3.0, 1.0], [-2.0, 4.0]])
    h = 17 / np.log(3)
    k = np.exp(-34 / h)
    apart = 2 * k * (z - z.flip(0)) / h
    expected = (-z - k * z.flip(0) + apart) / 2
    torch.testing.assert_close(SVGD(StandardNormal(2)).direction(z), expected)


@pytest.mark.parametrize("per_dim", [False, True])
@pytest.mark.parametrize("place", [0, 500])
def test_an_outlier_is_exact_and_leaves_the_others_so(place: int, per_dim: bool) -> None:
    z = torch.randn(1_000, 8)
    z[place] = 1e3
    direction = SVGD(StandardNormal(8), per_dim).direction(z).double()
    expected = SVGD(StandardNormal(8).double(), per_dim).direction(z.double())
    wrong = (direction - expected).norm(dim=1) / expected.norm(dim=1)
    assert wrong.median() < 1e-4
    assert wrong[place] < 1e-5


def test_median_of_many_particles_uses_some() -> None:
    some = spaced(torch.randn(1, 5000, 2))
    assert some.shape == (1, 250, 2)
    expected = 4 * np.log(2) / np.log(5001)  # ‖z − z′‖² / 2 ~ χ²(2), median 2 log 2
    bandwidth = median_bandwidth(squared_distances(some, some), 5000)
    assert bandwidth.item() == pytest.approx(expected, rel=0.1)


def test_one_particle_climbs_to_the_mode() -> None:
    sampler = SVGD(StandardNormal(2), step_rule=AdaGrad(0.05))
    state = sampler.init(torch.tensor([[2.0, -1.0]]))
    for _ in range(200):
        state = sampler.step(state)
    torch.testing.assert_close(state.position, torch.zeros(1, 2), atol=0.06, rtol=0)


def test_particles_stay_on_the_support() -> None:
    prior = FactorablePolynomial(2, 5, support=(-1.0, 2.0))
    prior.set_eta(torch.tensor([[0.0, 0.0, 0.0, 0.0, 1.0]] * 2))  # rises to the upper end
    sampler = SVGD(prior, step_rule=AdaGrad(0.3))
    state = sampler.init(torch.linspace(-1.0, 2.0, 20)[:, None].repeat(1, 2))
    for _ in range(50):
        state = sampler.step(state)
        assert -1 <= float(state.position.min()) <= float(state.position.max()) <= 2


def spread(sampler: SVGD, dim: int, n: int, steps: int) -> float:
    state = sampler.init(torch.randn(n, dim))
    for _ in range(steps):
        state = sampler.step(state)
    return float(state.position.std(0).mean())


def test_a_correlated_prior_in_two_dimensions() -> None:
    covariance = torch.tensor([[1.0, 0.8], [0.8, 1.0]])
    precision = torch.linalg.inv(covariance)
    prior = ExponentialFamily(2, lambda z: -((z @ precision) * z).sum(-1, keepdim=True) / 2)
    torch.nn.init.ones_(prior.eta)
    sampler = SVGD(prior, step_rule=AdaGrad(0.02))
    state = sampler.init(torch.randn(100, 2))
    for _ in range(400):
        state = sampler.step(state)
    torch.testing.assert_close(state.position.mT.cov(), covariance, rtol=0, atol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(("dim", "std"), [(1, 0.98), (8, 0.72), (64, 0.27)])
def test_spread_under_the_settings_of_the_paper(dim: int, std: float) -> None:
    """What 100 particles of N(0, I) converge to, measured with an independent implementation."""
    assert spread(SVGD(StandardNormal(dim)), dim, 100, 15_000) == pytest.approx(std, abs=0.015)
