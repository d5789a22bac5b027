"""The kernel Stein discrepancy against automatic differentiation; right and wrong samples."""

import inspect
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.func import grad, jacrev

from fisherae.errors import InputError
from fisherae.priors import ExponentialFamily, FactorablePolynomial, Prior, StandardNormal
from fisherae.samplers import (
    SVGD,
    AdaGrad,
    inverse_multiquadric,
    kernel_stein_discrepancy,
    rbf,
    sample,
    stein,
)

ETA = [0.2, -0.3, 0.1, -0.05, 0.02]  # improper on the whole line


def interval_prior() -> FactorablePolynomial:
    support = [(-2.5, 3.0), (-1.0, math.inf), (-math.inf, math.inf)]
    prior = FactorablePolynomial(3, 5, support).double()
    eta = [ETA, [0.0, -0.5, 0.0, 0.0, 0.0], [0.3, 1.0, 0.0, -0.25, 0.0]]
    prior.set_eta(torch.tensor(eta, dtype=torch.float64))
    return prior


def interacting_prior() -> Prior:
    torch.manual_seed(1)
    mix = torch.randn(3, 5, dtype=torch.float64)
    prior = ExponentialFamily(3, lambda z: (z @ mix.to(z)).sin()).double()
    torch.nn.init.normal_(prior.eta)
    return prior


def naive(prior: Prior, z: Tensor, k: Callable[[Tensor], Tensor], h: float) -> Tensor:
    """Mean over all pairs i ≠ j of A_z A_z′ k(z, z′), with A f = Σ_j [g_j s_j f_j + ∂_j (g_j f_j)],
    the Stein operator applied by automatic differentiation to either argument in turn."""
    finite = prior.support.isfinite()
    distances = (z[..., None] - prior.support).abs()
    largest = torch.where(finite, distances, 1.0).prod(-1).amax(0)

    def weight(x: Tensor) -> Tensor:
        return torch.where(finite, (x[:, None] - prior.support).abs(), 1.0).prod(-1) / largest

    score = grad(lambda x: prior.log_density(x[None])[0])

    def stein_kernel(x: Tensor, y: Tensor) -> Tensor:
        def kernel(x: Tensor, y: Tensor) -> Tensor:
            return k((x - y).square().sum() / h)

        def at_y(x: Tensor, y: Tensor) -> Tensor:
            slope = jacrev(lambda y: weight(y) * kernel(x, y))(y).diagonal()
            return weight(y) * score(y) * kernel(x, y) + slope

        slope = jacrev(lambda x: weight(x) * at_y(x, y))(x).diagonal()
        return (weight(x) * score(x) * at_y(x, y) + slope).sum()

    n = len(z)
    pairs = [stein_kernel(z[i], z[j]) for i in range(n) for j in range(n) if i != j]
    return torch.stack(pairs).mean()


@pytest.mark.parametrize("prior", [interval_prior(), interacting_prior()], ids=["ends", "line"])
@pytest.mark.parametrize(
    ("kernel", "k"),
    [(rbf, lambda r: (-r).exp()), (inverse_multiquadric, lambda r: (1 + r) ** -0.5)],
    ids=["rbf", "imq"],
)
def test_closed_form(prior: Prior, kernel, k: Callable[[Tensor], Tensor]) -> None:
    z = 2 * torch.rand(6, 3, dtype=torch.float64) - 0.9
    h = 0.5
    actual = kernel_stein_discrepancy(prior, z, kernel, bandwidth=lambda *_: torch.tensor(h))
    torch.testing.assert_close(actual, naive(prior, z, k, h).detach(), rtol=1e-8, atol=1e-10)


def test_samples_in_one_place_are_infinitely_wrong() -> None:
    """∇_z ∇_z′ k(z, z′) is 2 d / h there, h the distance that there is none of."""
    assert kernel_stein_discrepancy(StandardNormal(2), torch.ones(5, 2)) == math.inf


def test_whole_numbers_are_samples_too() -> None:
    z = torch.tensor([[0, 1], [1, 0], [2, 1]])
    discrepancy = inspect.unwrap(kernel_stein_discrepancy)  # without the tests' type checker
    with torch.no_grad():
        actual = discrepancy(StandardNormal(2), z)
    assert actual.item() == pytest.approx(kernel_stein_discrepancy(StandardNormal(2), z.float()))


