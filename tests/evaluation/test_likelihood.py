"""Importance sampling against the closed form of linear-Gaussian models."""

import math

import pytest
import torch
from scipy.integrate import quad
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

import fisherae as fae
from fisherae.errors import InputError
from fisherae.evaluation.likelihood import log_likelihood, log_normalizer
from fisherae.samplers import InverseCDF

D, d = 5, 2
S2 = 0.4


@pytest.fixture(autouse=True)
def _float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def polynomial() -> tuple[fae.FactorablePolynomial, list[tuple[float, Tensor, Tensor]]]:
    """N(1, 1/2) × N(−1, 1/4) as exp(η₁ z + η₂ z²)."""
    prior = fae.FactorablePolynomial(d, 2)
    prior.set_eta(torch.tensor([[2.0, -1.0], [-4.0, -2.0]]))
    return prior, [(1.0, torch.tensor([1.0, -1.0]), torch.diag(torch.tensor([0.5, 0.25])))]


def mixture() -> tuple[fae.GaussianMixture, list[tuple[float, Tensor, Tensor]]]:
    prior = fae.GaussianMixture(d, 2)
    prior.weights.copy_(torch.tensor([0.3, 0.7]))
    prior.means.copy_(torch.tensor([[-1.0, 0.5], [1.0, 0.0]]))
    prior.scale_tril[0].copy_(torch.tensor([[0.5, 0.0], [0.3, 0.8]]))
    parts = zip(prior.weights, prior.means, prior.scale_tril, strict=True)
    return prior, [(float(w), m, lower @ lower.mT) for w, m, lower in parts]


PRIORS = {
    "normal": lambda: (fae.StandardNormal(d), [(1.0, torch.zeros(d), torch.eye(d))]),
    "polynomial": polynomial,
    "mixture": mixture,
}


def linear_gaussian(prior, mean: Tensor, variance: Tensor, gain: Tensor) -> fae.Autoencoder:
    """p(x|z) = N(W z, S2 I), q(z|x) = N(gain x + mean, diag variance)."""
    encoder, decoder = nn.Linear(D, 2 * d), nn.Linear(d, D, bias=False)
    with torch.no_grad():
        encoder.weight.copy_(torch.cat([gain, torch.zeros(d, D)]))
        encoder.bias.copy_(torch.cat([mean, variance.log()]))
        decoder.weight.copy_(torch.linalg.qr(torch.randn(D, d)).Q * torch.tensor([1.0, 0.6]))
    return fae.Autoencoder(encoder, decoder, prior, fae.GaussianLikelihood(S2))


@pytest.mark.parametrize("name", PRIORS)
def test_linear_gaussian_models(name: str) -> None:
    prior, parts = PRIORS[name]()
    model = linear_gaussian(prior, torch.zeros(d), torch.full((d,), 2.0), 0.1 * torch.randn(d, D))
    W, x = model.decoder.weight.detach(), torch.randn(20, D)
    noise = S2 * torch.eye(D)
    exact = torch.stack(
        [math.log(w) + MultivariateNormal(W @ m, W @ C @ W.T + noise).log_prob(x)
         for w, m, C in parts]
    ).logsumexp(0)  # fmt: skip
    found = log_likelihood(model, x, samples=20_000)
    # The relative variance of the mean weight is 1 / effective samples, about.
    error = found.effective_samples.rsqrt()
    assert (error < 0.1).all()
    assert ((found.values - exact).abs() < 5 * error).all()


@pytest.mark.parametrize("at_once", [1 << 20, 3 * 20 * D])
def test_the_exact_posterior_needs_one_sample(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All weights are p(x): W has orthogonal columns, so that p(z|x) is diagonal. All samples of an
    image at once, or three at a time."""
    monkeypatch.setattr("fisherae.evaluation.likelihood.AT_ONCE", at_once)
    model = linear_gaussian(fae.StandardNormal(d), torch.zeros(d), torch.ones(d), torch.zeros(d, D))
    W, x = model.decoder.weight.detach(), torch.randn(20, D)
    variance = 1 / (1 + W.square().sum(0) / S2)
    with torch.no_grad():
        model.encoder.weight[:d] = variance[:, None] * W.T / S2
        model.encoder.bias[d:] = variance.log()
    exact = MultivariateNormal(torch.zeros(D), W @ W.T + S2 * torch.eye(D)).log_prob(x)
    for samples in (1, 7):
        found = log_likelihood(model, x, samples)
        torch.testing.assert_close(found.values, exact, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found.effective_samples, torch.full((20,), float(samples)))


@pytest.mark.parametrize(
    ("eta", "support"),
    [([0.3, 1.0, 0.0, -0.25], None), ([0.2, -0.3, 0.1, -0.05, 0.02], (-2.5, 3.0))],
)
def test_normalizing_constants(eta: list[float], support: tuple[float, float] | None) -> None:
    prior = fae.FactorablePolynomial(2, len(eta), support)
    prior.set_eta(torch.tensor([eta, eta]))
    lower, upper = support or (-10.0, 10.0)
    integral, _ = quad(
        lambda z: math.exp(sum(c * z ** (k + 1) for k, c in enumerate(eta))), lower, upper
    )
    # log p(z) is known up to a constant: at the origin the polynomial itself is 0.
    at_origin = prior.log_density_per_dim(torch.zeros(1, 2))[0] - InverseCDF(prior).log_normalizer
    assert at_origin.tolist() == pytest.approx([-math.log(integral)] * 2, abs=1e-5)
    whole = prior.log_density(torch.zeros(1, 2))[0] - log_normalizer(prior)
    assert whole.item() == pytest.approx(-2 * math.log(integral), abs=1e-5)


def test_bad_input() -> None:
    model = linear_gaussian(fae.StandardNormal(d), torch.zeros(d), torch.ones(d), torch.zeros(d, D))
    with pytest.raises(InputError, match="samples must be a whole number, at least 1"):
        log_likelihood(model, torch.randn(3, D), samples=0)
    improper = fae.FactorablePolynomial(2, 3)
    improper.set_eta(torch.tensor([[0.0, -1.0, 0.0], [0.0, -1.0, 0.1]]))
    with pytest.raises(InputError, match=r"improper in dimensions \[1\]"):
        log_normalizer(improper)
    with pytest.raises(InputError, match="ExponentialFamily is not known"):
        log_normalizer(fae.ExponentialFamily(2, lambda z: z.square()))
    delta = fae.Autoencoder(
        nn.Linear(D, d), nn.Linear(d, D), fae.StandardNormal(d), posterior="delta"
    )
    with pytest.raises(InputError, match="Gaussian posterior, got Delta"):
        log_likelihood(delta, torch.randn(3, D))
