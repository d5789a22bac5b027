"""Polynomial densities on the line against SciPy's quadrature, root finding and closed forms."""

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from numpy.polynomial import hermite_e
from scipy.integrate import cumulative_trapezoid, simpson
from scipy.optimize import brentq
from scipy.stats import kstest
from torch import Tensor

from fisherae.one_dimensional import density
from fisherae.one_dimensional.density import PolynomialDensity

MEMBERS = {  # w_1 … w_K
    "normal": (0.0, -1.0),
    "K=2": (0.7, -2.0),
    "almost normal": (0.0, -1.0, 0.0, -1e-4),
    "skew": (3.0, -1.0, 0.0, -0.4),
    "flat": (0.0, -1.0, 0.0, -0.8),
    "two modes": (0.0, -1.0, 0.0, -4.0),
    "unequal modes": (0.6, -1.0, 0.0, -30.0),
    "a gap between the modes": (0.3, -1.0, 0.0, -1e3),
    "far off": (100.0, -1.0, 0.0, -0.05),
    "all weights": (0.2, -1.0, 0.4, -0.5),
    "K=6, three modes": (0.0, -1.0, 0.3, 1.5, 0.0, -1.0),
    "K=8": (0.1, -1.0, 0.3, -0.5, 0.0, 2.0, 0.0, -1.0),
}
members = pytest.mark.parametrize("w", MEMBERS.values(), ids=MEMBERS)
QUANTILES = (1e-9, 1e-4, 0.03, 0.3, 0.5, 0.8, 0.999, 1 - 1e-9)


def coefficients(w: tuple[float, ...]) -> np.ndarray:
    """Of numpy's Hermite polynomials He_k = √k! h_k, for w_k h_k / √k."""
    return np.array([0.0] + [w_k / math.sqrt(math.factorial(k) * k) for k, w_k in enumerate(w, 1)])


def statistic(k: int) -> Callable[[np.ndarray], np.ndarray]:
    series = coefficients((0.0,) * (k - 1) + (1.0,))
    return lambda u: hermite_e.hermeval(u, series)


class Quadrature:
    """The density by Simpson's rule, to 14 standard deviations beyond the outer modes."""

    def __init__(self, w: tuple[float, ...]):
        series = coefficients(w)
        slope = hermite_e.hermeder(series)
        roots = hermite_e.hermeroots(slope)
        turns = np.sort(roots[np.abs(roots.imag) < 1e-9 * (1 + np.abs(roots))].real)
        self.log = lambda u: hermite_e.hermeval(u, series)
        self.top = max(self.log(turns))
        bends = np.abs(hermite_e.hermeval(turns, hermite_e.hermeder(slope)))
        reach = 14 / np.sqrt(np.maximum(bends, 0.1))
        self.start, self.end = turns[0] - reach[0], turns[-1] + reach[-1]
        self.total = self.integral(np.ones_like)

    def integral(
        self, f: Callable[[np.ndarray], np.ndarray], end: float | None = None, points: int = 100_001
    ) -> float:
        u = np.linspace(self.start, self.end if end is None else end, points)
        return simpson(f(u) * np.exp(self.log(u) - self.top), x=u)

    def mean(self, f: Callable[[np.ndarray], np.ndarray]) -> float:
        return self.integral(f) / self.total

    def cdf(self, u: float) -> float:
        return self.integral(np.ones_like, u, points=10_001) / self.total

    def quantile(self, v: float) -> float:
        return brentq(lambda u: self.cdf(u) - v, self.start, self.end, xtol=1e-13)


quadrature = cache(Quadrature)


def tensor(w: tuple[float, ...], n: int | None = None) -> Tensor:
    values = torch.tensor(w, dtype=torch.float64)
    return values if n is None else values.expand(n, -1)


@members
def test_normalizer_and_moments(w: tuple[float, ...]) -> None:
    q, truth = PolynomialDensity(tensor(w)), quadrature(w)
    log_normalizer = truth.top + math.log(truth.total)
    assert q.log_normalizer.item() == pytest.approx(log_normalizer, abs=1e-5)
    moments = [truth.mean(statistic(k)) for k in range(1, len(w) + 1)]
    np.testing.assert_allclose(q.moments, moments, rtol=1e-5, atol=1e-5)
    variance = truth.mean(lambda u: (u - moments[0]) ** 2)
    assert q.variance.item() == pytest.approx(variance, rel=1e-5)
    entropy = -truth.mean(lambda u: truth.log(u) - log_normalizer)
    assert -q.mean_log_density.item() == pytest.approx(entropy, abs=1e-5)


