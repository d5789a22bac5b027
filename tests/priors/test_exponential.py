"""The general exponential family against closed forms."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from fisherae.errors import InputError
from fisherae.priors import ExponentialFamily


def test_density_by_hand():
    """η = (2, −1), T = (z, z²), h = −z⁴: at z = 2, 2·2 − 4 − 16, and 2 − 4 − 32."""
    prior = ExponentialFamily(1, lambda z: torch.cat([z, z**2], -1), lambda z: -(z**4).sum(-1))
    with torch.no_grad():
        prior.eta.copy_(torch.tensor([2.0, -1.0]))
    z = torch.tensor([[2.0]])
    assert prior.log_density(z).item() == -16.0
    assert prior.score(z).item() == -34.0


def test_fit_of_a_full_gaussian_is_its_sample_precision():
    """T = all products: score matching of a Gaussian gives the inverse population covariance."""
    rows, columns = torch.triu_indices(3, 3).tolist()

    def statistics(z):
        return torch.cat([z, z[..., rows] * z[..., columns]], dim=-1)

    root = torch.randn(3, 3, dtype=torch.float64) + 2 * torch.eye(3, dtype=torch.float64)
    z = torch.randn(200, 3, dtype=torch.float64) @ root.T + 1
    prior = ExponentialFamily(3, statistics).double().fit(z)
    gaussian = MultivariateNormal(z.mean(0), z.T.cov(correction=0))
    log_ratio = prior.log_density(z) - gaussian.log_prob(z)
    torch.testing.assert_close(log_ratio, log_ratio[:1].expand(200))


def test_fit_with_a_carrier_splits_the_density():
    """With h = −z²/2 the rest of N(m, v) is η = (m/v, ½ − 1/2v)."""
    z = 2 + 3 * torch.randn(500, 1, dtype=torch.float64)
    prior = ExponentialFamily(
        1, lambda z: torch.cat([z, z**2], -1), lambda z: -(z**2).sum(-1) / 2
    ).double()
    mean, variance = z.mean(), z.var(correction=0)
    expected = torch.stack([mean / variance, 0.5 - 0.5 / variance])
    torch.testing.assert_close(prior.fit(z).eta.detach(), expected)


def test_fit_needs_independent_statistics():
    prior = ExponentialFamily(2, lambda z: torch.cat([z, z / 3], -1))
    with pytest.raises(InputError, match="100 samples determine only 2 of the 4 natural param"):
        prior.fit(torch.randn(100, 2))


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_fit_needs_enough_samples(samples):
    prior = ExponentialFamily(1, lambda z: torch.cat([z**k for k in range(1, 5)], -1))
    message = f"{samples} samples determine only {samples} of the 4 natural parameters"
    with pytest.raises(InputError, match=message):
        prior.fit(torch.randn(samples, 1))


def test_a_constant_statistic_is_not_determined():
    prior = ExponentialFamily(1, lambda z: torch.cat([z, torch.ones_like(z)], -1))
    with pytest.raises(InputError, match="determine only 1 of the 2"):
        prior.fit(torch.randn(100, 1))


@pytest.mark.parametrize(
    ("support", "expected"),
    [
        (None, None),
        ((0.0, math.inf), None),
        ([(0.0, 1.0), (None, 1.0)], None),
        ((0.0, 1.0), [True, True]),
    ],
)
def test_normalisability_is_known_on_a_finite_support_only(support, expected):
    known = ExponentialFamily(2, torch.square, support=support).is_normalizable
    assert (known if known is None else known.tolist()) == expected


@pytest.mark.parametrize("part", ["statistics", "carrier"])
def test_functions_that_do_not_follow_the_dtype_of_z_are_named(part):
    mix, weights = torch.randn(3, 4), torch.randn(3)
    functions = {
        "statistics": lambda z: (z @ mix.to(z)).square(),
        "carrier": lambda z: z @ weights.to(z),
    }
    z = torch.randn(100, 3)
    assert ExponentialFamily(3, **functions).fit(z).eta.isfinite().all()
    functions[part] = (
        (lambda z: (z @ mix).square()) if part == "statistics" else lambda z: z.float().sum(-1)
    )
    with pytest.raises(InputError, match=f"the {part} must compute in the dtype of z"):
        ExponentialFamily(3, **functions).fit(z)
