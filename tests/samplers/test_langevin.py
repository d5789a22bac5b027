"""Langevin chains against closed forms (MALA's moments: test_moments.py)."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fisherae.priors import ExponentialFamily, FactorablePolynomial, StandardNormal
from fisherae.samplers import MALA, ULA, reflect, tune

INF = math.inf


@pytest.mark.parametrize("step_size", [0.5, torch.tensor([0.5, 0.1])])
def test_ula_is_biased_as_the_theory_says(step_size: float | torch.Tensor) -> None:
    """On N(0, 1) the chain is AR(1) with stationary variance 1 / (1 − h/2)."""
    sampler = ULA(StandardNormal(2), step_size)
    state = sampler.init(torch.randn(100_000, 2))
    for _ in range(40):
        state = sampler.step(state)
    expected = 1 / (1 - torch.as_tensor(step_size) / 2).expand(2)
    torch.testing.assert_close(state.position.var(0), expected, rtol=0.015, atol=0)


def test_ula_reflects_at_the_support() -> None:
    """The half-normal: mean √(2/π), which is 0 on the whole line."""
    prior = FactorablePolynomial(1, 2, support=(0.0, INF))
    sampler = ULA(prior, step_size=0.01)
    state = sampler.init(torch.rand(20_000, 1))
    for _ in range(300):
        state = sampler.step(state)
    assert float(state.position.min()) >= 0
    assert float(state.position.mean()) == pytest.approx(math.sqrt(2 / math.pi), rel=0.02)


def test_mala_acceptance_is_the_metropolis_ratio() -> None:
    """Against p(z′) q(z|z′) / p(z) q(z′|z) with the densities of torch.distributions."""
    h, z = 0.8, torch.randn(50, 3)
    sampler = MALA(StandardNormal(3), h)
    state = sampler.step(sampler.init(z), torch.Generator().manual_seed(1))
    noise = torch.empty(50, 3).normal_(generator=torch.Generator().manual_seed(1))
    proposal = z - h * z + math.sqrt(2 * h) * noise

    def log_p(x: torch.Tensor) -> torch.Tensor:
        return torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(-1)

    def log_q(to: torch.Tensor, origin: torch.Tensor) -> torch.Tensor:
        q = torch.distributions.Normal(origin - h * origin, math.sqrt(2 * h))
        return q.log_prob(to).sum(-1)

    ratio = (log_p(proposal) + log_q(z, proposal) - log_p(z) - log_q(proposal, z)).exp()
    torch.testing.assert_close(state.acceptance, ratio.clamp(max=1))
    moved = (state.position != z).any(-1)
    assert 0 < int(moved.sum()) < 50
    assert torch.equal(state.position, torch.where(moved[:, None], proposal, z))
    torch.testing.assert_close(state.score, -state.position)
    torch.testing.assert_close(state.log_density, -state.position.square().sum(-1) / 2)


def test_mala_never_leaves_the_support_and_enters_it() -> None:
    prior = FactorablePolynomial(2, 2, support=(0.0, 1.0))
    sampler = MALA(prior, step_size=0.5)
    state = sampler.init(torch.full((500, 2), 0.5))
    for _ in range(50):
        state = sampler.step(state)
        assert 0 <= float(state.position.min()) <= float(state.position.max()) <= 1
    outside = sampler.init(torch.full((500, 2), -0.2))
    for _ in range(50):
        outside = sampler.step(outside)
    assert float(outside.position.min()) >= 0


def test_mala_on_a_correlated_prior() -> None:
    covariance = torch.tensor([[1.0, 0.8], [0.8, 1.0]])
    precision = torch.linalg.inv(covariance)
    prior = ExponentialFamily(2, lambda z: -((z @ precision) * z).sum(-1, keepdim=True) / 2)
    torch.nn.init.ones_(prior.eta)
    sampler = MALA(prior, step_size=0.3)
    state = sampler.init(torch.zeros(20_000, 2))
    for _ in range(100):
        state = sampler.step(state)
    torch.testing.assert_close(state.position.mT.cov(), covariance, rtol=0, atol=0.03)


@pytest.mark.parametrize("start", [1e-6, 1e3])
def test_tune_finds_the_optimal_acceptance(start: float) -> None:
    sampler = MALA(StandardNormal(16), start)
    state = sampler.init(torch.randn(500, 16))
    for t in range(600):
        state = sampler.step(state)
        sampler = tune(sampler, state, t)
    assert float(state.acceptance.mean()) == pytest.approx(0.574, abs=0.05)


def fold(z: float, lower: float, upper: float) -> float:
    """Reflection by reflecting, until inside."""
    while not lower <= z <= upper:
        z = 2 * lower - z if z < lower else 2 * upper - z
    return z


@given(
    st.floats(-50, 50),
    st.sampled_from([(-INF, INF), (0.0, INF), (-INF, -3.0), (-1.0, 2.0), (10.0, 10.5)]),
)
def test_reflect(z: float, support: tuple[float, float]) -> None:
    ends = torch.tensor([support], dtype=torch.float64)
    folded = reflect(torch.tensor([[z]], dtype=torch.float64), ends)
    np.testing.assert_allclose(folded.item(), fold(z, *support), atol=1e-9)
