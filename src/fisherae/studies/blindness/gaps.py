r"""Priors in the plane, refitted to samples of known densities with gaps: by score matching, which
`fit` of an exponential family is, and by maximum likelihood of the same family.

- A core within a ring: p(z) ∝ exp(ηᵀ (s, s², s³)), s = ‖z‖². The truth is a member, with a barrier
  of b nats between core and ring, so that only the number of samples stands between η and its fit.
- Three islands, a Gaussian mixture of which only the weights are to be fitted.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fisherae.divergences import hyvarinen_score
from fisherae.priors import ExponentialFamily, GaussianMixture
from fisherae.studies.blindness.truths import gaussian_mixture

__all__ = [
    "CORE",
    "CoreMass",
    "IslandError",
    "core_and_ring",
    "core_mass",
    "core_masses",
    "draw_core_and_ring",
    "fitted_weights",
    "island_errors",
    "likelihood_fit",
    "statistics",
]

CORE = 0.3
"""The share of the core in the truth."""
RING = 4.0  # ‖z‖² on the ring
RADIAL = torch.linspace(0, 9, 9_001, dtype=torch.float64)  # s, far beyond the ring
ISLANDS = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
NEWTON_STEPS = 100


@dataclass(frozen=True)
class CoreMass:
    """The core's share in one fit each; None where score matching found no density."""

    barrier: float
    seed: int
    score_matching: float | None
    likelihood: float


@dataclass(frozen=True)
class IslandError:
    """Total variation distance of the fitted weights of three islands and the true ones."""

    separation: float
    seed: int
    score_matching: float
    with_noise: float
    likelihood: float


def statistics(z: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 3"]:
    """T(z) = (s, s², s³), s = ‖z‖²."""
    return _powers(z.square().sum(-1))


def core_and_ring(barrier: float) -> Float[Tensor, " 3"]:
    r"""η of −b V(s) + τ s, V = 27 s (s − s₁)² / (4 s₁³), which is 1 between the core and the ring;
    the tilt τ, found by bisection, gives the core its share."""
    height = barrier * 27 / (4 * RING**3)
    wells = -height * torch.tensor([RING**2, -2 * RING, 1.0], dtype=torch.float64)
    slope = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    low, high = -10.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if core_mass(wells + middle * slope) > CORE else (low, middle)
    return wells + low * slope


def core_mass(eta: Float[Tensor, " 3"]) -> float:
    """The share of the points nearer to the origin than the barrier, ‖z‖² < s₁ / 3."""
    return float(_radial(eta)[RADIAL < RING / 3].sum())


def draw_core_and_ring(
    eta: Float[Tensor, " 3"], n: int, generator: torch.Generator
) -> Float[Tensor, "n 2"]:
    """Independent samples: s by its inverse cumulative distribution, the angle uniform."""
    uniform = torch.rand(2, n, generator=generator, dtype=torch.float64)
    cumulative = _radial(eta).cumsum(0)
    cell = torch.searchsorted(cumulative, uniform[0]).clamp(1, len(RADIAL) - 1)
    radius, angle = RADIAL[cell].sqrt(), 2 * math.pi * uniform[1]
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1)


def likelihood_fit(z: Float[Tensor, "n 2"], start: Float[Tensor, " 3"]) -> Float[Tensor, " 3"]:
    r"""Maximum likelihood by Newton's method on log p(z) = ηᵀ T(z) − log ∫ exp(ηᵀ T); the integral
    by quadrature. It is concave: the start changes nothing but the time."""
    mean, eta = statistics(z).mean(0), start.clone()
    powers = _powers(RADIAL)
    for _ in range(NEWTON_STEPS):
        density = _radial(eta)
        model_mean = density @ powers
        centred = powers - model_mean
        step = torch.linalg.solve(centred.mT @ (density[:, None] * centred), mean - model_mean)
        eta = eta + _damped(eta, step, mean)
        if float(step.abs().max()) < 1e-10:
            break
    return eta


def core_masses(barriers: Sequence[float], seeds: range, sets: int, n: int) -> Iterator[CoreMass]:
    """Both fits to `sets` data sets of n samples, for each barrier and seed."""
    for barrier, seed in itertools.product(barriers, seeds):
        true, generator = core_and_ring(barrier), torch.Generator().manual_seed(seed)
        for _ in range(sets):
            z = draw_core_and_ring(true, n, generator)
            matched = ExponentialFamily(2, statistics).double().fit(z).eta.detach()
            likely = likelihood_fit(z, true)
            mass = core_mass(matched) if matched[-1] < 0 else None  # which falls beyond the ring
            yield CoreMass(barrier, seed, mass, core_mass(likely))


def islands(separation: float, spread: float, weights: Tensor) -> GaussianMixture:
    """Three round Gaussians at the corners of an equilateral triangle."""
    angles = torch.arange(3, dtype=torch.float64) * 2 * math.pi / 3
    means = torch.stack([angles.cos(), angles.sin()], dim=-1) * separation / math.sqrt(3)
    return gaussian_mixture(means, spread, weights)


def fitted_weights(
    z: Float[Tensor, "n 2"], separation: float, spread: float, by_likelihood: bool
) -> Float[Tensor, " 3"]:
    """The weights of least mean Hyvärinen score, or of most likelihood, from equal ones."""
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [logits], max_iter=100, tolerance_grad=1e-10, line_search_fn="strong_wolfe"
    )
    mixture = islands(separation, spread, ISLANDS)

    def loss() -> Tensor:
        optimizer.zero_grad()
        mixture.weights = logits.softmax(0)
        value = -mixture.log_density(z) if by_likelihood else hyvarinen_score(mixture, z)
        value.mean().backward()  # type: ignore[no-untyped-call]
        return value.mean()

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return logits.detach().softmax(0)


def island_errors(separations: Sequence[float], seeds: range, n: int) -> Iterator[IslandError]:
    """Three fits to n samples; with noise, both the samples and the mixture get N(0, τ² I), with
    τ such that the islands, in units of their own spread, are two apart."""
    for separation in separations:
        noise = math.sqrt(max(0.0, (separation / 2) ** 2 - 1))
        for seed in seeds:
            generator = torch.Generator().manual_seed(seed)
            z = islands(separation, 1.0, ISLANDS).draw(n, generator)
            noisy = z + noise * torch.randn(z.shape, generator=generator, dtype=z.dtype)
            fits = (
                fitted_weights(z, separation, 1.0, by_likelihood=False),
                fitted_weights(noisy, separation, math.hypot(1.0, noise), by_likelihood=False),
                fitted_weights(z, separation, 1.0, by_likelihood=True),
            )
            yield IslandError(
                separation, seed, *(float((fit - ISLANDS).abs().sum() / 2) for fit in fits)
            )


def _powers(s: Tensor) -> Float[Tensor, "*batch 3"]:
    return torch.stack([s, s.square(), s**3], dim=-1)


def _radial(eta: Tensor) -> Float[Tensor, " points"]:
    """The probability of each cell of s, by d²z = π ds."""
    return (_powers(RADIAL) @ eta).softmax(0)


def _damped(eta: Tensor, step: Tensor, mean: Tensor) -> Tensor:
    """The step, halved until the likelihood does not fall."""

    def log_likelihood(value: Tensor) -> Tensor:
        return value @ mean - (_powers(RADIAL) @ value).logsumexp(0)

    now = log_likelihood(eta)
    for _ in range(30):
        if log_likelihood(eta + step) >= now:
            break
        step = step / 2
    return step
