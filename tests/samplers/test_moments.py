"""The samplers against moments by quadrature, computed from the polynomial itself."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import expon, laplace, norm
from torch import Tensor

from fisherae.errors import InputError
from fisherae.priors import (
    EnergyPrior,
    FactorablePolynomial,
    FactorablePrior,
    PairwisePolynomial,
    Prior,
    StandardNormal,
)
from fisherae.samplers import MALA, SVGD, AdaGrad, Exact, InverseCDF, reflect, sample, tune

LINE = (-math.inf, math.inf)
MEMBERS = {  # η of eq. (13) and the support
    "K=2": ([4.0, -2.0], LINE),  # N(1, 1/4)
    "K=4 bimodal": ([0.3, 1.0, 0.0, -0.25], LINE),
    "K=5 interval": ([0.2, -0.3, 0.1, -0.05, 0.02], (-2.5, 3.0)),
    "K=6 trimodal": ([0.1, -1.5, 0.0, 1.0, 0.0, -0.15], LINE),
    "K=2 half-line": ([1.0, -0.5], (0.5, math.inf)),
}


def prior_of(members: list[tuple[list[float], tuple[float, float]]]) -> FactorablePolynomial:
    order = max(len(eta) for eta, _ in members)
    prior = FactorablePolynomial(len(members), order, support=[support for _, support in members])
    rows = [eta + [0.0] * (order - len(eta)) for eta, _ in members]
    prior.set_eta(torch.tensor(rows))
    return prior


def quadrature(log_density, breaks: list[float]) -> list[float]:
    """Mean, standard deviation, skewness and kurtosis of exp(log_density)."""
    cells = list(itertools.pairwise(breaks))
    peak = max(log_density(z) for a, b in cells for z in np.linspace(a, b, 201))

    def integral(f) -> float:
        def density(z):
            return f(z) * math.exp(log_density(z) - peak)

        return sum(quad(density, a, b, epsabs=1e-9, epsrel=1e-9, limit=200)[0] for a, b in cells)

    total = integral(lambda z: 1.0)
    mean = integral(lambda z: z) / total
    std = math.sqrt(integral(lambda z: (z - mean) ** 2) / total)
    skewness = integral(lambda z: ((z - mean) / std) ** 3) / total
    kurtosis = integral(lambda z: ((z - mean) / std) ** 4) / total
    return [mean, std, skewness, kurtosis]


def truth(eta: list[float], support: tuple[float, float]) -> list[float]:
    lower, upper = max(support[0], -12.0), min(support[1], 12.0)
    polynomial = np.polynomial.Polynomial([0.0, *eta])
    return quadrature(polynomial, list(np.linspace(lower, upper, 13)))


def moments(z: Tensor) -> np.ndarray:
    """As `quadrature`, of samples (n, dim); shape (dim, 4)."""
    z = z.double()
    mean, std = z.mean(0), z.std(0)
    u = (z - mean) / std
    return torch.stack([mean, std, u.pow(3).mean(0), u.pow(4).mean(0)], dim=-1).numpy()


def midpoint_samples(prior: FactorablePrior, n: int = 400_000) -> Tensor:
    """F⁻¹ on an even grid of u: the sampler without the noise."""
    u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    return InverseCDF(prior).quantile(u[:, None].expand(n, prior.dim))


def assert_moments(z: Tensor, share: float) -> None:
    """Each moment of samples of the `MEMBERS` is right up to a share: of the standard deviation for
    the mean, which may be zero, and of E|u|³ for the skewness E u³ of the standardised u."""
    expected = np.array([truth(*member) for member in MEMBERS.values()])
    mean, std, _, kurtosis = expected.T
    third = (np.abs((z.double().numpy() - mean) / std) ** 3).mean(0)
    error = np.abs(moments(z) - expected) / np.stack([std, std, third, kurtosis], axis=-1)
    assert error.max() < share, dict(zip(MEMBERS, error, strict=True))


def test_exact_moments() -> None:
    z = sample(prior_of(list(MEMBERS.values())), 400_000, "exact", torch.Generator().manual_seed(0))
    assert_moments(z, share=0.01)


def test_exact_quantiles_have_the_moments_of_the_prior() -> None:
    prior = prior_of(list(MEMBERS.values()))
    expected = np.array([truth(*member) for member in MEMBERS.values()])
    np.testing.assert_allclose(moments(midpoint_samples(prior)), expected, rtol=1e-3, atol=1e-3)
    sampler = Exact(prior)
    np.testing.assert_allclose(sampler.mean, expected[:, 0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(sampler.std, expected[:, 1], rtol=1e-4)


@pytest.mark.parametrize("scale", [1e-4, 1e-2, 1.0, 1e2, 1e4])
@pytest.mark.parametrize("location", [0.0, -1000.0])
def test_exact_finds_a_gaussian_of_any_scale(location: float, scale: float) -> None:
    prior = FactorablePolynomial(1, 2).double()
    prior.location.fill_(location)
    prior.scale.fill_(scale)
    z = (midpoint_samples(prior) - location) / scale
    np.testing.assert_allclose(moments(z), [[0.0, 1.0, 0.0, 3.0]], atol=2e-3)


@pytest.mark.parametrize("scale", [0.01, 0.1, 1.0, 10.0])
def test_exact_finds_both_modes_at_30(scale: float) -> None:
    """log p = −(z² − 30²)² / (8 · 30² scale²): standard deviation `scale` about each mode."""
    rate = 1 / (8 * 30**2 * scale**2)
    prior = FactorablePolynomial(1, 4).double()
    prior.set_eta(torch.tensor([[0.0, 2 * 900 * rate, 0.0, -rate]], dtype=torch.float64))
    reach = min(12 * scale, 28.0)
    breaks = np.unique([m + reach * k for m in (-30, 30) for k in (-1, -0.3, 0, 0.3, 1)])
    expected = quadrature(lambda z: -rate * (z * z - 900) ** 2, [float(b) for b in breaks])
    np.testing.assert_allclose(moments(midpoint_samples(prior)), [expected], rtol=1e-3, atol=1e-3)


class Mixture(FactorablePrior):
    """Gaussians, the same in each of two dimensions; whether it is proper is not known."""

    def __init__(self, means: list[float], stds: list[float], weights: list[float]):
        super().__init__(2)
        values = torch.tensor([means, stds, weights], dtype=torch.float64)
        self.means, self.stds, self.weights = values
        self.double()

    def log_density_per_dim(self, z: Tensor) -> Tensor:
        u = (z[..., None] - self.means) / self.stds
        return torch.logsumexp((self.weights / self.stds).log() - u.square() / 2, -1)


@pytest.mark.parametrize(
    ("means", "stds"),
    [([-30.0, 30.0], [0.01, 10.0]), ([-31.7, 47.3], [1e-3, 1e-3]), ([30.0, 30.5], [0.01, 0.02])],
    ids=["narrow and wide", "both far narrower than the first grid", "close"],
)
def test_exact_keeps_both_modes_of_a_mixture(means: list[float], stds: list[float]) -> None:
    """Against the moments of a mixture in closed form."""
    m, s, w = np.array(means), np.array(stds), np.array([0.3, 0.7])
    mean = w @ m
    d = m - mean
    std = math.sqrt(w @ (s**2 + d**2))
    skewness = w @ (d**3 + 3 * d * s**2) / std**3
    kurtosis = w @ (d**4 + 6 * d**2 * s**2 + 3 * s**4) / std**4
    z = midpoint_samples(Mixture(means, stds, [0.3, 0.7]))
    np.testing.assert_allclose(moments(z), [[mean, std, skewness, kurtosis]] * 2, rtol=5e-4)
    u = torch.linspace(0.001, 0.999, 10_001, dtype=torch.float64)[:, None].expand(-1, 2)
    f = norm.cdf(InverseCDF(Mixture(means, stds, [0.3, 0.7])).quantile(u)[..., None], m, s) @ w
    assert np.abs(f - u.numpy()).max() < 1e-4


def test_exact_keeps_modes_of_five_scales() -> None:
    means, stds, weights = [0.0, 1.0, 10.0, 100.0, 1000.0], [1e-3, 1e-2, 0.1, 1.0, 10.0], [0.2] * 5
    u = torch.linspace(0.001, 0.999, 10_001, dtype=torch.float64)[:, None].expand(-1, 2)
    sampler = InverseCDF(Mixture(means, stds, weights))
    f = norm.cdf(sampler.quantile(u)[..., None], means, stds) @ weights
    assert np.abs(f - u.numpy()).max() < 1e-4
    assert sampler.mean == pytest.approx([222.2] * 2, rel=1e-4)


@pytest.mark.parametrize("weight", [0.5, 0.05])
@pytest.mark.parametrize("std", [0.1, 0.003, 0.001])
def test_exact_finds_a_mode_on_the_flank_of_another(std: float, weight: float) -> None:
    for mean in np.linspace(-4, 4, 41):
        sampler = InverseCDF(Mixture([0.0, mean], [1.0, std], [1 - weight, weight]))
        assert sampler.mean == pytest.approx([weight * mean] * 2, abs=weight * 1e-3)


class Cornered(FactorablePrior):
    """An exponential density that begins within its support, and one with a kink at its mode."""

    def __init__(self, start: float, mode: float, scale: float):
        super().__init__(2)
        self.start, self.mode, self.scale = start, mode, scale
        self.double()

    def log_density_per_dim(self, z: Tensor) -> Tensor:
        exponential = torch.where(z >= self.start, self.start - z, -math.inf)
        laplace = -(z - self.mode).abs() / self.scale
        return torch.stack([exponential[..., 0], laplace[..., 1]], -1)


def test_exact_of_densities_with_a_jump_or_a_kink() -> None:
    u = torch.linspace(0.001, 0.999, 10_001, dtype=torch.float64)[:, None].expand(-1, 2)
    for start, mode, scale in np.random.default_rng(0).uniform(0.01, 5, (20, 3)):
        z = InverseCDF(Cornered(start, mode, scale)).quantile(u).numpy().T
        f = expon.cdf(z[0], start), laplace.cdf(z[1], mode, scale)
        assert np.abs(f - u.numpy().T).max(1) == pytest.approx([0, 0], abs=3e-4)


def test_exact_wants_u_of_each_dimension() -> None:
    with pytest.raises(InputError, match="u has 1 dimensions where the prior has 3"):
        InverseCDF(StandardNormal(3)).quantile(torch.rand(5, 1))


def test_exact_on_an_interval_flat_or_all_at_one_end() -> None:
    """The uniform density, and one proportional to exp(400 z), an exponential at the upper end."""
    prior = prior_of([([0.0, 0.0], (-1.0, 2.0)), ([400.0, 0.0], (-1.0, 2.0))])
    uniform = [0.5, math.sqrt(3 / 4), 0.0, 9 / 5]
    exponential = [2 - 1 / 400, 1 / 400, -2.0, 9.0]
    z = midpoint_samples(prior.double())
    np.testing.assert_allclose(moments(z), [uniform, exponential], rtol=2e-3, atol=1e-6)


def test_exact_stays_on_the_support() -> None:
    prior = prior_of(list(MEMBERS.values()))
    ends = torch.tensor([[0.0], [1.0]]).expand(2, prior.dim)
    z = InverseCDF(prior).quantile(ends)
    lower, upper = prior.support.unbind(-1)
    assert bool(((z >= lower) & (z <= upper)).all())
    assert bool(z.isfinite().all())
    assert torch.equal(z[:, 2], torch.tensor([-2.5, 3.0]))
    draws = np.random.default_rng(0)
    for length, *eta in draws.normal(size=(40, 4)):
        interval = (-1.0, -1.0 + abs(length))
        prior = prior_of([(eta, interval)])
        lower, upper = prior.support[0]
        z = InverseCDF(prior).quantile(torch.tensor([[0.0], [1 - 1e-15], [1.0]]).double())
        assert bool(((z >= lower) & (z <= upper)).all()), (eta, interval, z)


def test_exact_quantiles_of_the_normal() -> None:
    u = torch.linspace(1e-6, 1 - 1e-6, 1001, dtype=torch.float64)[:, None]
    expected = torch.special.ndtri(u)
    z = InverseCDF(StandardNormal(1).double()).quantile(u)
    torch.testing.assert_close(z, expected, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(torch.special.ndtr(z), u, rtol=0, atol=1e-9)


def test_mala_moments() -> None:
    """Many chains; after the warm-up their states are pooled every 50 steps."""
    prior = prior_of(list(MEMBERS.values()))
    generator = torch.Generator().manual_seed(0)
    sampler = MALA(prior, step_size=1e-3)
    state = sampler.init(torch.full((4_000, prior.dim), 1.0))
    pool = []
    for t in range(1_000):
        state = sampler.step(state, generator)
        if t < 500:
            sampler = tune(sampler, state, t)
        elif t % 50 == 0:
            pool.append(state.position)
    assert_moments(torch.cat(pool), share=0.03)
    assert 0.5 < float(state.acceptance.mean()) < 0.65


GRID = np.linspace(-7, 7, 561)


def pairwise_in_the_plane() -> tuple[Prior, np.ndarray]:
    """Modes near (±1.5, ±1.5), those of equal signs higher, and a skew; its log-density on GRID."""
    eta, coupling = [[0.1, 1.0, 0.0, -0.25], [-0.1, 0.8, 0.05, -0.2]], 0.3
    prior = PairwisePolynomial(2, 4)
    prior.set_eta(torch.tensor(eta), torch.tensor([[0.0, coupling], [coupling, 0.0]]))
    first, second = (np.polynomial.Polynomial([0.0, *row])(GRID) for row in eta)
    return prior, first[:, None] + second + coupling * GRID[:, None] * GRID


def energy_in_the_plane() -> tuple[Prior, np.ndarray]:
    """Random statistics on a correlated base measure; its log-density on GRID, by numpy."""
    torch.manual_seed(3)
    prior = EnergyPrior(2, width=6)
    with torch.no_grad():
        prior.eta.normal_().mul_(1.5)
        prior.location.copy_(torch.tensor([0.5, -0.5]))
        prior.whitening.copy_(torch.tensor([[0.2, 0.0], [-0.6, -0.1]]))
    eta, location, raw, *layers = (p.detach().double().numpy() for p in prior.parameters())
    root = np.tril(raw, -1) + np.diag(np.exp(np.diag(raw)))
    z = np.stack(np.meshgrid(GRID, GRID, indexing="ij"), axis=-1)
    t = u = (z - location) @ root.T
    for weight, bias in zip(layers[::2], layers[1::2], strict=True):
        t = np.tanh(t @ weight.T + bias)
    return prior, t @ eta - (u**2).sum(-1) / 2


@pytest.mark.parametrize("case", [pairwise_in_the_plane, energy_in_the_plane])
def test_mala_moments_where_dimensions_depend_on_each_other(case) -> None:
    """Against quadrature in the plane: means, standard deviations, E|u|³ and correlation."""
    prior, log_density = case()
    mass = np.exp(log_density - log_density.max())
    mass /= mass.sum()
    points = np.stack([np.repeat(GRID, len(GRID)), np.tile(GRID, len(GRID))], axis=-1)
    mean = mass.ravel() @ points
    std = np.sqrt(mass.ravel() @ (points - mean) ** 2)
    u = (points - mean) / std
    z, diagnostics = sample(
        prior, 40_000, "mala", torch.Generator().manual_seed(0), steps=100, return_diagnostics=True
    )
    own = (z.double().numpy() - mean) / std
    assert np.abs(own.mean(0)).max() < 0.03
    np.testing.assert_allclose(own.std(0), 1, rtol=0.03)
    np.testing.assert_allclose((np.abs(own) ** 3).mean(0), mass.ravel() @ np.abs(u) ** 3, rtol=0.03)
    assert own.prod(1).mean() == pytest.approx(mass.ravel() @ u.prod(1), abs=0.03)
    assert abs(mass.ravel() @ u.prod(1)) > 0.2
    assert diagnostics.acceptance == pytest.approx(0.574, abs=0.05)


@pytest.mark.parametrize("method", ["svgd", "ula"])
def test_the_other_samplers_follow_a_correlation(method: str) -> None:
    """Of a Gaussian with a full covariance, from far away."""
    prior = PairwisePolynomial(2, 2)
    prior.set_eta(torch.tensor([[0.0, -0.5], [0.0, -0.5]]), torch.tensor([[0.0, 0.6], [0.6, 0.0]]))
    start = 3 + torch.randn(300, 2)
    options = {"steps": 400, "step_size": 0.05 if method == "svgd" else 0.03}
    z = sample(prior, 300, method, torch.Generator().manual_seed(0), start=start, **options)
    expected = torch.linalg.inv(torch.tensor([[1.0, -0.6], [-0.6, 1.0]]))
    torch.testing.assert_close(z.mT.cov(), expected, rtol=0.2, atol=0.15)
    assert z.mean(0).norm() < 0.25


def svgd_spread(prior: FactorablePolynomial, per_dim: bool) -> Tensor:
    sampler = SVGD(prior, per_dim, step_rule=AdaGrad(0.05))
    state = sampler.init(reflect(torch.randn(80, prior.dim), prior.support))
    for _ in range(150):
        state = sampler.step(state)
    return state.position.std(0, correction=0)


def test_svgd_keeps_the_spread_of_64_dimensions_one_at_a_time_only() -> None:
    """Every member many times over: joint SVGD collapses, each dimension by itself is right."""
    members = list(itertools.islice(itertools.cycle(MEMBERS.values()), 64))
    right = torch.tensor([truth(*member)[1] for member in MEMBERS.values()])
    right = right.repeat(13)[:64]
    prior = prior_of(members)
    torch.testing.assert_close(
        svgd_spread(prior, per_dim=True).double(), right.double(), rtol=0.05, atol=0
    )
    assert float((svgd_spread(prior, per_dim=False) / right).mean()) < 0.5
