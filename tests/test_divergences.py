"""The Fisher divergence and the Hyvärinen score against closed forms for Gaussians."""

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from fisherae.divergences import fisher_divergence, hyvarinen_score, score
from fisherae.priors import StandardNormal


def covariance(dim):
    root = torch.randn(dim, dim, dtype=torch.float64)
    return root @ root.T + 0.5 * torch.eye(dim, dtype=torch.float64)


def gaussian(dim):
    return MultivariateNormal(torch.randn(dim, dtype=torch.float64), covariance(dim))


def divergence(p, q):
    """D_∇[p ‖ q] of two Gaussians: with s_p − s_q = b + C (x − m_p), ½ (‖b‖² + tr(C Σ_p Cᵀ))."""
    change = q.precision_matrix - p.precision_matrix
    shift = q.precision_matrix @ (p.mean - q.mean)
    return (shift.square().sum() + torch.trace(change @ p.covariance_matrix @ change.T)) / 2


def standard_error(values):
    return values.std() / len(values) ** 0.5


@pytest.mark.parametrize("batch", [(), (6,), (2, 3)])
@pytest.mark.parametrize("dim", [1, 2, 7])
def test_gaussian_closed_forms(dim, batch):
    p = gaussian(dim)
    x = torch.randn(*batch, dim, dtype=torch.float64)
    expected = (p.mean - x) @ p.precision_matrix
    torch.testing.assert_close(score(p, x), expected)
    trace = torch.trace(p.precision_matrix)
    torch.testing.assert_close(hyvarinen_score(p, x), expected.square().sum(-1) / 2 - trace)


def test_hyvarinen_score_by_hand():
    """log p = −x⁴ + x y²: s = (−4x³ + y², 2xy), Δ = −12x² + 2x; at (1, 2): ½(0 + 16) − 10."""
    value = hyvarinen_score(
        lambda x: -(x[..., 0] ** 4) + x[..., 0] * x[..., 1] ** 2, torch.tensor([[1.0, 2.0]])
    )
    torch.testing.assert_close(value, torch.tensor([-2.0]))


@pytest.mark.parametrize("dim", [1, 3, 8])
def test_fisher_divergence_of_gaussians(dim):
    p, q = gaussian(dim), gaussian(dim)
    x = p.sample((20_000,))
    per_sample = (score(p, x) - score(q, x)).square().sum(-1) / 2
    estimate = fisher_divergence(p, q, x)
    torch.testing.assert_close(estimate, per_sample.mean())
    assert abs(estimate - divergence(p, q)) < 5 * standard_error(per_sample)


def test_fisher_divergence_of_a_distribution_to_itself_is_zero():
    p = gaussian(4)
    unnormalised = lambda x: p.log_prob(x) + 7.0  # noqa: E731
    torch.testing.assert_close(
        fisher_divergence(p, unnormalised, p.sample((10,))), torch.tensor(0.0, dtype=torch.float64)
    )


def test_fisher_divergence_is_not_symmetric():
    """N(0, 1) and N(0, 4): the score difference is ¾x, of mean square 9/16 or 4·9/16."""
    p, q = Normal(0.0, 1.0), Normal(0.0, 2.0)
    x = torch.tensor([[-1.0], [1.0]])  # the second moment of p, exactly
    assert fisher_divergence(p, q, x).item() == pytest.approx(9 / 32)
    assert fisher_divergence(q, p, 2 * x).item() == pytest.approx(9 / 8)


def test_equation_5():
    """D_∇[p* ‖ p] = E ½ ‖∇ log p*‖² + E s_∇[p], both sides from the same samples of p*."""
    true, p = gaussian(3), gaussian(3)
    x = true.sample((50_000,))
    constant = score(true, x).square().sum(-1) / 2
    per_sample = constant + hyvarinen_score(p, x)
    assert abs(per_sample.mean() - divergence(true, p)) < 5 * standard_error(per_sample)


def test_the_hyvarinen_score_is_proper():
    """Its mean over samples of p* is smallest at p*: the gradient there is zero."""
    mean = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    log_std = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    x = torch.randn(1000, 2, dtype=torch.float64)
    x = (x - x.mean(0)) / x.std(0, correction=0)  # exactly the moments of N(0, I)
    hyvarinen_score(Normal(mean, log_std.exp()), x).mean().backward()
    torch.testing.assert_close(mean.grad, torch.zeros_like(mean))
    torch.testing.assert_close(log_std.grad, torch.zeros_like(log_std))


def linear(x):
    return 3 * x[..., 0] - x[..., 1]


def constant(x):
    return x.new_zeros(x.shape[:-1])


@pytest.mark.parametrize(
    ("log_density", "expected"), [(linear, [3.0, -1.0]), (constant, [0.0, 0.0])]
)
def test_constant_scores(log_density, expected):
    x = torch.randn(5, 2)
    expected = torch.tensor(expected)
    torch.testing.assert_close(score(log_density, x), expected.expand(5, 2))
    torch.testing.assert_close(
        hyvarinen_score(log_density, x), (expected.square().sum() / 2).expand(5)
    )


@pytest.mark.parametrize(
    "p", [StandardNormal(2), Normal(0.0, 1.0), lambda x: -x.square().sum(-1) / 2]
)
def test_whatever_has_a_log_density(p):
    x = torch.randn(5, 2)
    torch.testing.assert_close(score(p, x), -x)
    torch.testing.assert_close(hyvarinen_score(p, x), x.square().sum(-1) / 2 - 2)
    assert fisher_divergence(p, StandardNormal(2), x) < 1e-12


def test_gradients_reach_the_parameters_and_the_points():
    """p = N(0, 1/a): s = −ax, hence D to N(0, 1) is ½ (1 − a)² x², ∂/∂a = −(1 − a) x²."""
    a = torch.tensor(3.0, requires_grad=True)
    x = torch.tensor([[2.0]], requires_grad=True)
    loss = fisher_divergence(StandardNormal(1), lambda x: -a * x.square().sum(-1) / 2, x)
    by_a, by_x = torch.autograd.grad(loss, (a, x))
    assert (loss.item(), by_a.item(), by_x.item()) == (8.0, 8.0, 8.0)

    loss = hyvarinen_score(lambda x: -a * x.square().sum(-1) / 2, x).sum()  # ½ a² x² − a
    by_a, by_x = torch.autograd.grad(loss, (a, x))
    assert (loss.item(), by_a.item(), by_x.item()) == (15.0, 11.0, 18.0)


def test_without_gradients_only_the_values():
    p, q = gaussian(3), gaussian(3)
    x = torch.randn(5, 3, dtype=torch.float64)
    with torch.no_grad():
        values = score(p, x), hyvarinen_score(p, x), fisher_divergence(p, q, x)
    expected = score(p, x), hyvarinen_score(p, x), fisher_divergence(p, q, x)
    for value, other in zip(values, expected, strict=True):
        assert not value.requires_grad
        torch.testing.assert_close(value, other.detach())


def test_the_points_are_left_as_they_were():
    x = torch.randn(5, 2)
    hyvarinen_score(Normal(0.0, 1.0), x)
    assert not x.requires_grad
    assert x.grad is None
