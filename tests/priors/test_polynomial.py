"""The factorable polynomial family against numpy, scipy and closed forms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import Polynomial
from scipy.integrate import simpson

from fisherae.errors import InputError
from fisherae.priors import ExponentialFamily, FactorablePolynomial, StandardNormal

ORDERS = range(2, 7)
BIMODAL = [0.2, 1.0, 0.0, -0.25]


def doubles(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def inverse_cdf_samples(eta, n, generator):
    """Independent samples of exp(Σ_k η_k z^k), by a fine grid in numpy."""
    grid = np.linspace(-6, 6, 200_001)
    density = np.exp(Polynomial([0.0, *eta])(grid))
    cdf = np.cumsum(density)
    return np.interp(generator.random(n), cdf / cdf[-1], grid)


def standard_errors(z, eta):
    """Of the score matching estimate in monomials: the sandwich A⁻¹ V A⁻¹ / n."""
    k = np.arange(1, len(eta) + 1)
    psi = k * z[:, None] ** (k - 1)
    slope = k * (k - 1) * z[:, None] ** np.maximum(k - 2, 0)
    bread = np.linalg.inv(psi.T @ psi / len(z))
    return np.sqrt(np.diag(bread @ np.cov((psi * (psi @ eta)[:, None] + slope).T) @ bread) / len(z))


# the parametrisation


def test_a_new_prior_is_the_standard_normal():
    z = torch.randn(5, 3)
    for order in ORDERS:
        prior = FactorablePolynomial(3, order)
        torch.testing.assert_close(prior.score(z), -z)
        expected = StandardNormal(3).log_density(z)
        torch.testing.assert_close(
            prior.log_density(z).diff(), expected.diff(), rtol=1e-4, atol=1e-5
        )


def test_confines_a_proper_density_that_rises_far_from_the_samples() -> None:
    """−z²/2 + z³/100 − z⁴/10⁷ falls around zero, but its mode lies near z = 75,000."""
    prior = FactorablePolynomial(2, 4)
    prior.set_eta(torch.tensor([[0.0, -0.5, 0.01, -1e-7], [0.0, -0.5, 0.0, -1e-7]]))
    assert prior.is_normalizable.all()
    z = torch.linspace(-4, 4, 100)[:, None].expand(-1, 2)
    prior.confine(z)
    assert prior.support.tolist() == [[-4.0, 4.0], [-math.inf, math.inf]]


@pytest.mark.parametrize("order", ORDERS)
def test_set_eta_gives_the_monomials(order):
    prior = FactorablePolynomial(3, order).double().fit(5 + doubles(50, 3))  # location is reset
    eta, z = doubles(3, order), doubles(7, 3)
    prior.set_eta(eta)
    torch.testing.assert_close(prior.eta, eta)
    for j in range(3):
        polynomial = Polynomial([0.0, *eta[j].tolist()])
        expected = torch.from_numpy(polynomial(z[:, j].numpy()))
        ours = prior.log_density_per_dim(z)[:, j]
        torch.testing.assert_close(ours.diff(), expected.diff())
        torch.testing.assert_close(
            prior.score(z)[:, j], torch.from_numpy(polynomial.deriv()(z[:, j].numpy()))
        )


def test_set_eta_leaves_nothing_of_an_earlier_fit():
    """An odd order is confined to its samples."""
    prior = FactorablePolynomial(1, 3).fit(5 + torch.rand(100, 1))
    prior.set_eta(torch.tensor([[0.0, -0.5, 0.0]]))
    z = torch.tensor([[0.0], [1.0]])
    assert not prior.support.isfinite().any()
    assert prior.log_density(z).diff().item() == pytest.approx(-0.5)


@pytest.mark.parametrize("order", ORDERS)
def test_eta_of_any_location_and_scale(order):
    prior = FactorablePolynomial(2, order).double()
    with torch.no_grad():
        prior.weight.normal_()
        prior.location.copy_(torch.tensor([3.0, -1.5]))
        prior.scale.copy_(torch.tensor([0.5, 4.0]))
    z = doubles(9, 2)
    for j in range(2):
        polynomial = Polynomial([0.0, *prior.eta[j].tolist()])
        ours = prior.log_density_per_dim(z)[:, j]
        expected = torch.from_numpy(polynomial(z[:, j].numpy()))
        torch.testing.assert_close(ours.diff(), expected.diff())


def test_log_density_is_the_sum_over_dimensions():
    prior = FactorablePolynomial(3, 4)
    prior.set_eta(torch.randn(3, 4))
    z = torch.randn(2, 5, 3)
    torch.testing.assert_close(prior.log_density_per_dim(z).sum(-1), prior.log_density(z))


def test_score_is_linear_in_the_weights():
    """Exchanging the weights of two priors and averaging them averages the scores."""
    first, second, mean = (FactorablePolynomial(2, 5).double() for _ in range(3))
    with torch.no_grad():
        first.weight.normal_()
        second.weight.normal_()
        mean.weight.copy_((first.weight + second.weight) / 2)
    z = doubles(5, 2)
    torch.testing.assert_close(mean.score(z), (first.score(z) + second.score(z)) / 2)


# fit


def test_fit_of_order_2_is_the_sample_mean_and_population_variance():
    z = torch.tensor([0.3, -1.0, 4.0]).double() + torch.tensor([2.0, 0.1, 7.0]) * doubles(25, 3)
    eta = FactorablePolynomial(3, 2).double().fit(z).eta.detach()
    mean, variance = z.mean(0), z.var(0, correction=0)
    torch.testing.assert_close(eta[:, 0], mean / variance, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(eta[:, 1], -0.5 / variance, rtol=1e-10, atol=1e-10)


def test_fit_recovers_a_bimodal_quartic():
    z = inverse_cdf_samples(BIMODAL, 40_000, np.random.default_rng(0))
    eta = FactorablePolynomial(1, 4).fit(torch.from_numpy(z)[:, None]).eta[0].detach().numpy()
    errors = standard_errors(z, BIMODAL)
    assert (errors < 0.02).all()
    assert (abs(eta - BIMODAL) < 4 * errors).all()


@pytest.mark.parametrize("order", ORDERS)
def test_fit_equals_the_general_family_with_monomials(order):
    z = 0.5 + doubles(300, 2) + 0.3 * doubles(300, 2) ** 2

    def monomials(z):
        return torch.cat([z**k for k in range(1, order + 1)], dim=-1)

    general = ExponentialFamily(2, monomials).double().fit(z)
    expected = general.eta.detach().view(order, 2).T
    ours = FactorablePolynomial(2, order).double().fit(z)
    torch.testing.assert_close(ours.eta.detach(), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("shift", "slope"), [(100.0, 1e-3), (0.0, 50.0), (-7.0, -3.0), (1e4, 1.0)])
def test_fit_is_equivariant(order, shift, slope):
    """z = shift + slope·y: the score of z times the slope is the score of y, in float32 too."""
    y = torch.from_numpy(inverse_cdf_samples(BIMODAL, 500, np.random.default_rng(1)))[:, None]
    z = shift + slope * y
    scaled, plain = FactorablePolynomial(1, order).fit(z), FactorablePolynomial(1, order).fit(y)
    torch.testing.assert_close(slope * scaled.score(z), plain.score(y), rtol=1e-4, atol=1e-4)
    inside = (y > y.min()) & (y < y.max())
    torch.testing.assert_close(
        scaled.log_density_per_dim(z)[inside].diff(),
        plain.log_density_per_dim(y)[inside].diff(),
        rtol=1e-4,
        atol=1e-3,
    )


@pytest.mark.parametrize(("mean", "std"), [(100.0, 1e-3), (0.0, 50.0), (-3.0, 1e-6)])
def test_fit_of_badly_scaled_latents_is_accurate(mean, std):
    """Of its own Gaussian, at K = 4: the score is −(z − mean) / std² within standard errors."""
    n = 20_000
    u = doubles(n, 1)
    prior = FactorablePolynomial(1, 4).fit(mean + std * u)
    grid = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    error = std * prior.score(mean + std * grid) + grid
    assert error.abs().max() < 5 * (10 / n) ** 0.5  # E[ψψᵀ] = I, Var ψ′ ≤ 6, |ψ| ≤ 2


def test_fit_confines_improper_dimensions_to_the_sample_range():
    """K = 4 of bimodal latents is proper, of heavy-tailed ones (Laplace) improper."""
    generator = np.random.default_rng(0)
    z = torch.from_numpy(
        np.stack([inverse_cdf_samples(BIMODAL, 2000, generator), generator.laplace(size=2000)], -1)
    )
    prior = FactorablePolynomial(2, 4).double().fit(z)
    assert prior.eta[1, 3] > 0
    assert prior.support[0].tolist() == [-math.inf, math.inf]
    assert prior.support[1].tolist() == [z[:, 1].min().item(), z[:, 1].max().item()]
    assert prior.is_normalizable.all()
    assert prior.log_density(z).isfinite().all()
    prior.fit(z[:, [0, 0]])
    assert prior.support.isinf().all(), "a proper fit gets the whole line back"


@pytest.mark.parametrize("order", [3, 5])
def test_fit_of_an_odd_order_is_always_confined(order):
    z = torch.randn(200, 2)
    prior = FactorablePolynomial(2, order).fit(z)
    assert torch.equal(prior.support, torch.stack([z.amin(0), z.amax(0)], -1))


def test_fit_knows_the_ends_of_a_given_support() -> None:
    """Uniform and truncated normal densities do not vanish there: without the weight g, score
    matching of the uniform samples gives η near (6, −6)."""
    generator = np.random.default_rng(0)
    uniform = generator.uniform(size=20_000)
    normal = generator.normal(size=80_000)
    normal = normal[(normal > 0) & (normal < 1)][:20_000]
    z = torch.from_numpy(np.stack([uniform, normal], -1))
    prior = FactorablePolynomial(2, 2, (0.0, 1.0)).double().fit(z)
    expected = torch.tensor([[0.0, 0.0], [0.0, -0.5]], dtype=torch.float64)
    torch.testing.assert_close(prior.eta.detach(), expected, atol=0.25, rtol=0)
    general = ExponentialFamily(2, lambda z: torch.cat([z, z * z], -1), support=(0.0, 1.0))
    fitted = general.double().fit(z).eta.detach().view(2, 2).T
    torch.testing.assert_close(fitted, prior.eta.detach())


def test_fit_on_a_half_line_recovers_the_exponential_law() -> None:
    z = torch.from_numpy(np.random.default_rng(0).exponential(0.5, size=(50_000, 1)))
    prior = FactorablePolynomial(1, 2, (0.0, None)).double().fit(z)
    torch.testing.assert_close(
        prior.eta.detach(), torch.tensor([[-2.0, 0.0]]).double(), atol=0.1, rtol=0
    )


def test_fit_refuses_samples_outside_a_given_support() -> None:
    with pytest.raises(InputError, match=r"z\[3, 0\] is 5.0, outside the support"):
        FactorablePolynomial(1, 2, (0.0, 1.0)).fit(torch.tensor([[0.1], [0.5], [0.7], [5.0]]))


@pytest.mark.parametrize("support", [(-3.0, 3.0), (None, 2.0), [(-1.0, 1.0), (0.0, None)]])
def test_a_given_support_is_kept(support):
    prior = FactorablePolynomial(2, 5, support)
    before = prior.support.clone()
    prior.fit(0.05 + 0.9 * torch.rand(200, 2))
    assert torch.equal(prior.support, before)


def test_the_recipe_of_a_support_is_json():
    assert FactorablePolynomial(1, 4).fit(torch.randn(9, 1)).spec["support"] is None
    assert FactorablePolynomial(2, 4, (-1.0, math.inf)).spec["support"] == [[-1.0, None]] * 2


# normalisability


@pytest.mark.parametrize(
    ("eta", "support", "expected"),
    [
        ([0.0, -1.0], None, True),
        ([5.0, -1.0], None, True),
        ([0.0, 1.0], None, False),
        ([1.0, 0.0], None, False),  # exp(z)
        ([0.0, 0.0], None, False),  # flat
        ([0.0, -1.0, 0.1], None, False),  # odd
        ([0.0, -1.0, 0.0], None, True),  # odd order, zero leading coefficient
        ([0.0, 1.0, 0.0, -0.1], None, True),
        ([0.0, -1.0, 0.0, 0.1], None, False),
        ([0.0, -1.0, 0.0, -0.1, 0.1], None, False),  # the paper's K = 5
        ([0.0, -1.0, 0.0, -0.1, 0.0], None, True),
        ([0.0, 1.0, 0.0, 0.0, 0.0, -0.1], None, True),
        ([-1.0, 0.0], (0.0, math.inf), True),  # the exponential distribution
        ([-1.0, 0.0], (-math.inf, 0.0), False),
        ([1.0, 0.0], (-math.inf, 0.0), True),
        ([0.0, 1.0, -0.1], (-2.0, math.inf), True),
        ([0.0, 1.0, -0.1], (-math.inf, 2.0), False),
        ([0.0, -1.0, 0.1], (-math.inf, 2.0), True),
        ([0.0, 0.0], (0.0, math.inf), False),
        ([0.0, 0.0], (-1.0, 2.0), True),
        ([0.0, 1.0, 0.0, 0.1], (-2.0, 2.0), True),
    ],
)
def test_is_normalizable(eta, support, expected):
    prior = FactorablePolynomial(1, len(eta), support).double()
    prior.set_eta(torch.tensor([eta]))
    assert prior.is_normalizable.tolist() == [expected]
    lower, upper = prior.support[0].tolist()

    def mass(reach):
        z = torch.linspace(max(lower, -reach), min(upper, reach), 20_001, dtype=torch.float64)
        with torch.no_grad():
            log_density = prior.log_density_per_dim(z[:, None])[:, 0]
        return simpson(log_density.clamp(max=200).exp().numpy(), x=z.numpy())

    assert (mass(20) < (1 + 1e-6) * mass(15)) == expected


@settings(max_examples=100)
@given(
    eta=st.lists(st.integers(-2, 2), min_size=2, max_size=6),
    support=st.sampled_from([(None, None), (0.0, None), (None, 0.0), (-1.0, 1.0)]),
)
def test_is_normalizable_by_the_tails(eta, support):
    """A polynomial's exponential integrates if it goes to −∞ at every infinite end."""
    prior = FactorablePolynomial(1, len(eta), support)
    prior.set_eta(torch.tensor([eta], dtype=torch.float32))
    ends = [far for far, end in zip((-1e4, 1e4), support, strict=True) if end is None]
    assert bool(prior.is_normalizable) == all(Polynomial([0, *eta])(far) < 0 for far in ends)


