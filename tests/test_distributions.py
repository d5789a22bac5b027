"""Posteriors and likelihoods against torch.distributions, autograd and arithmetic by hand."""

import math

import pytest
import torch
from scipy.optimize import minimize_scalar
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Independent, Normal, kl_divergence

from fisherae.distributions import (
    Bernoulli,
    BernoulliLikelihood,
    Delta,
    DiagonalGaussian,
    GaussianLikelihood,
    IsotropicGaussian,
)
from fisherae.divergences import hyvarinen_score
from fisherae.errors import InputError


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64)


@pytest.fixture
def q():
    return DiagonalGaussian(double(5, 3).requires_grad_(), (0.4 * double(5, 3)).requires_grad_())


@pytest.fixture
def z():
    return double(5, 3)


# q(z|x)


def test_gaussian_log_prob(q, z):
    expected = Independent(Normal(q.mean, q.std), 1).log_prob(z)
    torch.testing.assert_close(q.log_prob(z), expected)


def test_gaussian_kl_to_the_standard_normal(q):
    standard = Normal(torch.zeros_like(q.mean), torch.ones_like(q.mean))
    expected = kl_divergence(Normal(q.mean, q.std), standard).sum(-1)
    torch.testing.assert_close(q.kl_standard_normal(), expected)


def test_gaussian_score_is_the_gradient_in_z(q, z):
    z.requires_grad_()
    (expected,) = torch.autograd.grad(q.log_prob(z).sum(), z)
    torch.testing.assert_close(q.score(z), expected)


def test_gaussian_parameter_scores_are_the_gradients_at_fixed_z(q, z):
    expected = torch.autograd.grad(q.log_prob(z).sum(), q.parameters)
    for ours, autograd in zip(q.parameter_scores(z), expected, strict=True):
        torch.testing.assert_close(ours, autograd)


def test_gaussian_reads_the_mean_and_the_log_variance():
    q = DiagonalGaussian.from_output(torch.tensor([[1.0, 2.0, 0.0, math.log(9.0)]]), dim=2)
    torch.testing.assert_close(q.mean, torch.tensor([[1.0, 2.0]]))
    torch.testing.assert_close(q.std, torch.tensor([[1.0, 3.0]]))


def test_rsample_moments():
    n = 100_000
    mean, std = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])
    z = DiagonalGaussian(mean.expand(n, 2), std.log().expand(n, 2)).rsample()
    assert ((z.mean(0) - mean).abs() < 5 * std / n**0.5).all()
    assert ((z.std(0) - std).abs() < 5 * std / (2 * n) ** 0.5).all()


