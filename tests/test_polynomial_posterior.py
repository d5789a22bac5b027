"""The polynomial posterior against the Gaussian, SciPy's quadrature and finite differences."""

import itertools
import math

import numpy as np
import pytest
import torch
from numpy.polynomial import Polynomial
from scipy.integrate import quad
from torch import Tensor, nn

import fisherae as fae
from fisherae.distributions import DiagonalGaussian, PolynomialPosterior
from fisherae.networks import mlp

D, d = 5, 2
OUTPUTS = {  # c, log s² and b_1, …, b_K of one latent
    "K=2": (0.7, -1.0),
    "untrained": (0.0, 0.0, 0.0, 0.0),
    "skew": (-1.0, 0.5, 2.0, 2.0),
    "two modes": (0.3, 0.2, 0.1, 6.0),
    "K=6": (0.3, 0.2, 0.1, 0.5, 1.5, 3.0),
}
outputs = pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS)


@pytest.fixture(autouse=True)
def _float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def posterior(output: tuple[float, ...]) -> PolynomialPosterior:
    return PolynomialPosterior.from_output(torch.tensor([output]), dim=1)


def expectation(q: PolynomialPosterior, f) -> float:
    """By SciPy, of the normalised exp(Σ_k η_k z^k)."""
    log_q = Polynomial([0.0, *q.eta[0, 0].tolist()])
    c, s = q.location.item(), q.scale.item()
    breaks = [c + s * step for step in (-12, -4, -2, -1, 0, 1, 2, 4, 12)]
    top = max(log_q(z) for z in np.linspace(breaks[0], breaks[-1], 2_001))

    def integral(g) -> float:
        cells = itertools.pairwise(breaks)
        return sum(quad(lambda z: g(z) * math.exp(log_q(z) - top), a, b)[0] for a, b in cells)

    return integral(f) / integral(lambda _: 1.0)


# K = 2


def both(output: Tensor) -> tuple[DiagonalGaussian, PolynomialPosterior]:
    return DiagonalGaussian.from_output(output, d), PolynomialPosterior.from_output(output, d)


def test_of_order_2_it_is_the_gaussian() -> None:
    gaussian, polynomial = both(torch.randn(7, 2 * d))
    z = torch.randn(7, d)
    for name in ("score", "log_prob", "parameter_scores"):
        torch.testing.assert_close(getattr(polynomial, name)(z), getattr(gaussian, name)(z))
    for name in ("mean", "std", "parameters"):
        torch.testing.assert_close(getattr(polynomial, name), getattr(gaussian, name))
    torch.testing.assert_close(polynomial.kl_standard_normal(), gaussian.kl_standard_normal())


def at_quantiles(monkeypatch: pytest.MonkeyPatch, v: Tensor) -> None:
    """Both posteriors draw F⁻¹(v)."""
    noise = torch.special.ndtri(v)
    monkeypatch.setattr(
        DiagonalGaussian, "rsample", lambda q, generator=None: q.mean + q.std * noise
    )
    monkeypatch.setattr(
        PolynomialPosterior,
        "rsample",
        lambda q, generator=None: q.location + q.scale * q.density.quantile(v),
    )


def losses(encoder: nn.Module, decoder: nn.Module, posterior: str, x: Tensor):
    prior = fae.FactorablePolynomial(d, 4)
    prior.set_eta(torch.tensor([[0.1, -0.7, 0.2, -0.1]]).expand(d, 4))
    model = fae.Autoencoder(encoder, decoder, prior, fae.GaussianLikelihood(0.3, True), posterior)
    yield fae.FisherObjective(model)(x)
    vae = fae.Autoencoder(encoder, decoder, fae.StandardNormal(d), model.likelihood, posterior)
    yield fae.ElboObjective(vae)(x)


