r"""A mixture of Gaussians, the prior that is fitted to the latents of a trained model."""

import math

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from fisherae.errors import InputError
from fisherae.priors.base import AncestralPrior, check_count

__all__ = ["GaussianMixture"]

_REGULARISATION = 1e-6  # of each variance, relative to that of the samples
_STARTS = 3  # of EM, which finds local optima
_ITERATIONS = 1_000  # many more than EM needs


class GaussianMixture(AncestralPrior):
    r"""p(z) = Σ_k π_k N(z; m_k, Σ_k), k = 1 … K, with full covariances Σ_k.

    Nothing of it is learned by gradients: `fit` sets it, for instance to the latents of a trained
    auto-encoder. A new prior is the standard normal. The log-density is normalised.

    Arguments:
        dim: number d of latent dimensions.
        components: K ≥ 1.

    Attributes:
        weights: π, shape (K,).
        means: m, shape (K, dim).
        scale_tril: lower triangular L_k with Σ_k = L_k L_kᵀ, shape (K, dim, dim).

    References:
        Ghosh, Sajjadi, Vergari, Black and Schölkopf (2020), From Variational to Deterministic
        Autoencoders (a mixture fitted after training), https://arxiv.org/abs/1903.12436

    Example:
        >>> latents = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
        >>> latents[:250] += 20
        >>> prior = GaussianMixture(2, components=2).fit(latents)
        >>> prior.weights
        tensor([0.5000, 0.5000])
        >>> prior.draw(5).shape
        torch.Size([5, 2])
    """

    weights: Float[Tensor, " components"]
    means: Float[Tensor, "components dim"]
    scale_tril: Float[Tensor, "components dim dim"]

    def __init__(self, dim: int, components: int = 10):
        super().__init__(dim)
        check_count("components", components, least=1)
        self.components = components
        self.register_buffer("weights", torch.full((components,), 1 / components))
        self.register_buffer("means", torch.zeros(components, dim))
        self.register_buffer("scale_tril", torch.eye(dim).repeat(components, 1, 1))

    @property
    def spec(self) -> dict[str, object]:
        return {"prior": "gaussian_mixture", "dim": self.dim, "components": self.components}

    def log_density(self, z: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
        r"""log p(z), normalised."""
        return self._log_joint(self._whitened(z)).logsumexp(-1)

    def score(self, z: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        r"""∇_z log p(z) = −Σ_k p(k|z) Σ_k⁻¹ (z − m_k)."""
        u = self._whitened(z)
        responsibility = self._log_joint(u).softmax(-1)
        return -torch.einsum("...ki,kij->...j", responsibility[..., None] * u, self._whitening)

    @torch.no_grad()
    def fit(self, z: Float[Tensor, "n dim"], seed: int = 0) -> "GaussianMixture":
        r"""Maximum likelihood by expectation-maximisation, the best of three starts, in place.

        Arguments:
            z: samples, for instance of the aggregated posterior; more than K of them.
            seed: of the starts.

        Raises:
            InputError: if z is not finite, there are too few samples, or a dimension is constant.
        """
        from sklearn.mixture import GaussianMixture as ExpectationMaximisation

        z = self._samples(z)
        if len(z) <= self.components:
            raise InputError(
                f"prior: {len(z)} samples cannot determine {self.components} components"
            )
        mean, std = self._mean_and_std(z)
        em = ExpectationMaximisation(
            self.components,
            reg_covar=_REGULARISATION,
            n_init=_STARTS,
            max_iter=_ITERATIONS,
            random_state=seed,
        ).fit(((z - mean) / std).cpu().numpy())
        weights, means, covariances = (
            torch.from_numpy(part).to(z) for part in (em.weights_, em.means_, em.covariances_)
        )
        self.weights.copy_(weights)
        self.means.copy_(mean + std * means)
        self.scale_tril.copy_(std[:, None] * torch.linalg.cholesky(covariances))
        return self

    @torch.no_grad()
    def draw(self, n: int, generator: Generator | None = None) -> Float[Tensor, "n dim"]:
        r"""z = m_k + L_k ε with k ~ π, ε ~ N(0, I)."""
        k = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        noise = torch.empty_like(self.means[k]).normal_(generator=generator)
        for component, scale_tril in enumerate(self.scale_tril):
            chosen = k == component
            noise[chosen] = noise[chosen] @ scale_tril.mT
        return self.means[k] + noise

    @property
    def mean(self) -> Float[Tensor, " dim"]:
        r"""Σ_k π_k m_k."""
        return self.weights @ self.means

    @property
    def std(self) -> Float[Tensor, " dim"]:
        r"""Per dimension, (Σ_k π_k (diag Σ_k + (m_k − mean)²))^½."""
        within = self.scale_tril.square().sum(-1)
        between = (self.means - self.mean).square()
        variance: Tensor = self.weights @ (within + between)
        return variance.sqrt()

    @property
    def _whitening(self) -> Float[Tensor, "components dim dim"]:
        r"""L_k⁻¹."""
        eye = torch.eye(self.dim).to(self.scale_tril)
        inverse: Tensor = torch.linalg.solve_triangular(self.scale_tril, eye, upper=False)
        return inverse

    def _whitened(self, z: Tensor) -> Float[Tensor, "*batch components dim"]:
        r"""u_k = L_k⁻¹ (z − m_k)."""
        centred = self._check(z)[..., None, :] - self.means
        return torch.einsum("kij,...kj->...ki", self._whitening, centred)

    def _log_joint(self, u: Tensor) -> Float[Tensor, "*batch components"]:
        r"""log π_k N(z; m_k, Σ_k)."""
        log_det = self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = self.weights.log() - log_det - self.dim / 2 * math.log(2 * math.pi)
        return constant - u.square().sum(-1) / 2
