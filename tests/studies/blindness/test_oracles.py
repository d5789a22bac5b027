"""The closed forms and quadratures of the study against scipy, autograd and Monte Carlo."""

import math

import pytest
import torch
from scipy.integrate import dblquad, quad
from torch.distributions import Normal

import fisherae as fae
from fisherae.divergences import fisher_divergence, hyvarinen_score
from fisherae.studies.blindness import encoders, gaps, weights
from fisherae.studies.blindness.quadrature import LatentGrid, plane
from fisherae.studies.blindness.truths import TRUTHS

PI = weights.WEIGHT


def normal(x: float, mean: float) -> float:
    return math.exp(-((x - mean) ** 2) / 2) / math.sqrt(2 * math.pi)


def density(x: float, separation: float, w: float) -> float:
    return w * normal(x, -separation / 2) + (1 - w) * normal(x, separation / 2)


def score(x: float, separation: float, w: float) -> float:
    """p′ / p, by central differences."""
    h = 1e-5
    change = density(x + h, separation, w) - density(x - h, separation, w)
    return change / (2 * h) / density(x, separation, w)


@pytest.mark.parametrize("separation", [1.0, 4.0, 6.0])
@pytest.mark.parametrize("w", [0.05, 0.75])
def test_divergences_of_mixtures(separation: float, w: float) -> None:
    def fisher(x: float) -> float:
        change = score(x, separation, PI) - score(x, separation, w)
        return density(x, separation, PI) * change**2 / 2

    def kl(x: float) -> float:
        p = density(x, separation, PI)
        return p * math.log(p / density(x, separation, w))

    found = weights.divergences(separation, w)
    ends = (-separation / 2 - 8, separation / 2 + 8)
    assert found.fisher == pytest.approx(quad(fisher, *ends, limit=200)[0], rel=1e-4)
    assert found.kl == pytest.approx(quad(kl, *ends, limit=200)[0], rel=1e-6)


def test_the_leading_order_is_approached() -> None:
    ratios = [
        weights.divergences(d, 0.75).fisher / weights.far_apart(d, 0.75) for d in (4.0, 8.0, 16.0)
    ]
    errors = [abs(ratio - 1) for ratio in ratios]
    # The error falls with 1 / Δ²: by four from one to the next.
    assert errors[2] < 0.3 * errors[1] < 0.1 * errors[0]


def test_both_estimators_minimise_what_they_say() -> None:
    """On one data set, against the library's Hyvärinen score and log-density at every weight."""
    x = weights.pair(3.0, PI).draw(300)
    found = [float(w) for w in weights.estimates(x.T, 3.0)]
    grid = weights.LOGITS[40:-40:2].sigmoid().tolist()
    models = [weights.pair(3.0, w) for w in grid]
    scores = [float(hyvarinen_score(m, x).mean().detach()) for m in models]
    densities = [float(m.log_density(x).mean()) for m in models]
    best = grid[scores.index(min(scores))], grid[densities.index(max(densities))]
    assert found == pytest.approx(best, abs=0.03)


@pytest.mark.parametrize("separation", [2.0, 4.0])
def test_asymptotic_errors(separation: float) -> None:
    """Against the spread over 60 data sets, whose own error is 9 %."""
    (found,) = weights.estimation_errors([separation], range(1), sets=60, n=1_000)
    matching, likelihood = (e / math.sqrt(1_000) for e in weights.sampling_errors(separation))
    assert found.score_matching == pytest.approx(matching, rel=0.3)
    assert found.likelihood == pytest.approx(likelihood, rel=0.3)


def test_noise_makes_a_problem_of_less_separation() -> None:
    found = weights.needed(8.0)
    reduced = 8.0 / math.hypot(1.0, found.noise)
    expected = (weights.sampling_errors(reduced)[0] / 0.05) ** 2
    assert found.with_noise == pytest.approx(expected, rel=1e-9)
    assert found.with_noise < found.score_matching / 1_000
    assert found.likelihood <= found.with_noise


@pytest.mark.parametrize("barrier", [1.0, 5.0])
def test_core_and_ring(barrier: float) -> None:
    """The core's share in the plane, and the height of the barrier."""
    a, b, c = gaps.core_and_ring(barrier).tolist()

    def p(y: float, x: float) -> float:
        s = x**2 + y**2
        return math.exp(a * s + b * s**2 + c * s**3)

    edge = math.sqrt(gaps.RING / 3)
    core, _ = dblquad(p, -edge, edge, lambda x: -math.sqrt(edge**2 - x**2),
                      lambda x: math.sqrt(edge**2 - x**2))  # fmt: skip
    whole, _ = dblquad(p, -3, 3, -3, 3, epsabs=1e-5)
    assert core / whole == pytest.approx(gaps.CORE, abs=2e-3)
    samples = gaps.draw_core_and_ring(
        torch.tensor([a, b, c], dtype=torch.float64), 20_000, torch.Generator().manual_seed(0)
    )
    share = float((samples.norm(dim=1) < edge).double().mean())
    assert share == pytest.approx(gaps.CORE, abs=4 * math.sqrt(0.21 / 20_000))