def test_normalisability_is_per_dimension():
    prior = FactorablePolynomial(3, 4, [(None, None), (-1.0, 1.0), (None, None)])
    prior.set_eta(torch.tensor([[0.0, 0.0, 0.0, -1.0], [0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 0.0]]))
    assert prior.is_normalizable.tolist() == [True, True, False]


# following latents


def test_follows_running_moments():
    """Each call weighs 0.01 in the first two moments: in numpy, as moments of z itself."""
    prior = FactorablePolynomial(2, 4).double()
    generator = np.random.default_rng(0)
    first, second = np.zeros(2), np.ones(2)
    for _ in range(500):
        z = generator.normal([3.0, -2.0], [1.5, 0.1], size=(16, 2))
        first = 0.99 * first + 0.01 * z.mean(0)
        second = 0.99 * second + 0.01 * (z**2).mean(0)
        prior.follow(torch.from_numpy(z))
    np.testing.assert_allclose(prior.location, first, rtol=1e-9)
    np.testing.assert_allclose(prior.scale, np.sqrt(second - first**2), rtol=1e-9)


def test_the_density_follows():
    """From exp of a polynomial in z to that in (z − c) / s, with scores s times as small."""
    prior = FactorablePolynomial(1, 4).double()
    prior.set_eta(torch.tensor([BIMODAL], dtype=torch.float64))
    for _ in range(3):
        prior.follow(40 + 7 * doubles(16, 1))
    u = np.linspace(-2, 2, 9)
    assert prior.location > 0.3
    assert prior.scale > 1.5
    expected = Polynomial([0.0, *BIMODAL]).deriv()(u) / prior.scale.item()
    z = torch.from_numpy(u)[:, None] * prior.scale + prior.location
    np.testing.assert_allclose(prior.score(z).detach()[:, 0], expected, rtol=1e-9)


