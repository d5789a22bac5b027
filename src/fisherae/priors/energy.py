r"""An energy-based prior: an exponential family whose sufficient statistics are learned."""

import copy
import itertools
import math

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn

from fisherae.errors import InputError
from fisherae.priors.base import Prior, check_count

__all__ = ["EnergyPrior"]

_HELD_OUT = 0.2  # of the samples, which say when to stop
_FEWEST = 20  # samples, of which some are held out
_BATCH = 256
_LEARNING_RATE = 2e-3
_STEPS = 2_000  # at most
_LOOK_EVERY = 50
_PATIENCE = 10  # looks without an improvement


class EnergyPrior(Prior):
    r"""p(z) ∝ exp(ηᵀ T_ω(u) − ½ ‖u‖²), u = W (z − m): eq. (12) with statistics T that are learned.

    T is a network of tanh layers, m and W (lower triangular, positive diagonal) make the Gaussian
    base measure N(m, (WᵀW)⁻¹). T lies in [−1, 1], so the density differs from the base measure by a
    factor between exp(±‖η‖₁): it is proper, with Gaussian tails, whatever the parameters are.
    A new prior is the standard normal (η = 0).

    All parameters are differentiable through `score`, for use inside of an objective; `fit` learns
    them by score matching from samples.

    Arguments:
        dim: number d of latent dimensions.
        width: number of statistics, and of units in each layer of T.
        depth: number of layers of T.

    Attributes:
        eta: η, shape (width,).
        location: m, shape (dim,).
        whitening: W with its diagonal as logarithms, shape (dim, dim); above it, nothing is used.

    References:
        Wenliang, Sutherland, Strathmann and Gretton (2019), Learning Deep Kernels for Exponential
        Family Densities (learned statistics, fitted by score matching),
        https://arxiv.org/abs/1811.08357
        Pang, Han, Nijkamp, Zhu and Wu (2020), Learning Latent Space Energy-Based Prior Model,
        https://arxiv.org/abs/2006.08205

    Example:
        >>> z = torch.randn(400, 1, generator=torch.Generator().manual_seed(0))
        >>> z[:200] += 6
        >>> prior = EnergyPrior(1).fit(z)
        >>> between, at_modes = prior.log_density(torch.tensor([[3.0], [0.0]])).tolist()
        >>> between < at_modes - 1
        True
    """

    def __init__(self, dim: int, width: int = 64, depth: int = 2):
        super().__init__(dim)
        check_count("width", width, least=1)
        check_count("depth", depth, least=1)
        self.width, self.depth = width, depth
        sizes = itertools.pairwise([dim] + depth * [width])
        self.layers = nn.ModuleList(nn.Linear(fan_in, fan_out) for fan_in, fan_out in sizes)
        self.eta = nn.Parameter(torch.zeros(width))
        self.location = nn.Parameter(torch.zeros(dim))
        self.whitening = nn.Parameter(torch.zeros(dim, dim))

    @property
    def spec(self) -> dict[str, object]:
        return {"prior": "energy", "dim": self.dim, "width": self.width, "depth": self.depth}

    def log_density(self, z: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
        r"""log p(z) up to a constant."""
        u = self._whitened(z)
        t = u
        for layer in self._network:
            t = layer(t).tanh()
        return t @ self.eta - u.square().sum(-1) / 2

    def score(self, z: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        r"""∇_z log p(z) = Wᵀ (J_T(u)ᵀ η − u), backwards through the layers."""
        u = self._whitened(z)
        t, slopes = u, []
        for layer in self._network:
            t = layer(t).tanh()
            slopes.append(1 - t.square())
        gradient = self.eta.expand_as(t)
        for layer, slope in zip(reversed(self._network), reversed(slopes), strict=True):
            gradient = gradient * slope @ layer.weight
        result: Tensor = (gradient - u) @ self._root
        return result

    def laplacian(self, z: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
        r"""Δ_z log p(z) = ηᵀ Δ_z T − ‖W‖_F²."""
        return self._derivatives(z)[1]

    @torch.inference_mode(False)
    @torch.no_grad()
    def fit(self, z: Float[Tensor, "n dim"], seed: int = 0) -> "EnergyPrior":
        r"""Score matching with the exact Laplacian, stopped on held-out samples, in place.

        The base measure becomes the Gaussian with the samples' mean and covariance. Then η and ω
        start anew and are trained by Adam to lower the mean Hyvärinen score, eq. (6), of the
        whitened samples. A fifth of them is held out; the parameters kept are those with the lowest
        score on it. Unless that is below the Gaussian's by more than two standard errors, the prior
        stays Gaussian.

        Arguments:
            z: samples, for instance of the aggregated posterior; 20 or more.
            seed: of the network's start, the held-out part and the batches.

        Raises:
            InputError: if z is not finite, there are too few samples, or their covariance is
                singular.

        References:
            Hyvärinen (2005), Estimation of Non-Normalized Statistical Models by Score Matching,
            https://jmlr.org/papers/v6/hyvarinen05a.html
        """
        z = self._samples(z)
        if len(z) < max(_FEWEST, self.dim + 2):
            raise InputError(
                f"prior: {len(z)} samples cannot determine an energy: give at least "
                f"{max(_FEWEST, self.dim + 2)}"
            )
        self._mean_and_std(z)
        mean, root = _whitening(z)
        generator = Generator().manual_seed(seed)
        own = copy.deepcopy(self).float().cpu()._begin(generator)
        _descend(own, ((z - mean) @ root.mT).float().cpu(), generator)
        own.to(z)
        own.location.copy_(mean)
        own.whitening.copy_(root.tril(-1) + root.diagonal().log().diag())
        self.load_state_dict(own.state_dict())
        return self

    @property
    def is_normalizable(self) -> Bool[Tensor, " dim"]:
        r"""True per dimension: T is bounded, the base measure Gaussian."""
        return torch.ones(self.dim, dtype=torch.bool, device=self.support.device)

    @torch.no_grad()
    def start(self, n: int, generator: Generator | None = None) -> Float[Tensor, "n dim"]:
        r"""The base measure."""
        return self.location + super().start(n, generator) @ self._inverse_root.mT

    @property
    def spread(self) -> Float[Tensor, " dim"]:
        r"""The standard deviation of the base measure per dimension."""
        spread: Tensor = self._inverse_root.norm(dim=1)
        return spread.detach()

    @property
    def _network(self) -> list[nn.Linear]:
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]

    @property
    def _root(self) -> Float[Tensor, "dim dim"]:
        """W."""
        return self.whitening.tril(-1) + self.whitening.diagonal().exp().diag()

    @property
    def _inverse_root(self) -> Float[Tensor, "dim dim"]:
        eye = torch.eye(self.dim).to(self.whitening)
        inverse: Tensor = torch.linalg.solve_triangular(self._root, eye, upper=False)
        return inverse

    def _whitened(self, z: Tensor) -> Tensor:
        return (self._check(z) - self.location) @ self._root.mT

    def _derivatives(self, z: Tensor) -> tuple[Tensor, Tensor]:
        r"""Score and Laplacian, forwards through the layers: with t = tanh(a) and a = V t₋ + b,
        J_t = t′ J_a and Δt = t′ Δa + t″ ‖J_a‖², rows by themselves; J_a = V J_t₋, Δa = V Δt₋."""
        t = self._whitened(z)
        base_score = -t @ self._root
        jacobian = self._root.expand(*t.shape, self.dim)
        curvature = torch.zeros_like(t)
        for layer in self._network:
            t = layer(t).tanh()
            slope = 1 - t.square()
            jacobian = layer.weight @ jacobian
            bend = -2 * t * slope * jacobian.square().sum(-1)
            curvature = slope * (curvature @ layer.weight.mT) + bend
            jacobian = slope[..., None] * jacobian
        score = base_score + (self.eta[:, None] * jacobian).sum(-2)
        return score, curvature @ self.eta - self._root.square().sum()

    def _begin(self, generator: Generator) -> "EnergyPrior":
        """A new network, on the standard normal."""
        for layer in self._network:
            reach = 1 / math.sqrt(layer.in_features)
            layer.weight.uniform_(-reach, reach, generator=generator)
            layer.bias.uniform_(-reach, reach, generator=generator)
        for parameter in (self.eta, self.location, self.whitening):
            parameter.zero_()
        return self

    def _hyvarinen_score(self, z: Tensor) -> Float[Tensor, " n"]:
        score, laplacian = self._derivatives(z)
        return score.square().sum(-1) / 2 + laplacian


def _whitening(z: Tensor) -> tuple[Tensor, Tensor]:
    """Mean, and W with WᵀW the inverse covariance."""
    covariance = z.mT.cov(correction=0).view(z.shape[1], z.shape[1])
    scale = covariance.diagonal().sqrt()
    lower, failed = torch.linalg.cholesky_ex(covariance / scale / scale[:, None])
    if failed or lower.diagonal().min() < 1e-6:
        raise InputError(
            "prior: the covariance of the samples is singular: give more samples, or leave out "
            "dimensions that depend on others"
        )
    eye = torch.eye(len(scale)).to(lower)
    return z.mean(0), torch.linalg.solve_triangular(lower, eye, upper=False) / scale


def _descend(prior: EnergyPrior, u: Tensor, generator: Generator) -> None:
    """Adam on η and ω, until the score of the held-out part no longer falls."""
    order = torch.randperm(len(u), generator=generator)
    held_out, train = u[order].tensor_split([int(_HELD_OUT * len(u))])
    learned = [prior.eta, *prior.layers.parameters()]
    optimizer = torch.optim.Adam(learned, _LEARNING_RATE)
    gaussian, kept = prior._hyvarinen_score(held_out), copy.deepcopy(prior.state_dict())
    best, waited = gaussian, 0
    for step in range(1, _STEPS + 1):
        chosen = torch.randint(len(train), (_BATCH,), generator=generator)
        with torch.enable_grad():
            optimizer.zero_grad()
            loss = prior._hyvarinen_score(train[chosen]).mean()
            torch.autograd.backward(loss, inputs=learned)
        optimizer.step()
        if step % _LOOK_EVERY == 0:
            now = prior._hyvarinen_score(held_out)
            waited += 1
            if now.mean() < best.mean() and _is_lower(now, gaussian):
                best, kept, waited = now, copy.deepcopy(prior.state_dict()), 0
            if waited == _PATIENCE:
                break
    prior.load_state_dict(kept)


def _is_lower(scores: Tensor, than: Tensor) -> bool:
    """By more than two standard errors of the mean difference."""
    gain = than - scores
    return bool(gain.mean() > 2 * gain.std() / math.sqrt(len(gain)))