@members
def test_derivatives_are_the_moments_and_their_covariances(w: tuple[float, ...]) -> None:
    weight, truth = tensor(w).clone().requires_grad_(), quadrature(w)
    q, orders = PolynomialDensity(weight), range(1, len(w) + 1)
    means = [truth.mean(statistic(k)) for k in orders]
    t = [lambda u, k=k: statistic(k)(u) - means[k - 1] for k in orders]
    covariances = [[truth.mean(lambda u, f=f, g=g: f(u) * g(u)) for g in t] for f in t]
    (slope,) = torch.autograd.grad(q.log_normalizer, weight, create_graph=True)
    np.testing.assert_allclose(slope.detach(), means, rtol=1e-5, atol=1e-5)
    for k in orders:
        for value in (slope, q.moments):
            (row,) = torch.autograd.grad(value[k - 1], weight, retain_graph=True)
            np.testing.assert_allclose(row, covariances[k - 1], rtol=1e-4, atol=1e-5)


@members
def test_quantiles(w: tuple[float, ...]) -> None:
    u = PolynomialDensity(tensor(w, len(QUANTILES))).quantile(
        torch.tensor(QUANTILES, dtype=torch.float64)
    )
    for v, at in zip(QUANTILES, u.tolist(), strict=True):
        assert quadrature(w).cdf(at) == pytest.approx(v, rel=1e-4), v


@pytest.mark.parametrize("name", ["skew", "two modes", "all weights", "K=6, three modes"])
def test_implicit_gradients_are_those_of_the_inverse_distribution_function(name: str) -> None:
    w, step = MEMBERS[name], 1e-4
    for v in (0.001, 0.4, 0.93):
        weight = tensor(w).clone().requires_grad_()
        u = PolynomialDensity(weight).quantile(torch.tensor(v, dtype=torch.float64))
        (gradient,) = torch.autograd.grad(u, weight)
        for k in range(len(w)):
            above, below = (
                Quadrature(tuple(w_j + sign * step * (j == k) for j, w_j in enumerate(w)))
                for sign in (1, -1)
            )
            difference = (above.quantile(v) - below.quantile(v)) / (2 * step)
            assert gradient[k].item() == pytest.approx(difference, rel=1e-4, abs=1e-5), (v, k)


@pytest.mark.parametrize(("w_1", "w_2"), [(0.0, -1.0), (0.7, -2.0)])
def test_implicit_gradients_of_a_gaussian(w_1: float, w_2: float) -> None:
    """u = −w_1 / w_2 + ε / √−w_2."""
    weight = tensor((w_1, w_2), 9).clone().requires_grad_()
    v = torch.linspace(1e-6, 1 - 1e-6, 9, dtype=torch.float64)
    u = PolynomialDensity(weight).quantile(v)
    noise = torch.special.ndtri(v)
    expected = torch.stack(
        [torch.full_like(u, -1 / w_2), w_1 / w_2**2 + noise / 2 / (-w_2) ** 1.5], -1
    )
    torch.testing.assert_close(u, -w_1 / w_2 + noise / (-w_2) ** 0.5)
    (gradient,) = torch.autograd.grad(u.sum(), weight)
    torch.testing.assert_close(gradient, expected)


