r"""Langevin Monte Carlo, unadjusted (ULA) and Metropolis-adjusted (MALA), many chains at once."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from fisherae.priors import Prior
from fisherae.samplers.base import reflect

__all__ = ["MALA", "ULA", "MALAState", "ULAState", "tune"]

OPTIMAL_ACCEPTANCE = 0.574


@dataclass(frozen=True)
class ULAState:
    """One position per chain, shape (n, dim)."""

    position: Tensor


@dataclass(frozen=True)
class ULA:
    r"""Unadjusted Langevin: z ← z + h ∇ log p(z) + √(2h) ε, ε ~ N(0, I).

    Biased by the step: on N(0, 1) it converges to variance 1 / (1 − h/2). Needs the score only.
    Chains reflect at the ends of the support.

    Arguments:
        prior: any prior.
        step_size: h > 0, in squared units of z; a number, or one per dimension.

    References:
        Roberts and Tweedie (1996), Exponential Convergence of Langevin Distributions and Their
        Discrete Approximations, https://doi.org/10.2307/3318418

    Example:
        >>> from fisherae.priors import StandardNormal
        >>> sampler = ULA(StandardNormal(2), step_size=0.1)
        >>> sampler.step(sampler.init(torch.zeros(5, 2))).position.shape
        torch.Size([5, 2])
    """

    prior: Prior
    step_size: float | Tensor = 0.01

    def init(self, position: Float[Tensor, "n dim"]) -> ULAState:
        return ULAState(position)

    @torch.no_grad()
    def step(self, state: ULAState, generator: Generator | None = None) -> ULAState:
        z, h = state.position, self.step_size
        moved = z + h * self.prior.score(z) + (2 * h) ** 0.5 * _noise_like(z, generator)
        return ULAState(reflect(moved, self.prior.support))


@dataclass(frozen=True)
class MALAState:
    r"""Per chain: z, log p(z), ∇ log p(z), and the acceptance probability of the last proposal."""

    position: Tensor
    log_density: Tensor
    score: Tensor
    acceptance: Tensor


@dataclass(frozen=True)
class MALA:
    r"""Metropolis-adjusted Langevin: the step of `ULA` as a proposal z′ ~ q(z′|z), accepted with
    probability min(1, p(z′) q(z|z′) / p(z) q(z′|z)). Unbiased for every step size.

    Outside the support p is zero: such proposals are rejected. Chains seldom cross between modes
    that are many standard deviations apart.

    Arguments:
        prior: any prior.
        step_size: h > 0, in squared units of z; a number, or one per dimension. `tune` finds it.

    References:
        Roberts and Tweedie (1996), Exponential Convergence of Langevin Distributions and Their
        Discrete Approximations, https://doi.org/10.2307/3318418

    Example:
        >>> from fisherae.priors import StandardNormal
        >>> sampler = MALA(StandardNormal(2), step_size=1e-4)
        >>> state = sampler.step(sampler.init(torch.zeros(5, 2)))
        >>> bool((state.acceptance > 0.99).all())
        True
    """

    prior: Prior
    step_size: float | Tensor = 0.1

    @torch.no_grad()
    def init(self, position: Float[Tensor, "n dim"]) -> MALAState:
        log_density = self.prior.log_density(position)
        score = self.prior.score(position)
        return MALAState(position, log_density, score, torch.ones_like(log_density))

    @torch.no_grad()
    def step(self, state: MALAState, generator: Generator | None = None) -> MALAState:
        noise = _noise_like(state.position, generator)
        proposal = self.init(self._drifted(state) + (2 * self.step_size) ** 0.5 * noise)
        forth, back = self._log_proposal(state, proposal), self._log_proposal(proposal, state)
        log_ratio = proposal.log_density + back - state.log_density - forth
        acceptance = log_ratio.exp().nan_to_num(0.0).clamp(max=1.0)  # NaN: both densities are zero
        uniform = torch.empty_like(acceptance).uniform_(generator=generator)
        accepted = uniform < acceptance
        return MALAState(
            torch.where(accepted[:, None], proposal.position, state.position),
            torch.where(accepted, proposal.log_density, state.log_density),
            torch.where(accepted[:, None], proposal.score, state.score),
            acceptance,
        )

    def _drifted(self, state: MALAState) -> Tensor:
        return state.position + self.step_size * state.score

    def _log_proposal(self, origin: MALAState, target: MALAState) -> Float[Tensor, " n"]:
        r"""log q(target | origin) up to a constant."""
        error = target.position - self._drifted(origin)
        return -(error.square() / (4 * self.step_size)).sum(-1)


def tune(sampler: MALA, state: MALAState, t: int) -> MALA:
    r"""The sampler with a step size nearer to the optimal acceptance rate of 0.574.

    log h ← log h + (acceptance − 0.574) / √(t + 1). For the warm-up only: samples count from when
    the step size stays as it is.

    Arguments:
        state: after the step of number t = 0, 1, …

    References:
        Roberts and Rosenthal (1998), Optimal Scaling of Discrete Approximations to Langevin
        Diffusions, https://doi.org/10.1111/1467-9868.00123
        Andrieu and Thoms (2008), A Tutorial on Adaptive MCMC,
        https://doi.org/10.1007/s11222-008-9110-y

    Example:
        >>> from fisherae.priors import StandardNormal
        >>> sampler = MALA(StandardNormal(2), step_size=0.01)
        >>> state = sampler.step(sampler.init(torch.zeros(5, 2)))
        >>> bool(tune(sampler, state, t=0).step_size > 0.01)
        True
    """
    change = (state.acceptance.mean() - OPTIMAL_ACCEPTANCE) / (t + 1) ** 0.5
    return replace(sampler, step_size=sampler.step_size * change.exp())


def _noise_like(z: Tensor, generator: Generator | None) -> Tensor:
    return torch.empty_like(z).normal_(generator=generator)