@pytest.mark.parametrize("outlier", [1e6, -1e30, math.inf, math.nan])
def test_one_step_does_not_carry_it_away(outlier):
    prior = FactorablePolynomial(2, 4)
    z = torch.randn(32, 2)
    z[3, 1] = outlier
    prior.follow(z)
    assert (prior.location.abs() < 0.1).all()
    assert ((prior.scale > 0.9) & (prior.scale < 1.1)).all()
    prior.follow(torch.full((32, 2), outlier))
    assert prior.location.isfinite().all()
    assert (prior.scale < 2).all()


def test_samplers_start_among_what_was_followed():
    prior = FactorablePolynomial(2, 4)
    for _ in range(1_000):
        prior.follow(torch.tensor([50.0, -3.0]) + torch.tensor([8.0, 0.5]) * torch.randn(64, 2))
    std, mean = torch.std_mean(prior.start(20_000), dim=0)
    torch.testing.assert_close(mean, torch.tensor([50.0, -3.0]), rtol=0.02, atol=0.02)
    torch.testing.assert_close(std, torch.tensor([8.0, 0.5]), rtol=0.05, atol=0)
    torch.testing.assert_close(prior.spread, torch.tensor([8.0, 0.5]), rtol=0.05, atol=0)


# what is refused


@pytest.mark.parametrize("order", [1, 0, -2])
def test_unusable_order(order):
    with pytest.raises(InputError, match=f"order must be an integer of at least 2, got {order}"):
        FactorablePolynomial(3, order)