def test_rsample_is_reproducible_and_leaves_the_global_generator_alone(q):
    before = torch.get_rng_state()
    first = q.rsample(torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(q.rsample(torch.Generator().manual_seed(1)), first)
    assert not torch.equal(q.rsample(torch.Generator().manual_seed(2)), first)


def test_rsample_gradient(q):
    """z = μ + σ ε: ∂z/∂μ = 1 and ∂z/∂log σ = σ ε = z − μ."""
    z = q.rsample()
    by_mean, by_log_std = torch.autograd.grad(z.sum(), q.parameters)
    torch.testing.assert_close(by_mean, torch.ones_like(z))
    torch.testing.assert_close(by_log_std, z - q.mean)


def test_delta_is_its_mean():
    mean = double(5, 3).requires_grad_()
    q = Delta.from_output(mean, dim=3)
    assert torch.equal(q.rsample(torch.Generator()), mean)
    assert q.rsample().requires_grad


# p(x|z)


@pytest.mark.parametrize("event", [(7,), (2, 3, 4)])
@pytest.mark.parametrize("variance", [0.05, 1.0, 4.0])
def test_isotropic_gaussian(event, variance):
    mean, x = double(5, *event), double(5, *event)
    p = IsotropicGaussian(mean, torch.tensor(variance, dtype=torch.float64))
    torch_p = Independent(Normal(mean, variance**0.5), len(event))
    torch.testing.assert_close(p.log_prob(x), torch_p.log_prob(x))

    def flat_log_prob(points):
        return torch_p.log_prob(points.unflatten(1, event))

    torch.testing.assert_close(p.hyvarinen_score(x), hyvarinen_score(flat_log_prob, x.flatten(1)))


def test_hyvarinen_score_by_hand():
    """‖x − f‖² = 9 + 1, s² = 2, D = 2: 10 / (2·4) − 2 / 2."""
    p = IsotropicGaussian(torch.tensor([[1.0, 2.0]]), torch.tensor(2.0))
    torch.testing.assert_close(p.hyvarinen_score(torch.tensor([[4.0, 1.0]])), torch.tensor([0.25]))


@pytest.mark.parametrize("method", ["log_prob", "hyvarinen_score"])
def test_images_that_would_broadcast_are_refused(method):
    p = IsotropicGaussian(torch.zeros(4, 1, 3, 3), torch.tensor(1.0))
    with pytest.raises(InputError, match=r"\(4, 3, 3\), the decoder's \(4, 1, 3, 3\)"):
        getattr(p, method)(torch.zeros(4, 3, 3))


def test_an_empty_batch_has_no_values():
    p = IsotropicGaussian(torch.zeros(0, 1, 3, 3), torch.tensor(1.0))
    assert p.log_prob(p.mean).shape == p.hyvarinen_score(p.mean).shape == (0,)


def test_gaussian_samples():
    n = 100_000
    p = IsotropicGaussian(torch.full((n, 1), 3.0, requires_grad=True), torch.tensor(4.0))
    x = p.sample(torch.Generator().manual_seed(0))
    assert not x.requires_grad
    assert torch.equal(x, p.sample(torch.Generator().manual_seed(0)))
    assert abs(x.mean() - 3) < 5 * 2 / n**0.5
    assert abs(x.var() - 4) < 5 * 4 * (2 / n) ** 0.5


def test_the_reconstruction_term_is_smallest_at_the_mean_squared_error():
    x, mean = double(50, 1, 4, 4), double(50, 1, 4, 4)

    def term(log_variance):
        variance = torch.tensor(log_variance, dtype=torch.float64).exp()
        return IsotropicGaussian(mean, variance).hyvarinen_score(x).mean().item()

    best = minimize_scalar(term, bounds=(-5.0, 5.0), options={"xatol": 1e-9})
    assert math.exp(best.x) == pytest.approx((x - mean).square().mean().item(), rel=1e-6)


def test_bernoulli_log_prob():
    mean = torch.rand(5, 1, 4, 4, dtype=torch.float64)
    x = torch.rand_like(mean).round()
    expected = Independent(TorchBernoulli(mean), 3).log_prob(x)
    torch.testing.assert_close(Bernoulli(mean).log_prob(x), expected)


def test_bernoulli_takes_grey_values():
    mean, x = torch.tensor([[0.2, 0.9]]), torch.tensor([[0.3, 0.6]])
    expected = 0.3 * math.log(0.2) + 0.7 * math.log(0.8) + 0.6 * math.log(0.9) + 0.4 * math.log(0.1)
    assert Bernoulli(mean).log_prob(x).item() == pytest.approx(expected, rel=1e-6)


def test_bernoulli_samples():
    n, mean = 40_000, torch.tensor([0.1, 0.7])
    x = Bernoulli(mean.expand(n, 2)).sample(torch.Generator().manual_seed(0))
    assert set(x.unique().tolist()) == {0.0, 1.0}
    assert ((x.mean(0) - mean).abs() < 5 * (mean * (1 - mean) / n).sqrt()).all()


# what makes p(x|z) of a decoder's output


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("variance", [1e-4, 0.1, 1.0, 50.0])
def test_gaussian_likelihood(variance, learned):
    likelihood = GaussianLikelihood(variance, learned).double()
    p = likelihood(double(5, 1, 4, 4))
    assert p.variance.item() == pytest.approx(variance, rel=1e-6)
    assert p.variance.dtype == torch.float64
    assert p.variance.requires_grad == learned == bool(list(likelihood.parameters()))


def test_gaussian_likelihood_learns_the_mean_squared_error():
    likelihood = GaussianLikelihood(learned=True).double()
    x, output = double(50, 16), double(50, 16)
    optimizer = torch.optim.LBFGS(likelihood.parameters(), max_iter=100, tolerance_grad=1e-10)

    def closure():
        optimizer.zero_grad()
        loss = likelihood(output).hyvarinen_score(x).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    expected = (x - output).square().mean().item()
    assert likelihood.variance.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("variance", [0.0, -1.0, math.inf, math.nan])
def test_gaussian_likelihood_refuses(variance):
    with pytest.raises(InputError, match=f"decoder variance must be a positive number.*{variance}"):
        GaussianLikelihood(variance)


def test_bernoulli_likelihood_keeps_the_output():
    output = torch.rand(5, 1, 4, 4)
    assert torch.equal(BernoulliLikelihood()(output).mean, output)


def test_a_bernoulli_decoder_that_diverged_has_no_likelihood() -> None:
    mean = torch.full((2, 4), 0.5)
    mean[1, 2] = torch.nan
    log_prob = Bernoulli(mean).log_prob(torch.ones(2, 4))
    assert log_prob[0].item() == pytest.approx(4 * math.log(0.5))
    assert log_prob[1].isnan()
