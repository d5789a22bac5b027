r"""The weight of one of two Gaussians, from samples: score matching against maximum likelihood.

p_w = w N(−Δ/2, 1) + (1 − w) N(Δ/2, 1) with everything known but w, the true one π. With
r(x) = sigmoid(logit w − Δ x), the responsibility of the left one,

    ∇ log p_w = −x + (Δ/2) (1 − 2r),    Δ log p_w = −1 + Δ² r (1 − r).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fisherae.priors import GaussianMixture
from fisherae.studies.blindness.truths import gaussian_mixture

__all__ = [
    "Divergences",
    "Errors",
    "Needed",
    "divergences",
    "estimates",
    "estimation_errors",
    "far_apart",
    "needed",
    "pair",
    "sampling_errors",
    "with_noise",
]

WEIGHT = 0.25
"""π of all problems."""
STANDARD_ERROR = 0.05
LINE = 8_001  # points of a grid: the trapezoidal rule is exact to rounding
LOGITS = torch.linspace(-10, 10, 201, dtype=torch.float64)
AT_ONCE = 50


@dataclass(frozen=True)
class Divergences:
    """D_∇[p_π ‖ p_w] and KL[p_π ‖ p_w], in nats the second."""

    separation: float
    weight: float
    fisher: float
    kl: float


@dataclass(frozen=True)
class Needed:
    """How many samples a standard error of 0.05 takes, with many samples.

    Attributes:
        noise: τ at which score matching needs the fewest.
        with_noise: and how many those are.
    """

    separation: float
    score_matching: float
    likelihood: float
    noise: float
    with_noise: float


@dataclass(frozen=True)
class Errors:
    """Root mean square errors of the estimates of π over many data sets of one seed.

    Attributes:
        lost: share of the score-matching estimates beyond [0.01, 0.99].
    """

    separation: float
    seed: int
    score_matching: float
    likelihood: float
    lost: float


def pair(separation: float, weight: float) -> GaussianMixture:
    """p_w, in float64."""
    means = torch.tensor([[-separation / 2], [separation / 2]], dtype=torch.float64)
    return gaussian_mixture(means, 1.0, torch.tensor([weight, 1 - weight], dtype=torch.float64))


def divergences(separation: float, weight: float) -> Divergences:
    """Both by quadrature."""
    x, dx = _line(separation)
    true, model = pair(separation, WEIGHT), pair(separation, weight)
    density = true.log_density(x).exp() * dx
    difference = true.score(x) - model.score(x)
    return Divergences(
        separation,
        weight,
        fisher=float(density @ difference.square().sum(-1) / 2),
        kl=float(density @ (true.log_density(x) - model.log_density(x))),
    )


def far_apart(separation: float, weight: float) -> float:
    r"""D_∇[p_π ‖ p_w] to leading order in Δ: Δ φ(Δ/2) C(π, w), φ the standard normal density and

        C(π, w) = ½ ∫ (π e^{−t/2} + (1 − π) e^{t/2}) (σ(logit w − t) − σ(logit π − t))² dt.

    The responsibilities differ only within 1/Δ of the middle, where p_π is of the order φ(Δ/2):
    with t = Δ x they are all that is left. So D_∇ vanishes as e^{−Δ²/8}, while KL tends to
    π log(π/w) + (1 − π) log((1 − π)/(1 − w)).
    """
    t = torch.linspace(-80, 80, LINE, dtype=torch.float64)
    change = torch.sigmoid(_logit(weight) - t) - torch.sigmoid(_logit(WEIGHT) - t)
    # exp(log …): the growing exponential meets the square of a shrinking one.
    growth = torch.logaddexp(math.log(WEIGHT) - t / 2, math.log(1 - WEIGHT) + t / 2)
    constant = torch.trapezoid((growth + 2 * change.abs().clamp_min(1e-300).log()).exp(), t) / 2
    density = math.exp(-(separation**2) / 8) / math.sqrt(2 * math.pi)
    return separation * density * float(constant)


def sampling_errors(separation: float) -> tuple[float, float]:
    r"""√n times the standard error of the estimates of π from n samples, n → ∞: by score matching,
    (E ψ²)^½ / E[(∂_a s)²], and by likelihood, I^{−½}; in w, which is π (1 − π) times that in a.

    ψ = ∂_a s_∇[p_w] with a = logit w, s = ∇ log p_w; E[∂_a² s_∇] = E[(∂_a s)²] because E s_∇ is the
    Fisher divergence but for a constant; I = E[(∂_a log p_w)²], the Fisher information.
    """
    x, dx = _line(separation)
    density = pair(separation, WEIGHT).log_density(x).exp() * dx
    r = torch.sigmoid(_logit(WEIGHT) - separation * x[:, 0])
    slope = separation * r * (1 - r)  # −∂_a s
    psi = slope * (x[:, 0] + separation / 2 * (1 - 2 * r))
    scale = WEIGHT * (1 - WEIGHT)
    matching = scale * (density @ psi.square()).sqrt() / (density @ slope.square())
    likelihood = scale / (density @ (r - WEIGHT).square()).sqrt()
    return float(matching), float(likelihood)


def with_noise(separation: float) -> tuple[float, float]:
    r"""The noise τ on the data at which score matching estimates π best, and √n times its error.

    The data plus N(0, τ²) have the same weights and components N(±Δ/2, 1 + τ²): in their own unit
    a problem of separation Δ / √(1 + τ²), so that this is a minimum over smaller separations.
    """
    reduced = torch.linspace(0.2, separation, 60, dtype=torch.float64).tolist()
    errors = [sampling_errors(value)[0] for value in reduced]
    best = min(range(len(errors)), key=errors.__getitem__)
    return math.sqrt((separation / reduced[best]) ** 2 - 1), errors[best]


def needed(separation: float) -> Needed:
    """The samples that a standard error of 0.05 takes, by `sampling_errors`."""
    matching, likelihood = sampling_errors(separation)
    noise, noisy = with_noise(separation)
    counts = ((error / STANDARD_ERROR) ** 2 for error in (matching, likelihood, noisy))
    return Needed(separation, next(counts), next(counts), noise, next(counts))


def estimates(x: Float[Tensor, "sets n"], separation: float) -> tuple[Tensor, Tensor]:
    """Of each data set the w that minimises the mean Hyvärinen score, and that which maximises the
    likelihood; on a grid of logits, −10 to 10 in steps of 0.1."""
    matching, likelihood = [], []
    for part in torch.split(x, AT_ONCE):
        scores, log_densities = zip(
            *(_score_and_log_density(part, separation, float(a)) for a in LOGITS), strict=True
        )
        matching.append(torch.stack(scores).argmin(0))
        likelihood.append(torch.stack(log_densities).argmax(0))
    weights = LOGITS.sigmoid()
    return weights[torch.cat(matching)], weights[torch.cat(likelihood)]


def estimation_errors(
    separations: Sequence[float], seeds: range, sets: int, n: int
) -> Iterator[Errors]:
    """Of `sets` data sets of n points for each seed."""
    for separation in separations:
        for seed in seeds:
            generator = torch.Generator().manual_seed(seed)
            x = pair(separation, WEIGHT).draw(sets * n, generator).view(sets, n)
            matching, likelihood = estimates(x, separation)
            yield Errors(
                separation,
                seed,
                float((matching - WEIGHT).square().mean().sqrt()),
                float((likelihood - WEIGHT).square().mean().sqrt()),
                float(((matching < 0.01) | (matching > 0.99)).double().mean()),
            )


def _score_and_log_density(x: Tensor, separation: float, a: float) -> tuple[Tensor, Tensor]:
    """Means over the points of each set; the log-density without what does not depend on w."""
    odds = a - separation * x
    r = torch.sigmoid(odds)
    slope = -x + separation / 2 * (1 - 2 * r)
    score = slope.square() / 2 + separation**2 * r * (1 - r)
    log_density = torch.nn.functional.softplus(odds) - math.log1p(math.exp(a))
    return score.mean(1), log_density.mean(1)


def _line(separation: float) -> tuple[Float[Tensor, "points 1"], float]:
    end = separation / 2 + 10
    return torch.linspace(-end, end, LINE, dtype=torch.float64)[:, None], 2 * end / (LINE - 1)


def _logit(weight: float) -> float:
    return math.log(weight / (1 - weight))
