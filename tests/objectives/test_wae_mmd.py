"""WAE-MMD: the discrepancy against double loops and the known value of Gaussians, and its terms."""

import math
from collections.abc import Iterator

import pytest
import torch
from scipy.integrate import quad
from torch import Tensor

import fisherae as fae
from fisherae.networks import mlp
from fisherae.objectives.wae import squared_mmd

PIXELS, DIM = 8, 3


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def wae(prior: object = None) -> fae.Autoencoder:
    encoder = mlp.encoder((PIXELS,), DIM, outputs_per_dim=1, hidden=(16,))
    decoder = mlp.decoder((PIXELS,), DIM, hidden=(16,))
    return fae.Autoencoder(encoder, decoder, prior or fae.StandardNormal(DIM), posterior="delta")


def by_loops(x: Tensor, y: Tensor, scale: float) -> float:
    n = len(x)

    def k(a: Tensor, b: Tensor) -> float:
        return scale / (scale + math.dist(a.tolist(), b.tolist()) ** 2)

    within = sum(
        (k(x[i], x[j]) + k(y[i], y[j])) / (n * (n - 1))
        for i in range(n)
        for j in range(n)
        if i != j
    )
    return within - 2 * sum(k(a, b) for a in x for b in y) / n**2


@pytest.mark.parametrize(("n", "dim"), [(2, 1), (7, 3), (12, 20)])
def test_discrepancy_is_that_of_a_double_loop(n: int, dim: int) -> None:
    x, y = torch.randn(n, dim), 1 + 2 * torch.randn(n, dim)
    summands = squared_mmd(x, y, scale=2.0 * dim)
    assert summands.shape == (n,)
    assert summands.mean().item() == pytest.approx(by_loops(x, y, 2.0 * dim), rel=1e-12)


def expected_kernel(distance: float, variance: float, dim: int, scale: float) -> float:
    """E C / (C + ‖δ‖²) of δ ~ N(m, v I), ‖m‖ = distance: the kernel is a mixture of Gaussian ones,
    ∫₀^∞ exp(−t − t ‖δ‖²/C) dt, and theirs is (1 + 2tv/C)^(−d/2) exp(−t ‖m‖² / (C + 2tv))."""

    def of(t: float) -> float:
        width = 1 + 2 * t * variance / scale
        return math.exp(-t - t * distance**2 / (scale * width)) * width ** (-dim / 2)

    return quad(of, 0, math.inf, epsabs=1e-12)[0]


@pytest.mark.parametrize("dim", [1, 8])
@pytest.mark.parametrize(("distance", "std"), [(0.0, 1.0), (1.0, 1.0), (0.0, 0.5), (2.0, 2.0)])
def test_discrepancy_of_gaussians(dim: int, distance: float, std: float) -> None:
    """N(m, s² I) and N(0, I): unbiased, whether they differ or not."""
    scale, n, batches = 2.0 * dim, 100, 200
    known = (
        expected_kernel(0, 2 * std**2, dim, scale)
        + expected_kernel(0, 2, dim, scale)
        - 2 * expected_kernel(distance, 1 + std**2, dim, scale)
    )
    m = distance / dim**0.5
    estimates = torch.stack(
        [
            squared_mmd(m + std * torch.randn(n, dim), torch.randn(n, dim), scale).mean()
            for _ in range(batches)
        ]
    )
    error = estimates.std().item() / batches**0.5
    assert abs(estimates.mean().item() - known) < 4 * error
    assert (distance, std) == (0.0, 1.0) or known > 20 * error


def test_terms_by_hand() -> None:
    objective, x = fae.WaeMmdObjective(wae(), weight=3.0), torch.rand(16, PIXELS)
    torch.manual_seed(5)
    terms = objective(x)
    torch.manual_seed(5)
    prior = torch.randn(16, DIM)
    z = objective.model.encode(x).mean
    error = (x - objective.model.decoder(z)).square().sum(1).mean()
    torch.testing.assert_close(terms.reconstruction, 0.05 * error)
    expected = 3 * by_loops(z.detach(), prior, 2.0 * DIM)
    assert terms.penalty.item() == pytest.approx(expected, rel=1e-9)


def test_gradients_equal_finite_differences() -> None:
    objective, x = fae.WaeMmdObjective(wae()), torch.rand(5, PIXELS)

    def loss() -> Tensor:
        torch.manual_seed(1)
        return objective(x).total

    loss().backward()
    for parameter in objective.parameters():
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        for i in range(0, len(flat), 7):
            value = flat[i].item()
            flat[i] = value + 1e-6
            above = loss().item()
            flat[i] = value - 1e-6
            below = loss().item()
            flat[i] = value
            assert gradient[i].item() == pytest.approx((above - below) / 2e-6, rel=1e-5, abs=1e-8)


def test_what_each_term_reaches() -> None:
    model = wae()
    for term, expected in (("reconstruction", {"encoder", "decoder"}), ("penalty", {"encoder"})):
        model.zero_grad()
        fae.WaeMmdObjective(model)(torch.rand(6, PIXELS)).by_name()[term].backward()
        reached = {
            part
            for part in ("encoder", "decoder")
            for p in getattr(model, part).parameters()
            if p.grad is not None and p.grad.abs().sum() > 0
        }
        assert reached == expected


def test_coinciding_latents_have_a_finite_gradient() -> None:
    z = torch.zeros(4, DIM, requires_grad=True)
    squared_mmd(z, torch.zeros(4, DIM), scale=1.0).mean().backward()
    assert torch.equal(z.grad, torch.zeros(4, DIM))


def test_training_brings_the_latents_to_the_prior() -> None:
    """From latents around 3 with hardly any spread to mean 0 and standard deviation 1."""
    x = torch.rand(64, PIXELS)
    objective = fae.WaeMmdObjective(wae(), weight=100.0)
    with torch.no_grad():
        objective.model.encoder[-1].bias.fill_(3.0)
    optimizer = torch.optim.Adam(objective.parameters(), lr=5e-3)
    for _ in range(500):
        optimizer.zero_grad()
        objective(x).total.backward()
        optimizer.step()
    z = objective.model.encode(x).mean
    assert z.mean(0).abs().max() < 0.3
    assert (z.std(0) - 1).abs().max() < 0.3


def test_what_is_refused() -> None:
    with pytest.raises(fae.InputError, match="WAE-MMD draws from a StandardNormal prior, got Fac"):
        fae.WaeMmdObjective(wae(fae.FactorablePolynomial(DIM, 4)))
    for weight in (0.0, -1.0, math.nan):
        with pytest.raises(fae.InputError, match=f"λ must be positive and finite, got {weight}"):
            fae.WaeMmdObjective(wae(), weight)
    with pytest.raises(fae.InputError, match="one image has no distribution: give more"):
        fae.WaeMmdObjective(wae())(torch.rand(1, PIXELS))
