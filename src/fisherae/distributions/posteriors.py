r"""What an encoder returns: q_φ(z|x)."""

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor

from fisherae.one_dimensional.density import PolynomialDensity
from fisherae.one_dimensional.hermite import natural

__all__ = ["Delta", "DensityPosterior", "DiagonalGaussian", "PolynomialPosterior", "Posterior"]


class DiagonalGaussian:
    r"""The Gaussian posterior q_φ(z|x) = N(z; μ(x), diag σ(x)²) of section 2.1.

    Arguments:
        mean: μ(x), shape (batch, dim).
        log_std: log σ(x), shape (batch, dim).

    References:
        Kingma and Welling (2014), Auto-Encoding Variational Bayes,
        https://arxiv.org/abs/1312.6114

    Example:
        >>> q = DiagonalGaussian(torch.zeros(5, 2), torch.zeros(5, 2))
        >>> z = q.rsample()
        >>> torch.equal(q.score(z), -z)
        True
    """

    outputs_per_dim: ClassVar[int] = 2

    def __init__(self, mean: Float[Tensor, "batch dim"], log_std: Float[Tensor, "batch dim"]):
        self.mean = mean
        self.log_std = log_std
        self.std = log_std.exp()

    @classmethod
    def from_output(cls, output: Float[Tensor, "batch features"], dim: int) -> "DiagonalGaussian":
        r"""Reads an encoder's output, (batch, 2·dim), as μ and log σ²."""
        mean, log_variance = torch.split(output, dim, dim=-1)
        return cls(mean, log_variance / 2)

    @property
    def parameters(self) -> tuple[Tensor, Tensor]:
        r"""(μ, log σ), the functions of x through which log q depends on x."""
        return self.mean, self.log_std

    def rsample(self, generator: Generator | None = None) -> Float[Tensor, "batch dim"]:
        r"""z = μ + σ ⊙ ε with ε ~ N(0, I), differentiable in μ and σ."""
        noise = torch.empty_like(self.mean).normal_(generator=generator)
        return self.mean + self.std * noise

    def score(self, z: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        r"""∇_z log q(z|x) = −(z − μ) / σ² = −ε / σ."""
        return -(z - self.mean) / self.std.square()

    def parameter_scores(self, z: Float[Tensor, "batch dim"]) -> tuple[Tensor, Tensor]:
        r"""∂ log q(z|x) / ∂(μ, log σ) at fixed z: (ε / σ, ε² − 1).

        The cotangents of the vector-Jacobian product that gives ∇_x log q(z|x).
        """
        noise = (z - self.mean) / self.std
        return noise / self.std, noise.square() - 1

    def log_prob(self, z: Float[Tensor, "batch dim"]) -> Float[Tensor, " batch"]:
        r"""log q(z|x), summed over the latent dimensions."""
        noise = (z - self.mean) / self.std
        return -(noise.square() / 2 + self.log_std + math.log(2 * math.pi) / 2).sum(-1)

    def kl_standard_normal(self) -> Float[Tensor, " batch"]:
        r"""KL[q(z|x) ‖ N(0, I)] = ½ Σ_j (σ_j² + μ_j² − 1 − log σ_j²)."""
        return (self.std.square() + self.mean.square() - 1 - 2 * self.log_std).sum(-1) / 2


class PolynomialPosterior:
    r"""The factorable polynomial posterior q_φ(z|x) ∝ exp(Σ_j Σ_k η_jk(x) z_j^k), k = 1 … K.

    The exponential family of eq. (13) as a posterior, which the paper leaves to future work. K is
    even and η_jK negative, so that it is always a density; K = 2 is the Gaussian, K = 4 may be
    skew, flat, or have two modes. The dimensions are independent, so that everything is
    one-dimensional: normaliser and moments are quadratures, samples come from the inverse
    distribution function, with implicit gradients (`PolynomialDensity`).

    Powers of z are badly scaled, so the parameters are not η but those of the standardised
    u_j = (z_j − c_j) / s_j, in orthonormal Hermite polynomials,

        log q(z|x) = Σ_j [Σ_k w_jk h_k(u_j) / √k − A(w_j) − log s_j],   w_j2 = −1, w_j,K−1 = 0.

    Every member has this form: c_j is the point about which z_j^{K−1} vanishes, and s_j the
    standard deviation of the Gaussian N(c_j, s_j²) nearest to it in KL[N ‖ q]. `from_output` says
    how an encoder's outputs become c, s and w.

    Arguments:
        location: c(x), shape (batch, dim).
        log_scale: log s(x), shape (batch, dim).
        weight: w(x), shape (batch, dim, K).

    References:
        Cobb, Koppstein and Chen (1983), Estimation and Moment Recursion Relations for Multimodal
        Distributions of the Exponential Family, https://doi.org/10.1080/01621459.1983.10477940

    Example:
        >>> two_modes = torch.tensor([[0.0, 0.0, 0.0, 8.0]])  # c, log s², b_1, b_4
        >>> q = PolynomialPosterior.from_output(two_modes, dim=1)
        >>> z = torch.tensor([[-1.7], [0.0], [1.7]])
        >>> q.log_prob(z) > -2
        tensor([ True, False,  True])
    """

    outputs_per_dim: ClassVar[None] = None  # K of them, any even number

    def __init__(
        self,
        location: Float[Tensor, "batch dim"],
        log_scale: Float[Tensor, "batch dim"],
        weight: Float[Tensor, "batch dim order"],
    ):
        self.location = location
        self.log_scale = log_scale
        self.scale = log_scale.exp()
        self.density = PolynomialDensity(weight)

    @classmethod
    def from_output(
        cls, output: Float[Tensor, "batch features"], dim: int
    ) -> "PolynomialPosterior":
        r"""Reads an encoder's output, (batch, K·dim): c, log s², b_1, b_3, …, b_{K−2}, b_K.

        The leading weight is w_K = −a with a = softplus(b_K − 3) + 10⁻⁴, so that all outputs are
        free, and about zero, where an untrained encoder has them, q is almost N(c, s²). w_1 = b_1,
        which tilts, and w_k = a^{k/K} b_k in between: as a goes to zero, the other weights then
        raise no mode far out, where z^K comes too late to end it, and q goes to a Gaussian.
        """
        location, log_variance, *shape = torch.split(output, dim, dim=-1)
        order, zero = len(shape) + 2, torch.zeros_like(location)
        weights = [zero, zero - 1]
        if shape:
            a = F.softplus(shape[-1] - 3) + 1e-4
            powers = range(3, order - 1)
            middle = [a ** (k / order) * b for k, b in zip(powers, shape[1:-1], strict=True)]
            weights = [shape[0], zero - 1, *middle, zero, -a]
        return cls(location, log_variance / 2, torch.stack(weights, dim=-1))

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        r"""(c, log s, w), the functions of x through which log q depends on x; w not for K = 2."""
        shape = (self.density.weight,) if self.density.order > 2 else ()
        return self.location, self.log_scale, *shape

    @property
    def mean(self) -> Float[Tensor, "batch dim"]:
        r"""E_q[z], which may lie between two modes."""
        return self.location + self.scale * self.density.moments[..., 0]

    @property
    def std(self) -> Float[Tensor, "batch dim"]:
        r"""The standard deviation of z."""
        return self.scale * self.density.variance.sqrt()

    @property
    def eta(self) -> Float[Tensor, "batch dim order"]:
        r"""The natural parameters η_jk(x) of the monomials z_j^k."""
        return natural(self.density.weight, self.location, self.scale).to(self.scale)

    def rsample(self, generator: Generator | None = None) -> Float[Tensor, "batch dim"]:
        r"""z = c + s ⊙ u with u_j = F_j⁻¹(v_j), v ~ U(0, 1), differentiable in c, s and w."""
        return self.location + self.scale * self.density.rsample(generator)

    def score(self, z: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        r"""∂ log q(z|x) / ∂z_j = (1 / s_j) Σ_k w_jk h_{k−1}(u_j) = Σ_k k η_jk z_j^{k−1}."""
        return self.density.score(self._standardized(z)) / self.scale

    def parameter_scores(self, z: Float[Tensor, "batch dim"]) -> tuple[Tensor, ...]:
        r"""∂ log q(z|x) / ∂(c, log s, w) at fixed z, with t_k = h_k / √k:
        −∂ log q / ∂z, −u ∂ log q / ∂u − 1 and t_k(u) − E_q[t_k].

        The cotangents of the vector-Jacobian product that gives
        ∇_x log q(z|x) = Σ_jk (z_j^k − E_q[z_j^k]) ∇_x η_jk(x).
        """
        u = self._standardized(z)
        score = self.density.score(u)
        by_weight = self.density.statistics(u) - self.density.moments
        return (-score / self.scale, -u * score - 1, by_weight)[: len(self.parameters)]

    def log_prob(self, z: Float[Tensor, "batch dim"]) -> Float[Tensor, " batch"]:
        r"""log q(z|x), summed over the latent dimensions."""
        return (self.density.log_density(self._standardized(z)) - self.log_scale).sum(-1)

    def kl_standard_normal(self) -> Float[Tensor, " batch"]:
        r"""KL[q(z|x) ‖ N(0, I)] = E_q[log q] + Σ_j (E_q[z_j²] + log 2π) / 2, by quadrature."""
        second = self.density.variance * self.scale.square() + self.mean.square()
        negentropy = self.density.mean_log_density - self.log_scale
        return (negentropy + second / 2 + math.log(2 * math.pi) / 2).sum(-1)

    def _standardized(self, z: Tensor) -> Tensor:
        return (z - self.location) / self.scale


class Delta:
    r"""A deterministic encoder as a distribution: all mass at μ(x), as WAE-GAN uses it.

    Example:
        >>> q = Delta(torch.ones(5, 2))
        >>> torch.equal(q.rsample(), q.mean)
        True
    """

    outputs_per_dim: ClassVar[int] = 1

    def __init__(self, mean: Float[Tensor, "batch dim"]):
        self.mean = mean

    @classmethod
    def from_output(cls, output: Float[Tensor, "batch dim"], dim: int) -> "Delta":
        r"""Reads an encoder's output, (batch, dim), as the latent itself."""
        return cls(output)

    def rsample(self, generator: Generator | None = None) -> Float[Tensor, "batch dim"]:
        r"""The one point there is."""
        return self.mean


DensityPosterior = DiagonalGaussian | PolynomialPosterior
Posterior = DensityPosterior | Delta