def test_maximum_likelihood_matches_the_moments() -> None:
    """Which is what the likelihood of an exponential family has at its maximum."""
    true = gaps.core_and_ring(3.0)
    z = gaps.draw_core_and_ring(true, 500, torch.Generator().manual_seed(0))
    fitted = gaps.likelihood_fit(z, true)
    radial = (gaps._powers(gaps.RADIAL) @ fitted).softmax(0) @ gaps._powers(gaps.RADIAL)
    torch.testing.assert_close(radial, gaps.statistics(z).mean(0), rtol=1e-6, atol=0)


def test_island_weights_by_likelihood_are_the_shares() -> None:
    """Of islands so far apart that every sample tells where it is from."""
    z = gaps.islands(20.0, 1.0, gaps.ISLANDS).draw(400, torch.Generator().manual_seed(0))
    home = torch.cdist(z, gaps.islands(20.0, 1.0, gaps.ISLANDS).means).argmin(1)
    shares = torch.bincount(home, minlength=3) / 400
    fitted = gaps.fitted_weights(z, 20.0, 1.0, by_likelihood=True)
    torch.testing.assert_close(fitted, shares.double(), atol=1e-3, rtol=0)
    blind = gaps.fitted_weights(z, 20.0, 1.0, by_likelihood=False)
    torch.testing.assert_close(blind, torch.full((3,), 1 / 3, dtype=torch.float64))


def test_joint_divergence_in_closed_form() -> None:
    w, s2, a, v = 0.8, 0.3, 0.6, 0.4
    x = torch.randn(100_000, dtype=torch.float64)
    z = a * x + math.sqrt(v) * torch.randn(100_000, dtype=torch.float64)

    def log_q(point: torch.Tensor) -> torch.Tensor:
        x, z = point.unbind(-1)
        return Normal(0.0, 1.0).log_prob(x) + Normal(a * x, math.sqrt(v)).log_prob(z)

    def log_p(point: torch.Tensor) -> torch.Tensor:
        x, z = point.unbind(-1)
        return Normal(0.0, 1.0).log_prob(z) + Normal(w * z, math.sqrt(s2)).log_prob(x)

    found = encoders.joint_divergence(w, s2, *torch.tensor([a, v], dtype=torch.float64))
    sampled = fisher_divergence(log_q, log_p, torch.stack([x, z], dim=-1))
    assert float(found) == pytest.approx(float(sampled.detach()), rel=0.02)


@pytest.mark.parametrize("w", [0.3, 0.9487, 1.4])
def test_the_best_encoder(w: float) -> None:
    """Below the marginal divergence, which is what the posterior as an encoder gives."""
    found = encoders.best_encoder(w, 0.1)
    variance = w**2 + 0.1
    posterior = torch.tensor([w / variance, 1 - w**2 / variance], dtype=torch.float64)
    assert float(encoders.joint_divergence(w, 0.1, *posterior)) == pytest.approx(found.marginal)
    assert found.joint <= found.marginal + 1e-9
    if w == 1.4:
        assert found.joint < 0.8 * found.marginal


def test_inferred() -> None:
    separation, w, mean = 4.0, 0.1, 0.5

    def fisher(z: float) -> float:
        return normal(z, mean) * (mean - z - score(z, separation, w)) ** 2 / 2

    found = encoders.inferred(separation, w, mean)
    assert found.fisher == pytest.approx(quad(fisher, -8, 9)[0], rel=1e-5)


def test_a_latent_grid_of_a_linear_model() -> None:
    """x ~ N(0, w wᵀ + s² I), and the posterior of which q(z|x) is made exact."""
    direction, s2 = torch.tensor([0.9, -0.4]), 0.3
    encoder, decoder = torch.nn.Linear(2, 2), torch.nn.Linear(1, 2, bias=False)
    variance = 1 / (1 + direction.square().sum() / s2)
    with torch.no_grad():
        decoder.weight.copy_(direction[:, None])
        encoder.weight.copy_(torch.stack([variance * direction / s2, torch.zeros(2)]))
        encoder.bias.copy_(torch.tensor([0.0, variance.log()]))
    prior, likelihood = fae.StandardNormal(1), fae.GaussianLikelihood(s2)
    model = fae.Autoencoder(encoder, decoder, prior, likelihood)
    x = torch.randn(50, 2)
    found = LatentGrid(model, x).posteriors(x)
    covariance = direction.outer(direction) + s2 * torch.eye(2)
    exact = torch.distributions.MultivariateNormal(torch.zeros(2), covariance)
    torch.testing.assert_close(found.log_likelihood, exact.log_prob(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.score, -x @ torch.linalg.inv(covariance), rtol=1e-3, atol=1e-4)
    assert found.mismatch.abs().max() < 1e-3
    with torch.no_grad():
        encoder.bias[0] += 2 * variance.sqrt()  # two standard deviations off
    off = LatentGrid(model, x).posteriors(x).mismatch
    torch.testing.assert_close(
        off, torch.full((50,), math.erf(1 / math.sqrt(2))), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("name", TRUTHS)
def test_truths_weigh_what_they_say(name: str) -> None:
    truth = TRUTHS[name]
    points, area = plane(6.0, 121)
    shares = truth.shares(truth.density.log_density(points).exp() * area, points)
    assert float(shares.sum()) == pytest.approx(1, abs=1e-3)
    assert float(shares[0]) == pytest.approx(0.25, abs=0.02)