def test_of_order_2_the_objectives_and_their_gradients_are_the_gaussians(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder, decoder = mlp.encoder((D,), d, hidden=(9,)), mlp.decoder((D,), d, hidden=(9,))
    x = torch.rand(6, D)
    at_quantiles(monkeypatch, torch.rand(6, d))
    parameters = [*encoder.parameters(), *decoder.parameters()]
    pairs = (losses(encoder, decoder, name, x) for name in ("gaussian", "polynomial"))
    for gaussian, polynomial in zip(*pairs, strict=True):
        torch.testing.assert_close(polynomial.by_name(), gaussian.by_name())
        expected, found = (
            torch.autograd.grad(terms.total, parameters) for terms in (gaussian, polynomial)
        )
        torch.testing.assert_close(found, expected)


# any K


@outputs
def test_moments(output: tuple[float, ...]) -> None:
    q = posterior(output)
    mean = expectation(q, lambda z: z)
    std = math.sqrt(expectation(q, lambda z: (z - mean) ** 2))
    assert q.mean.item() == pytest.approx(mean, rel=1e-6, abs=1e-8)
    assert q.std.item() == pytest.approx(std, rel=1e-6)


@outputs
def test_log_prob_is_a_normalised_polynomial(output: tuple[float, ...]) -> None:
    q = posterior(output)
    z = q.location + q.scale * torch.linspace(-3, 3, 31)[:, None]
    difference = (q.eta * z[..., None] ** torch.arange(1, len(output) + 1)).sum((1, 2)) - torch.cat(
        [q.log_prob(one[None]) for one in z]
    )
    torch.testing.assert_close(difference, difference[:1].expand(31), rtol=1e-9, atol=1e-9)
    c, s = q.location.item(), q.scale.item()
    total = quad(
        lambda z: q.log_prob(torch.tensor([[z]])).exp().item(),
        c - 9 * s, c + 9 * s, points=[c - 2 * s, c, c + 2 * s], epsabs=1e-7,
    )[0]  # fmt: skip
    assert total == pytest.approx(1, abs=1e-6)


@outputs
def test_kl_to_the_standard_normal(output: tuple[float, ...]) -> None:
    q = posterior(output)

    def log_ratio(z: float) -> float:
        normal = -(z**2) / 2 - math.log(2 * math.pi) / 2
        return q.log_prob(torch.tensor([[z]])).item() - normal

    assert q.kl_standard_normal().item() == pytest.approx(expectation(q, log_ratio), rel=1e-6)


@pytest.mark.parametrize("order", [4, 6, 8])
def test_scores_are_gradients(order: int) -> None:
    q = PolynomialPosterior.from_output(torch.randn(5, order * d, requires_grad=True), d)
    z = torch.randn(5, d, requires_grad=True)
    inputs = (z, *q.parameters)
    expected = torch.autograd.grad(q.log_prob(z).sum(), inputs)
    for ours, autograd in zip((q.score(z), *q.parameter_scores(z)), expected, strict=True):
        torch.testing.assert_close(ours, autograd)


@pytest.mark.parametrize("order", [2, 4, 6])
def test_derivatives_equal_finite_differences(order: int) -> None:
    z, v = torch.randn(3, d), torch.rand(3, d)

    def everything(output: Tensor) -> tuple[Tensor, ...]:
        q = PolynomialPosterior.from_output(output, d)
        sample = q.location + q.scale * q.density.quantile(v)
        values = (q.mean, q.std, q.log_prob(z), q.kl_standard_normal(), q.score(z))
        return sample, *values, *q.parameter_scores(z)

    output = torch.randn(3, order * d, requires_grad=True)
    assert torch.autograd.gradcheck(everything, output, atol=1e-6)


def test_score_in_x_is_one_product_through_the_encoder() -> None:
    """∇_x log q(z|x) against finite differences of log_prob, and as Σ (z^k − E[z^k]) ∇_x η_k."""
    encoder = mlp.encoder((D,), 1, outputs_per_dim=4, hidden=(9,))
    x, z = torch.randn(1, D, requires_grad=True), torch.tensor([[0.8]])
    q = PolynomialPosterior.from_output(encoder(x), 1)
    (product,) = torch.autograd.grad(q.parameters, x, q.parameter_scores(z), retain_graph=True)
    by_eta = torch.zeros_like(x)
    for k in range(1, 5):
        (slope,) = torch.autograd.grad(q.eta[0, 0, k - 1], x, retain_graph=True)
        by_eta += (z.item() ** k - expectation(q, lambda z, k=k: z**k)) * slope
    torch.testing.assert_close(product, by_eta, rtol=1e-6, atol=1e-6)
    step = 1e-5
    for i in range(D):
        above, below = x.detach().clone(), x.detach().clone()
        above[0, i] += step
        below[0, i] -= step
        ends = (
            PolynomialPosterior.from_output(encoder(at), 1).log_prob(z) for at in (above, below)
        )
        difference = (next(ends) - next(ends)) / (2 * step)
        assert product[0, i].item() == pytest.approx(difference.item(), rel=1e-6, abs=1e-8)


# the parametrisation


@pytest.mark.parametrize("order", [4, 6])
def test_an_untrained_posterior_is_almost_gaussian(order: int) -> None:
    """Of outputs about zero: close to N(c, s²) in mean and spread, and in KL."""
    output = torch.zeros(1, order)
    q = PolynomialPosterior.from_output(output, 1)
    assert q.mean.item() == pytest.approx(0, abs=1e-9)
    assert q.std.item() == pytest.approx(1, abs=0.02)
    assert 0 < q.kl_standard_normal().item() < 0.01


@pytest.mark.parametrize("order", [2, 4, 6, 8])
def test_whatever_the_outputs_it_is_a_density(order: int) -> None:
    q = PolynomialPosterior.from_output(10 * torch.randn(500, order), 1)
    assert (q.eta[..., -1] < 0).all()
    z = q.rsample()
    for value in (z, q.mean, q.std, q.log_prob(z), q.score(z), *q.parameter_scores(z)):
        assert value.isfinite().all()
    assert (q.std > 0).all()


def test_every_quartic_has_this_form() -> None:
    """c: where z³ vanishes; s: s² E[(log q)″] = −1 under N(c, s²); then w_1 = s E[(log q)′]."""
    for _ in range(50):
        e1, e2, e3, e4 = (3 * torch.randn(4)).tolist()
        e4 = -abs(e4)
        c = -e3 / (4 * e4)
        a, b = 12 * e4, 2 * e2 + 6 * e3 * c + 12 * e4 * c * c  # a s⁴ + b s² + 1 = 0
        s2 = (-b - math.sqrt(b * b - 4 * a)) / (2 * a)
        first = e1 + 2 * e2 * c + 3 * e3 * (c * c + s2) + 4 * e4 * (c**3 + 3 * c * s2)
        weight = [s2**0.5 * first, -1.0, 0.0, 4 * e4 * s2**2 * 6**0.5]
        location, log_scale = torch.tensor([[c]]), torch.tensor([[math.log(s2) / 2]])
        q = PolynomialPosterior(location, log_scale, torch.tensor([[weight]]))
        torch.testing.assert_close(
            q.eta[0, 0], torch.tensor([e1, e2, e3, e4]), rtol=1e-8, atol=1e-8
        )


@pytest.mark.parametrize("log_variance", [-40.0, 40.0])
def test_narrow_and_wide(log_variance: float) -> None:
    """The same standardised samples at any scale, also in float32."""
    output = torch.tensor([0.0, 0.0, 0.5, 6.0])
    scaled = output.clone()
    scaled[1] = log_variance
    u, z = (
        PolynomialPosterior.from_output(o.float().expand(1_000, 4), 1).rsample(
            torch.Generator().manual_seed(0)
        )
        for o in (output, scaled)
    )
    torch.testing.assert_close(z * math.exp(-log_variance / 2), u, rtol=1e-4, atol=1e-5)


def test_samples_are_reproducible_and_leave_the_global_generator_alone() -> None:
    q = PolynomialPosterior.from_output(torch.randn(5, 4 * d), d)
    before = torch.get_rng_state()
    first = q.rsample(torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(q.rsample(torch.Generator().manual_seed(1)), first)


# in a model


def test_save_and_load(tmp_path) -> None:
    encoder = mlp.encoder((D,), d, outputs_per_dim=4, hidden=(9,))
    decoder, prior = mlp.decoder((D,), d, hidden=(9,)), fae.StandardNormal(d)
    model = fae.Autoencoder(encoder, decoder, prior, posterior="polynomial").eval()
    model.save(tmp_path)
    x = torch.rand(3, D)
    q, again = model.encode(x), fae.load(tmp_path).encode(x)
    assert isinstance(again, PolynomialPosterior)
    assert again.density.order == 4
    torch.testing.assert_close(again.mean, q.mean)


@pytest.mark.parametrize("features", [1, 3, 4 * d - 1, 3 * d])
def test_an_odd_order_is_refused(features: int) -> None:
    model = fae.Autoencoder(
        nn.Linear(D, features), nn.Linear(d, D), fae.StandardNormal(d), posterior="polynomial"
    )
    with pytest.raises(
        fae.InputError, match=rf"returns shape \(3, {features}\) where a Polynomial"
    ):
        model.encode(torch.rand(3, D))


def test_the_reference_variant_is_for_gaussian_posteriors() -> None:
    encoder = mlp.encoder((D,), d, outputs_per_dim=4)
    model = fae.Autoencoder(
        encoder, mlp.decoder((D,), d), fae.StandardNormal(d), posterior="polynomial"
    )
    with pytest.raises(fae.InputError, match="give variant='exact' with a polynomial"):
        fae.FisherObjective(model, variant="reference")
