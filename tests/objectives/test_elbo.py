"""The ELBO against the exact evidence of the linear-Gaussian model.

p(z) = N(0, I), p(x|z) = N(Wz, s²I) with orthogonal columns of W, so that the exact posterior
N(s⁻² Σ Wᵀx, Σ), Σ = (I + WᵀW/s²)⁻¹, is diagonal and p(x) = N(0, WWᵀ + s²I).
"""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

import fisherae as fae

D, d, S2 = 6, 3, 0.4


@pytest.fixture(autouse=True)
def _float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def W():
    orthonormal = torch.linalg.qr(torch.randn(D, d)).Q
    return orthonormal * torch.tensor([0.5, 1.0, 2.0])


@pytest.fixture
def evidence(W):
    return MultivariateNormal(torch.zeros(D), W @ W.T + S2 * torch.eye(D))


def posterior(W):
    """The matrix A and the diagonal of Σ of the exact posterior N(Ax, Σ)."""
    variance = 1 / (1 + W.square().sum(0) / S2)
    return variance[:, None] * W.T / S2, variance


def linear_vae(A, variance, W, likelihood=None):
    encoder, decoder = nn.Linear(D, 2 * d), nn.Linear(d, D, bias=False)
    with torch.no_grad():
        encoder.weight.copy_(torch.cat([A, torch.zeros(d, D)]))
        encoder.bias.copy_(torch.cat([torch.zeros(d), variance.log()]))
        decoder.weight.copy_(W)
    likelihood = likelihood or fae.GaussianLikelihood(S2)
    return fae.Autoencoder(encoder, decoder, fae.StandardNormal(d), likelihood)


def losses(model, x, n=20_000):
    """The loss of one image under n independent samples of its latent."""
    with torch.no_grad():
        return fae.ElboObjective(model)(x.expand(n, D), reduce=False).total


def seeded(objective, x):
    torch.manual_seed(1)
    return objective(x, reduce=False)


def standard_error(values):
    return values.std() / len(values) ** 0.5


def test_with_the_exact_posterior_it_is_the_evidence(W, evidence):
    model = linear_vae(*posterior(W), W)
    for x in evidence.sample((4,)):
        values = losses(model, x)
        assert abs(values.mean() + evidence.log_prob(x)) < 5 * standard_error(values)


def test_with_another_posterior_it_is_larger_by_the_divergence(W, evidence):
    A, variance = posterior(W)
    other_A, other_variance = 0.7 * A + 0.1 * torch.randn(d, D), torch.tensor([0.5, 0.1, 0.2])
    model = linear_vae(other_A, other_variance, W)
    for x in evidence.sample((4,)):
        gap = kl_divergence(
            Independent(Normal(other_A @ x, other_variance.sqrt()), 1),
            Independent(Normal(A @ x, variance.sqrt()), 1),
        )
        values = losses(model, x)
        assert gap > 0.2
        assert abs(values.mean() - (gap - evidence.log_prob(x))) < 5 * standard_error(values)


def test_with_a_posterior_like_the_prior_the_kl_term_is_zero(W):
    model = linear_vae(torch.zeros(d, D), torch.ones(d), W)
    terms = fae.ElboObjective(model)(torch.randn(5, D))
    assert terms.kl.item() == 0.0


@pytest.mark.parametrize("beta", [0.5, 4.0])
def test_beta_weighs_the_kl_alone(W, beta):
    """β KL by torch.distributions; the reconstruction, and β = 1, are the VAE's."""
    A, variance = posterior(W)
    model, x = linear_vae(A, variance, W), torch.randn(7, D)
    vae, one, other = (
        seeded(fae.ElboObjective(model, **options), x)
        for options in ({}, {"beta": 1.0}, {"beta": beta})
    )
    standard = Independent(Normal(torch.zeros(d), 1.0), 1)
    kl = kl_divergence(Independent(Normal(x @ A.T, variance.sqrt()), 1), standard)
    torch.testing.assert_close(vae.kl, kl)
    torch.testing.assert_close(other.kl, beta * kl)
    assert torch.equal(one.total, vae.total)
    assert torch.equal(other.reconstruction, vae.reconstruction)


def test_a_learned_variance_becomes_that_of_the_data(W, evidence):
    """The σ-VAE: of exact W and posterior the best s² is the true one, ∂ELBO/∂s² is zero there."""
    x = evidence.sample((200_000,))
    for factor, sign in ((0.7, -1), (1.0, 0), (1.4, 1)):
        likelihood = fae.GaussianLikelihood(factor * S2, learned=True)
        objective = fae.ElboObjective(linear_vae(*posterior(W), W, likelihood))
        losses = objective(x, reduce=False).reconstruction
        (slope,) = torch.autograd.grad(losses.mean(), likelihood.parameters())
        # Per image the slope in log s² is D/2 − ‖x − Wz‖² / (2 s²), of variance D/2 at the optimum.
        error = (D / 2 / len(x)) ** 0.5
        assert slope.sign() == sign or abs(slope) < 5 * error
        assert sign == 0 or abs(slope) > 50 * error


