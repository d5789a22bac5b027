r"""Stein variational gradient descent, jointly or one dimension at a time."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from fisherae.priors import Prior
from fisherae.samplers.base import reflect
from fisherae.samplers.kernels import (
    Bandwidth,
    Kernel,
    from_itself,
    median_bandwidth,
    rbf,
    spaced,
    squared_distances,
)

__all__ = ["SVGD", "AdaGrad", "SVGDState"]

StepRule = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]

_TILE = 2**18  # kernel entries held at once: what the cache holds


@dataclass(frozen=True)
class AdaGrad:
    r"""The step rule of the authors' code: ε φ / (δ + √G) with G ← α G + (1 − α) φ².

    Arguments:
        step_size: ε, the most that a coordinate moves in a step once G has settled.
        momentum: α, in [0, 1).
        fudge: δ > 0.

    References:
        https://github.com/dilinwang820/Stein-Variational-Gradient-Descent

    Example:
        >>> increment, memory = AdaGrad(step_size=0.1)(torch.tensor([4.0]), None)
        >>> increment, memory
        (tensor([0.1000]), tensor([16.]))
    """

    step_size: float = 1e-3
    momentum: float = 0.9
    fudge: float = 1e-6

    def __call__(self, direction: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor]:
        square = direction.square()
        memory = square if memory is None else square.lerp_(memory, self.momentum)
        return (self.step_size * direction).div_(memory.sqrt().add_(self.fudge)), memory


@dataclass(frozen=True)
class SVGDState:
    """The particles, shape (n, dim), and what the step rule remembers."""

    position: Tensor
    memory: Tensor | None


@dataclass(frozen=True)
class SVGD:
    r"""Moves particles along the kernelised Stein direction

        φ(z_i) = 1/n Σ_j [k(z_j, z_i) ∇_{z_j} log p(z_j) + ∇_{z_j} k(z_j, z_i)].

    **The spread of the particles is too small in many dimensions**: for N(0, I) and 100 particles
    the standard deviation is 0.98 at d = 1, 0.72 at d = 8 and 0.27 at d = 64. With `per_dim` each
    coordinate has a kernel of its own, which cures it; right for factorable priors only, since the
    coordinates then do not see each other. Particles reflect at the ends of the support.

    Arguments:
        prior: any prior, proper or not.
        per_dim: one kernel per coordinate instead of one for all.
        kernel: radial kernel, r ↦ (k(r), −k′(r)) of r = ‖z − z′‖² / h, a tensor of its own.
        bandwidth: (‖z_i − z_j‖² of up to 256 particles (groups, m, m), n) ↦ h, a tensor of its
            own; one group, or one per coordinate.
        step_rule: (φ, memory) ↦ (increment, memory).

    References:
        Liu and Wang (2016), Stein Variational Gradient Descent: A General Purpose Bayesian
        Inference Algorithm, https://arxiv.org/abs/1608.04471
        Zhuo et al. (2018), Message Passing Stein Variational Gradient Descent (the collapse, and
        kernels of single coordinates), https://arxiv.org/abs/1711.04425

    Example:
        >>> from fisherae.priors import StandardNormal
        >>> sampler = SVGD(StandardNormal(1), step_rule=AdaGrad(step_size=0.05))
        >>> state = sampler.init(torch.linspace(4.0, 6.0, 50)[:, None])
        >>> for _ in range(300):
        ...     state = sampler.step(state)
        >>> bool(state.position.mean().abs() < 0.1), bool((state.position.std() - 1).abs() < 0.1)
        (True, True)
    """

    prior: Prior
    per_dim: bool = False
    kernel: Kernel = rbf
    bandwidth: Bandwidth = median_bandwidth
    step_rule: StepRule = field(default_factory=AdaGrad)

    def init(self, position: Float[Tensor, "n dim"]) -> SVGDState:
        return SVGDState(position, None)

    @torch.no_grad()
    def step(self, state: SVGDState, generator: Generator | None = None) -> SVGDState:
        """One deterministic step: the randomness is in the start."""
        increment, memory = self.step_rule(self.direction(state.position), state.memory)
        return SVGDState(reflect(state.position + increment, self.prior.support), memory)

    @torch.no_grad()
    def direction(self, z: Float[Tensor, "n dim"]) -> Float[Tensor, "n dim"]:
        r"""φ(z_i) of every particle."""
        # Only differences of particles count.
        particles, scores = self._group(z - z.mean(0)), self._group(self.prior.score(z))
        some = spaced(particles)
        squares = squared_distances(some, some)
        h = self.bandwidth(squares, len(z))
        rows = max(1, _TILE // (len(particles) * len(z)))
        if len(z) <= min(rows, some.shape[1]):  # all distances are known
            attraction, apart = _sums(*self.kernel(squares.div_(h)), scores, particles)
        else:
            attraction, apart = self._tiled(particles * h.rsqrt(), scores, particles, rows)
        phi = attraction.add(apart.div_(h), alpha=2).div_(len(z))
        return phi[..., 0].mT if self.per_dim else phi[0]

    def _group(self, z: Tensor) -> Float[Tensor, "groups n features"]:
        # Contiguous, for a batch of products would copy each of its matrices.
        return z.mT.contiguous()[..., None] if self.per_dim else z[None]

    def _tiled(
        self, scaled: Tensor, score: Tensor, z: Tensor, rows: int
    ) -> tuple[Float[Tensor, "groups n features"], Float[Tensor, "groups n features"]]:
        """`_sums`, so many rows of kernels at a time; each pair's once, for they are symmetric."""
        both = torch.cat([score, z], -1)
        sums, mass = torch.zeros_like(both), torch.zeros_like(z[..., :1])
        for start in range(0, z.shape[1], rows):
            self._add_tile(sums, mass, scaled, both, start, start + rows)
        attraction, others = sums.chunk(2, -1)
        return attraction, (mass * z).sub_(others)

    def _add_tile(
        self, sums: Tensor, mass: Tensor, scaled: Tensor, both: Tensor, start: int, stop: int
    ) -> None:
        """Adds what some rows and all later ones are to each other. Its kernels are freed when it
        returns, so that the next tile finds their memory in the cache."""
        own, on, later = slice(start, stop), slice(start, None), slice(stop, None)
        squares = squared_distances(scaled[:, own], scaled[:, on])
        k, fall = self.kernel(from_itself(squares))
        _add(sums[:, own], mass[:, own], k, fall, both[:, on])
        turned = k[..., stop - start :].mT
        fall_turned = turned if fall is k else fall[..., stop - start :].mT
        _add(sums[:, later], mass[:, later], turned, fall_turned, both[:, own])


