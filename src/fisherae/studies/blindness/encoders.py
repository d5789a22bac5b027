r"""What the encoder does to the objective: the divergence of joints beside that of marginals.

    D_∇[p⋆ q ‖ p] = E ½ ‖∇ log p⋆ + ∇_x log q(z|x) − ∇_x log p(x|z)‖² + E D_∇[q(z|x) ‖ p(z|x)]

With q(z|x) = p(z|x) it is D_∇[p⋆ ‖ p] (Remark 1). KL divides into KL[p⋆ ‖ p] + E KL[q ‖ p(z|x)], so
that the best encoder is the posterior; here there is no such division, and a wrong encoder can take
away from the first term more than it adds in the second: min_q D_∇[p⋆ q ‖ p] ≤ D_∇[p⋆ ‖ p].
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fisherae.studies.blindness.weights import pair

__all__ = ["Encoded", "Inferred", "best_encoder", "inferred", "joint_divergence"]

LATENTS = 4_001


@dataclass(frozen=True)
class Encoded:
    """x ~ N(0, 1), p(z) = N(0, 1), p(x|z) = N(w z, s²), q(z|x) = N(a x, v).

    Attributes:
        variance: of the model, w² + s².
        marginal: D_∇[p⋆ ‖ p].
        joint: min over a and v of D_∇[p⋆ q ‖ p].
        gain, posterior_gain: a of that encoder, and of p(z|x).
        kl: KL[p⋆ ‖ p], which is also min over a and v of KL[p⋆ q ‖ p].
    """

    variance: float
    marginal: float
    joint: float
    gain: float
    posterior_gain: float
    kl: float


@dataclass(frozen=True)
class Inferred:
    """q(z|x) = N(m, 1) for a posterior p(z|x) = w N(−Δ/2, 1) + (1 − w) N(Δ/2, 1).

    Attributes:
        mean: m.
        fisher: D_∇[q ‖ p(z|x)].
        kl: KL[q ‖ p(z|x)].
    """

    mean: float
    fisher: float
    kl: float


def joint_divergence(w: float, s2: float, a: Tensor, v: Tensor) -> Tensor:
    r"""D_∇[p⋆ q ‖ p] in closed form: with z = a x + e, e ~ N(0, v), both scores are linear in x
    and e, and what is squared is a coefficient."""
    score_x = -1 + (1 - w * a) / s2, a / v - w / s2
    score_z = a - w * (1 - w * a) / s2, -1 / v + 1 + w**2 / s2
    in_x = score_x[0].square() + score_z[0].square()
    in_e = score_x[1].square() + score_z[1].square()
    return (in_x + v * in_e) / 2


def best_encoder(w: float, s2: float) -> Encoded:
    """The encoder that minimises the divergence of the joints, beside the posterior."""
    variance = w**2 + s2
    posterior = w / variance, 1 - w**2 / variance
    # The start is not the posterior itself, lest a saddle keep it there.
    start = [posterior[0] + 0.1, math.log(posterior[1])]
    parameters = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [parameters], max_iter=100, tolerance_grad=1e-12, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = joint_divergence(w, s2, parameters[0], parameters[1].exp())
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return Encoded(
        variance=variance,
        marginal=(1 - 1 / variance) ** 2 / 2,
        joint=float(loss().detach()),
        gain=float(parameters[0].detach()),
        posterior_gain=posterior[0],
        kl=(1 / variance - 1 + math.log(variance)) / 2,
    )


def inferred(separation: float, weight: float, mean: float) -> Inferred:
    """Both divergences by quadrature."""
    noise = torch.linspace(-10, 10, LATENTS, dtype=torch.float64)[:, None]
    log_q = -noise[:, 0].square() / 2 - math.log(2 * math.pi) / 2
    density = log_q.exp() * 20 / (LATENTS - 1)
    posterior, z = pair(separation, weight), mean + noise
    difference = -noise - posterior.score(z)
    return Inferred(
        mean,
        fisher=float(density @ difference.square().sum(-1) / 2),
        kl=float(density @ (log_q - posterior.log_density(z))),
    )