def test_implicit_gradients_near_the_normal() -> None:
    """∫_{−∞}^u h_k φ = −h_{k−1} φ / √k, so that ∂u/∂w_k = h_{k−1}(u) / k at the normal."""
    weight = tensor((0.0, -1.0, 0.0, -1e-7), 9).clone().requires_grad_()
    u = PolynomialDensity(weight).quantile(torch.linspace(0.01, 0.99, 9, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(u.sum(), weight)
    for k in range(1, 5):
        h = hermite_e.hermeval(u.detach(), [0.0] * (k - 1) + [1.0]) / math.factorial(k - 1) ** 0.5
        np.testing.assert_allclose(gradient[:, k - 1], h / k, atol=1e-5)


@pytest.mark.parametrize("a", [1e-4, 1e-2, 1.0, 1e2, 1e4, 1e6])
@pytest.mark.parametrize("tilt", [0.0, 0.5])
def test_any_leading_weight(a: float, tilt: float) -> None:
    """From a normal to two modes of standard deviation 1 / √(√6 a), with a gap of any depth."""
    truth = Quadrature((tilt, -1.0, 0.0, -a))
    q = PolynomialDensity(tensor((tilt, -1.0, 0.0, -a)))
    log_normalizer = truth.top + math.log(truth.total)
    assert q.log_normalizer.item() == pytest.approx(log_normalizer, rel=1e-12, abs=1e-6)
    mean = truth.mean(lambda u: u)
    assert q.moments[0].item() == pytest.approx(mean, abs=1e-6)
    assert q.variance.item() == pytest.approx(truth.mean(lambda u: (u - mean) ** 2), rel=1e-5)


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e3])
def test_a_wide_mode_takes_no_points_from_a_narrow_one(scale: float) -> None:
    """Weights of any sign and size, most with two modes, of unlike width."""
    weights = np.random.default_rng(0).normal(scale=scale, size=(150, 4))
    weights[:, -1] = -np.abs(weights[:, -1]) - 1e-3
    q = PolynomialDensity(torch.tensor(weights))
    for w, *found in zip(weights, q.log_normalizer, q.moments[:, 0], q.variance, strict=True):
        truth = Quadrature(tuple(w))
        mean = truth.mean(lambda u: u)
        variance = truth.mean(lambda u, mean=mean: (u - mean) ** 2)
        expected = [truth.top + math.log(truth.total), mean, variance]
        assert [one.item() for one in found] == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", ["skew", "unequal modes", "a gap between the modes", "K=8"])
def test_samples(name: str) -> None:
    truth = quadrature(MEMBERS[name])
    q = PolynomialDensity(torch.tensor(MEMBERS[name]).expand(4_000, -1))
    u = q.rsample(torch.Generator().manual_seed(0))
    assert u.dtype == torch.float32
    grid = np.linspace(truth.start, truth.end, 100_001)
    cdf = cumulative_trapezoid(np.exp(truth.log(grid) - truth.top) / truth.total, grid, initial=0)
    assert kstest(u.double().numpy(), lambda at: np.interp(at, grid, cdf)).pvalue > 0.01


def test_one_seed_one_sample() -> None:
    q = PolynomialDensity(tensor(MEMBERS["skew"], 5))
    before = torch.get_rng_state()
    first = q.rsample(torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(q.rsample(torch.Generator().manual_seed(1)), first)
    assert not torch.equal(q.rsample(torch.Generator().manual_seed(2)), first)


def test_the_ends_of_the_unit_interval_are_finite() -> None:
    for w in MEMBERS.values():
        u = PolynomialDensity(tensor(w, 2)).quantile(torch.tensor([0.0, 1.0]).double())
        assert u.isfinite().all()
        assert u[0] < u[1]


def test_float32_is_as_good_as_its_weights() -> None:
    w = torch.tensor([w for w in MEMBERS.values() if len(w) == 4])
    single, double = PolynomialDensity(w), PolynomialDensity(w.double())
    assert single.moments.dtype == torch.float32
    torch.testing.assert_close(single.moments.double(), double.moments, rtol=1e-6, atol=1e-6)


def test_densities_in_several_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same numbers, whatever is in memory together."""
    weight = tensor(MEMBERS["skew"], 7) * torch.linspace(0.5, 2, 7, dtype=torch.float64)[:, None]
    v = torch.rand(7, dtype=torch.float64)
    whole = PolynomialDensity(weight)
    expected = whole.moments, whole.quantile(v)
    monkeypatch.setattr(density, "_AT_ONCE", 3)
    parts = PolynomialDensity(weight)
    torch.testing.assert_close((parts.moments, parts.quantile(v)), expected)


def test_no_densities() -> None:
    q = PolynomialDensity(torch.zeros(0, 3, 4))
    assert q.rsample().shape == q.log_normalizer.shape == (0, 3)
    assert q.moments.shape == (0, 3, 4)


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_broken_density_breaks_no_other(broken: float) -> None:
    weight = tensor(MEMBERS["skew"], 3).clone()
    intact = PolynomialDensity(weight)
    v = torch.rand(3, dtype=torch.float64)
    expected = intact.moments, intact.quantile(v)
    weight[1, 0] = broken
    q = PolynomialDensity(weight)
    found = q.moments, q.quantile(v)
    assert not found[0][1].isfinite().any()
    for value, right in zip(found, expected, strict=True):
        torch.testing.assert_close(value[[0, 2]], right[[0, 2]])