def _sums(
    k: Tensor, fall: Tensor, score: Tensor, z: Tensor
) -> tuple[Float[Tensor, "groups n features"], Float[Tensor, "groups n features"]]:
    r"""Σ_j k s(z_j) and Σ_j −k′ (z_i − z_j), of which n φ = Σ_j [k s(z_j) + ∇_{z_j} k] consists:
    ∇_{z_j} k = −k′ · 2 (z_i − z_j) / h. In fewer operations than by `_add`, which are what an
    iteration of few particles costs."""
    # The difference first: of coinciding particles, it vanishes and h nearly does.
    return torch.bmm(k, score), (fall.sum(-1, keepdim=True) * z).baddbmm_(fall, z, alpha=-1)


def _add(sums: Tensor, mass: Tensor, k: Tensor, fall: Tensor, both: Tensor) -> None:
    r"""Adds Σ_j k s(z_j) and Σ_j −k′ z_j, side by side as s(z_j) and z_j are, and Σ_j −k′."""
    if fall is k:
        sums.baddbmm_(k, both)
    else:
        for kernel, part, of in zip((k, fall), sums.chunk(2, -1), both.chunk(2, -1), strict=True):
            part.baddbmm_(kernel, of)
    mass.add_(fall.sum(-1, keepdim=True))