def test_unusable_eta():
    with pytest.raises(InputError, match=r"eta must have shape \(3, 4\), got \(4, 4\)"):
        FactorablePolynomial(3, 4).set_eta(torch.zeros(4, 4))


@pytest.mark.parametrize("samples", [1, 4])
def test_fit_needs_more_samples_than_parameters(samples):
    with pytest.raises(InputError, match=f"{samples} samples cannot determine 4 parameters"):
        FactorablePolynomial(2, 4).fit(torch.randn(samples, 2))


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -1e6])
def test_fit_of_a_constant_dimension(value):
    z = torch.randn(50, 3)
    z[:, 1] = value
    with pytest.raises(InputError, match="latent dimension 1 is constant"):
        FactorablePolynomial(3, 4).fit(z)


@pytest.mark.parametrize("order", [3, 4, 6])
def test_fit_of_too_few_different_values(order):
    z = torch.randn(50, 3)
    z[:, 2] = torch.arange(50) % 2 - 0.3
    with pytest.raises(InputError, match="latent dimension 2 has too few different values"):
        FactorablePolynomial(3, order).fit(z)


def test_confine_refuses_what_is_not_finite():
    with pytest.raises(InputError, match=r"z\[0, 1\] is nan"):
        FactorablePolynomial(2, 5).confine(torch.tensor([[0.0, math.nan]]))