def test_more_samples_reduce_the_variance(W, evidence):
    model = linear_vae(*posterior(W), W)
    x = evidence.sample().expand(20_000, D)
    one, nine = (fae.ElboObjective(model, n)(x, reduce=False).reconstruction for n in (1, 9))
    assert (one.std() / nine.std()).item() == pytest.approx(3, rel=0.05)
    difference = (one.mean() - nine.mean()).abs()
    assert difference < 5 * standard_error(one)


def test_the_gradient_is_that_of_the_evidence(W, evidence):
    """At the exact posterior the ELBO is tight, so ∂/∂W agrees with the exact ∂ log p(x)/∂W."""
    model = linear_vae(*posterior(W), W)
    x = evidence.sample((20_000,))
    fae.ElboObjective(model, samples=4)(x).total.backward()
    exact = W.clone().requires_grad_()
    gaussian = MultivariateNormal(torch.zeros(D), exact @ exact.T + S2 * torch.eye(D))
    (-gaussian.log_prob(x).mean()).backward()
    torch.testing.assert_close(model.decoder.weight.grad, exact.grad, atol=0.05, rtol=0)
    assert model.encoder.weight.grad.abs().max() < 0.05  # no better posterior nearby


def test_bernoulli_reconstruction_by_hand():
    """A decoder that ignores z: the reconstruction is the cross-entropy with its sigmoid(bias)."""
    encoder = nn.Linear(2, 2)
    decoder = nn.Sequential(nn.Linear(1, 2), nn.Sigmoid())
    nn.init.zeros_(decoder[0].weight)
    with torch.no_grad():
        decoder[0].bias.copy_(torch.tensor([0.25, 0.8]).logit())
    vae = fae.Autoencoder(encoder, decoder, fae.StandardNormal(1), likelihood="bernoulli")
    terms = fae.ElboObjective(vae)(torch.tensor([[1.0, 0.0]]))
    expected = -(torch.tensor(0.25).log() + torch.tensor(0.2).log())
    torch.testing.assert_close(terms.reconstruction, expected)
    torch.testing.assert_close(terms.total, terms.reconstruction + terms.kl)


def test_per_image_terms_average_to_the_loss(W):
    objective = fae.ElboObjective(linear_vae(*posterior(W), W))
    x = torch.randn(7, D)
    torch.manual_seed(1)
    per_image = objective(x, reduce=False)
    torch.manual_seed(1)
    mean = objective(x)
    for name, term in mean.by_name().items():
        assert per_image.by_name()[name].shape == (7,)
        torch.testing.assert_close(per_image.by_name()[name].mean(), term)


def test_what_each_term_reaches(W):
    likelihood = fae.GaussianLikelihood(S2, learned=True)
    objective = fae.ElboObjective(linear_vae(*posterior(W), W, likelihood))
    x = torch.randn(7, D)
    model = objective.model
    reached = {
        name: {
            part
            for part in ("encoder", "decoder", "likelihood")
            if any(
                gradient is not None and gradient.abs().sum() > 0
                for gradient in torch.autograd.grad(
                    objective(x).by_name()[name],
                    list(getattr(model, part).parameters()),
                    allow_unused=True,
                )
            )
        }
        for name in ("reconstruction", "kl")
    }
    assert reached == {
        "reconstruction": {"encoder", "decoder", "likelihood"},
        "kl": {"encoder"},
    }


def test_other_models_are_refused():
    encoder, decoder = nn.Linear(D, 2 * d), nn.Linear(d, D)
    model = fae.Autoencoder(encoder, decoder, fae.FactorablePolynomial(d, 2))
    with pytest.raises(fae.InputError, match=r"StandardNormal prior.*got .* FactorablePolynomial"):
        fae.ElboObjective(model)
    model = fae.Autoencoder(nn.Linear(D, d), decoder, fae.StandardNormal(d), posterior="delta")
    with pytest.raises(fae.InputError, match=r"Gaussian posterior.*got Delta"):
        fae.ElboObjective(model)


@pytest.mark.parametrize("beta", [0.0, -1.0, math.inf, math.nan])
def test_unusable_beta(beta):
    model = fae.Autoencoder(nn.Linear(D, 2 * d), nn.Linear(d, D), fae.StandardNormal(d))
    with pytest.raises(fae.InputError, match=f"β must be positive and finite, got {beta}"):
        fae.ElboObjective(model, beta=beta)


@pytest.mark.parametrize("samples", [0, -1])
def test_unusable_samples(samples):
    model = fae.Autoencoder(nn.Linear(D, 2 * d), nn.Linear(d, D), fae.StandardNormal(d))
    with pytest.raises(fae.InputError, match=f"at least 1, got {samples}"):
        fae.ElboObjective(model, samples=samples)
