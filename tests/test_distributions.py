"""Posteriors and likelihoods against torch.distributions, autograd and arithmetic by hand."""

import math

import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Independent, Normal, kl_divergence
from torch.nn import functional as F

from fisherae.distributions import (
    Bernoulli,
    BernoulliLikelihood,
    Delta,
    DiagonalGaussian,
    Gaussian,
    GaussianLikelihood,
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
def test_gaussian_of_one_variance(event, variance):
    mean, x = double(5, *event), double(5, *event)
    p = Gaussian(mean, torch.tensor(variance, dtype=torch.float64))
    torch_p = Independent(Normal(mean, variance**0.5), len(event))
    torch.testing.assert_close(p.log_prob(x), torch_p.log_prob(x))

    def flat_log_prob(points):
        return torch_p.log_prob(points.unflatten(1, event))

    torch.testing.assert_close(p.hyvarinen_score(x), hyvarinen_score(flat_log_prob, x.flatten(1)))


@pytest.mark.parametrize("shape", [(3, 1, 1), (1, 2, 4), (3, 2, 4), (4,)])
def test_gaussian_of_several_variances(shape):
    """log p against torch.distributions, s_∇ against its definition by autograd."""
    mean, x = double(5, 3, 2, 4), double(5, 3, 2, 4)
    variance = double(*shape).exp()
    p = Gaussian(mean, variance)
    torch_p = Independent(Normal(mean, variance.sqrt().expand(3, 2, 4)), 3)
    torch.testing.assert_close(p.log_prob(x), torch_p.log_prob(x))

    def flat_log_prob(points):
        return torch_p.log_prob(points.unflatten(1, (3, 2, 4)))

    torch.testing.assert_close(p.hyvarinen_score(x), hyvarinen_score(flat_log_prob, x.flatten(1)))


@pytest.mark.parametrize("method", ["log_prob", "hyvarinen_score"])
@pytest.mark.parametrize("shape", [(), (3, 1, 1), (3, 2, 4)])
def test_gradients_of_variances_equal_finite_differences(shape, method):
    likelihood = GaussianLikelihood(0.3, learned=True, shape=shape).double()
    with torch.no_grad():
        likelihood.log_variance.add_(0.5 * torch.randn_like(likelihood.log_variance))
    x, output = double(5, 3, 2, 4), double(5, 3, 2, 4)

    def value():
        return getattr(likelihood(output), method)(x).mean()

    value().backward()
    flat = likelihood.log_variance.data.view(-1)
    for i, gradient in enumerate(likelihood.log_variance.grad.view(-1).tolist()):
        flat[i] += 1e-6
        above = value().item()
        flat[i] -= 2e-6
        below = value().item()
        flat[i] += 1e-6
        assert gradient == pytest.approx((above - below) / 2e-6, rel=1e-5, abs=1e-6)


def test_hyvarinen_score_by_hand():
    """‖x − f‖² = 9 + 1, s² = 2, D = 2: 10 / (2·4) − 2 / 2."""
    p = Gaussian(torch.tensor([[1.0, 2.0]]), torch.tensor(2.0))
    torch.testing.assert_close(p.hyvarinen_score(torch.tensor([[4.0, 1.0]])), torch.tensor([0.25]))


@pytest.mark.parametrize("method", ["log_prob", "hyvarinen_score"])
def test_images_that_would_broadcast_are_refused(method):
    p = Gaussian(torch.zeros(4, 1, 3, 3), torch.tensor(1.0))
    with pytest.raises(InputError, match=r"\(4, 3, 3\), the decoder's \(4, 1, 3, 3\)"):
        getattr(p, method)(torch.zeros(4, 3, 3))


def test_an_empty_batch_has_no_values():
    p = Gaussian(torch.zeros(0, 1, 3, 3), torch.tensor(1.0))
    assert p.log_prob(p.mean).shape == p.hyvarinen_score(p.mean).shape == (0,)


def test_gaussian_samples():
    n = 100_000
    p = Gaussian(torch.full((n, 1), 3.0, requires_grad=True), torch.tensor(4.0))
    x = p.sample(torch.Generator().manual_seed(0))
    assert not x.requires_grad
    assert torch.equal(x, p.sample(torch.Generator().manual_seed(0)))
    assert abs(x.mean() - 3) < 5 * 2 / n**0.5
    assert abs(x.var() - 4) < 5 * 4 * (2 / n) ** 0.5


def test_the_reconstruction_term_is_smallest_at_the_mean_squared_error():
    x, mean = double(50, 1, 4, 4), double(50, 1, 4, 4)

    def term(log_variance):
        variance = torch.tensor(log_variance, dtype=torch.float64).exp()
        return Gaussian(mean, variance).hyvarinen_score(x).mean().item()

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


def learned(shape, x, output, method):
    """The variances at which the mean score, or minus the mean log-likelihood, is smallest."""
    likelihood = GaussianLikelihood(learned=True, shape=shape).double()
    sign = 1 if method == "hyvarinen_score" else -1
    optimizer = torch.optim.LBFGS(
        likelihood.parameters(), max_iter=500, tolerance_grad=1e-11, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        loss = sign * getattr(likelihood(output), method)(x).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    return likelihood.variance.detach()


@pytest.mark.parametrize("method", ["log_prob", "hyvarinen_score"])
@pytest.mark.parametrize(
    ("shape", "shared"), [((), (0, 1, 2, 3)), ((3, 1, 1), (0, 2, 3)), ((3, 2, 2), (0,))]
)
def test_the_best_variances_are_mean_squared_errors(shape, shared, method):
    """Of the pixels that share one."""
    output = double(50, 3, 2, 2)
    x = output + (0.5 * double(3, 2, 2)).exp() * double(50, 3, 2, 2)
    expected = (x - output).square().mean(shared).view(shape)
    torch.testing.assert_close(learned(shape, x, output, method), expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("method", ["log_prob", "hyvarinen_score"])
def test_the_best_variances_of_a_linear_model_are_those_of_its_residuals(method):
    """x = Bz + e, e ~ N(0, diag s²) with known s², f the linear regression on z."""
    n, known = 200_000, torch.tensor([0.05, 0.2, 1.0, 0.4, 0.1, 0.6]).double()
    z = double(n, 3)
    x = z @ double(3, 6) + known.sqrt() * double(n, 6)
    output = z @ torch.linalg.lstsq(z, x).solution
    variances = learned((6,), x, output, method)
    assert ((variances / known - 1).abs() < 5 * (2 / n) ** 0.5).all()


def test_a_pixel_that_never_changes_does_not_outgrow_the_others():
    """Its variance would be 0; it is the least that is allowed, a hundredth of the mean."""
    output = torch.zeros(50, 4, dtype=torch.float64)
    x = double(50, 4) * torch.tensor([0.0, 1.0, 1.0, 1.0])
    likelihood = GaussianLikelihood(learned=True, shape=(4,)).double()
    optimizer = torch.optim.Adam(likelihood.parameters(), 0.1)
    for _ in range(300):
        optimizer.zero_grad()
        likelihood(output).hyvarinen_score(x).mean().backward()
        optimizer.step()
    still, *others = likelihood.variance.tolist()
    assert still == pytest.approx(0.01 * sum(others) / 3.96, rel=0.05)


@pytest.mark.parametrize("variance", [0.0, -1.0, math.inf, math.nan])
def test_gaussian_likelihood_refuses(variance):
    with pytest.raises(InputError, match=f"decoder variance must be a positive number.*{variance}"):
        GaussianLikelihood(variance)


@pytest.mark.parametrize("shape", [(0,), (-1, 1, 1)])
def test_gaussian_likelihood_refuses_shapes(shape):
    with pytest.raises(InputError, match="shape of decoder variances must be of sizes ≥ 1"):
        GaussianLikelihood(shape=shape)


@pytest.mark.parametrize("shape", [(3, 1, 1), (1, 4, 4), (1, 1, 8, 8)])
def test_variances_that_would_broadcast_the_images_are_refused(shape):
    likelihood = GaussianLikelihood(shape=shape)
    with pytest.raises(InputError, match=r"for images of shape \(1, 8, 8\): give \(\), \(channels"):
        likelihood(torch.zeros(5, 1, 8, 8))


def test_bernoulli_likelihood_keeps_the_output():
    output = torch.rand(5, 1, 4, 4)
    assert torch.equal(BernoulliLikelihood()(output).mean, output)


def test_bernoulli_is_the_binary_cross_entropy_of_its_logits() -> None:
    """Values against torch's own, which takes logits; gradients against x − f."""
    logits = torch.linspace(-30, 30, 61, dtype=torch.float64).requires_grad_()
    for x in (torch.zeros_like(logits), torch.full_like(logits, 0.3), torch.ones_like(logits)):
        log_prob = Bernoulli(torch.sigmoid(logits)[None]).log_prob(x.detach()[None])
        expected = -F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        torch.testing.assert_close(log_prob[0], expected, rtol=1e-3, atol=1e-9)
        (gradient,) = torch.autograd.grad(log_prob, logits)
        torch.testing.assert_close(gradient, x - torch.sigmoid(logits), rtol=1e-3, atol=1e-9)


def test_a_bernoulli_decoder_that_saturates_is_limited() -> None:
    mean = torch.tensor([[0.0, 1.0]]).requires_grad_()
    log_prob = Bernoulli(mean).log_prob(torch.tensor([[1.0, 0.0]]))
    assert log_prob.item() == pytest.approx(-200)
    log_prob.backward()
    assert mean.grad is not None
    assert mean.grad.isfinite().all()


def test_a_bernoulli_decoder_that_diverged_has_no_likelihood() -> None:
    mean = torch.full((2, 4), 0.5)
    mean[1, 2] = torch.nan
    log_prob = Bernoulli(mean).log_prob(torch.ones(2, 4))
    assert log_prob[0].item() == pytest.approx(4 * math.log(0.5))
    assert log_prob[1].isnan()


def test_bernoulli_derivatives_are_those_of_its_formula() -> None:
    """Of either argument and of both orders; in forward mode and under vmap as well."""
    generator = torch.Generator().manual_seed(0)
    mean, x, along, along_x = torch.rand(4, 5, 7, generator=generator, dtype=torch.float64)

    def formula(mean: Tensor, x: Tensor) -> Tensor:
        return (x * mean.log() + (1 - x) * (1 - mean).log()).sum()

    def ours(mean: Tensor, x: Tensor) -> Tensor:
        return Bernoulli(mean).log_prob(x).sum()

    for derivatives in (torch.func.jacrev, torch.func.jacfwd, torch.func.hessian):
        found, expected = (derivatives(f, (0, 1))(mean, x) for f in (ours, formula))
        torch.testing.assert_close(found, expected)
    found, expected = (torch.func.jvp(f, (mean, x), (along, along_x)) for f in (ours, formula))
    torch.testing.assert_close(found, expected)
    each = torch.func.vmap(torch.func.grad(lambda p: ours(p[None], x[:1])))(mean)
    torch.testing.assert_close(each, torch.func.grad(lambda p: formula(p, x[:1]))(mean))
    inputs = mean.requires_grad_(), x.requires_grad_()
    assert torch.autograd.gradgradcheck(lambda p, x: Bernoulli(p).log_prob(x), inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_bernoulli_decoder_that_saturates_has_no_slope_nor_curvature(dtype: torch.dtype) -> None:
    logits = torch.tensor([[-300.0, -120.0, 0.0, 40.0, 300.0]], dtype=dtype, requires_grad=True)
    for x in (0.0, 0.3, 1.0):
        log_prob = Bernoulli(logits.sigmoid()).log_prob(torch.full_like(logits, x))
        (slope,) = torch.autograd.grad(log_prob.sum(), logits, create_graph=True)
        (curvature,) = torch.autograd.grad(slope.sum(), logits)
        torch.testing.assert_close(slope, torch.tensor([[0, 0, x - 0.5, 0, 0]], dtype=dtype))
        torch.testing.assert_close(curvature, torch.tensor([[0, 0, -0.25, 0, 0]], dtype=dtype))