@pytest.mark.parametrize("z", [torch.randn(2, 3), torch.randn(3, 3)[[0, 0, 0, 0, 0, 1, 2]]])
def test_samples_that_coincide_are_no_harm(z: Tensor) -> None:
    """Two, or a chain that stood still: half of all pairs are in one place."""
    prior, z = interacting_prior(), z.double()
    h = (z[:, None] - z).square().sum(-1).mean().item() / math.log(len(z) + 1)
    expected = naive(prior, z, lambda r: (1 + r) ** -0.5, h)
    torch.testing.assert_close(kernel_stein_discrepancy(prior, z), expected.detach())


def test_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    z = torch.rand(50, 3, dtype=torch.float64)
    whole = kernel_stein_discrepancy(interval_prior(), z)
    monkeypatch.setattr(stein, "_TILE", 400)
    torch.testing.assert_close(kernel_stein_discrepancy(interval_prior(), z), whole)


def test_expectation_for_two_normals() -> None:
    """E u_p = E (s_p − s_q)(z) k(z, z′) (s_p − s_q)(z′), z, z′ ~ q (Liu, Lee and Jordan 2016), for
    p = N(0, 1) and q = N(m, 1) is m² E exp(−(z − z′)² / h) = m² (1 + 4 / h)^(−½)."""
    h, shift = 2.0, 0.8
    z = shift + torch.randn(4_000, 1, dtype=torch.float64)
    actual = kernel_stein_discrepancy(StandardNormal(1), z, rbf, lambda *_: torch.tensor(h))
    assert actual.item() == pytest.approx(shift**2 / math.sqrt(1 + 4 / h), rel=0.05)


@pytest.mark.parametrize("dim", [1, 8, 64])
def test_right_samples_and_wrong_ones(dim: int) -> None:
    prior, z = StandardNormal(dim), torch.randn(1_000, dim)
    right = kernel_stein_discrepancy(prior, z)
    assert abs(right) < 0.01
    for wrong in (z + 0.5, z / 2, 1.5 * z):
        assert kernel_stein_discrepancy(prior, wrong) > 0.05


def test_right_samples_on_a_support() -> None:
    """Without the weight, the ends of an interval would count as an error."""
    prior = interval_prior()
    z = sample(prior, 2_000, "exact", torch.Generator().manual_seed(0))
    centre = z.mean(0)
    assert abs(kernel_stein_discrepancy(prior, z)) < 0.005
    assert kernel_stein_discrepancy(prior, centre + 0.6 * (z - centre)) > 0.1


def test_it_sees_the_collapse_of_svgd() -> None:
    prior = StandardNormal(64)
    sampler = SVGD(prior, step_rule=AdaGrad(0.05))
    state = sampler.init(torch.randn(50, 64))
    for _ in range(200):
        state = sampler.step(state)
    right = kernel_stein_discrepancy(prior, torch.randn(50, 64))
    assert kernel_stein_discrepancy(prior, state.position) > 5 * abs(right)


def test_an_improper_prior_has_one_too() -> None:
    prior = FactorablePolynomial(2, 5)
    prior.set_eta(torch.tensor([ETA] * 2))
    assert prior.is_normalizable.tolist() == [False, False]
    assert kernel_stein_discrepancy(prior, torch.randn(100, 2)).isfinite()


@pytest.mark.parametrize("value", [0.5, -1.0])
def test_coinciding_samples_are_far_from_any_density(value: float) -> None:
    """Also where all of them are at an end of the support."""
    prior = FactorablePolynomial(2, 2, support=(-1.0, math.inf))
    discrepancy = kernel_stein_discrepancy(prior, torch.full((10, 2), value))
    assert not discrepancy.isnan()
    assert discrepancy > 0.5


def test_one_sample_is_too_few() -> None:
    with pytest.raises(InputError, match="at least 2 samples, got 1"):
        kernel_stein_discrepancy(StandardNormal(2), torch.zeros(1, 2))
