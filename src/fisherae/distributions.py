r"""What an encoder and a decoder return: q_φ(z|x) and p_θ(x|z)."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

from fisherae.counts import is_count
from fisherae.errors import InputError
from fisherae.functions import OfInputs
from fisherae.one_dimensional.density import PolynomialDensity
from fisherae.one_dimensional.hermite import natural

__all__ = [
    "Bernoulli",
    "BernoulliLikelihood",
    "Delta",
    "DensityPosterior",
    "DiagonalGaussian",
    "Gaussian",
    "GaussianLikelihood",
    "Likelihood",
    "PolynomialPosterior",
    "Posterior",
]


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


class Gaussian:
    r"""The Gaussian decoder p_θ(x|z) = N(x; f_θ(z), diag s²), with one s² or several.

    Arguments:
        mean: f_θ(z), shape (batch, *event).
        variance: s², a tensor that broadcasts to an image: of shape () for one of all pixels,
            (channels, 1, 1) for one of each channel, or that of an image.

    Example:
        >>> p = Gaussian(torch.zeros(1, 4), torch.tensor(2.0))
        >>> p.hyvarinen_score(torch.ones(1, 4))  # 4 / (2·2²) − 4 / 2
        tensor([-1.5000])
    """

    def __init__(self, mean: Float[Tensor, "batch *event"], variance: Float[Tensor, "..."]):
        self.mean = mean
        self.variance = variance

    def log_prob(self, x: Float[Tensor, "batch *event"]) -> Float[Tensor, " batch"]:
        r"""log p(x|z) = −½ Σ_i [(x_i − f_i(z))² / s_i² + log(2π s_i²)]."""
        constant = torch.log(2 * math.pi * self.variance).expand(self.mean.shape[1:]).sum()
        return -((self._error(x).square() / self.variance).flatten(1).sum(1) + constant) / 2

    def hyvarinen_score(self, x: Float[Tensor, "batch *event"]) -> Float[Tensor, " batch"]:
        r"""s_∇[p(x|z)] = Σ_i [(x_i − f_i(z))² / (2 s_i⁴) − 1 / s_i²], eq. (6) of this decoder.

        At s = 1 and without the constant it is the reconstruction term of eq. (11).
        """
        constant = self.variance.reciprocal().expand(self.mean.shape[1:]).sum()
        return (self._error(x) / self.variance).square().flatten(1).sum(1) / 2 - constant

    def sample(self, generator: Generator | None = None) -> Float[Tensor, "batch *event"]:
        r"""x = f(z) + s ⊙ ε, without a gradient."""
        with torch.no_grad():
            noise = torch.empty_like(self.mean).normal_(generator=generator)
            return self.mean + self.variance.sqrt() * noise

    def _error(self, x: Tensor) -> Tensor:
        if x.shape != self.mean.shape:  # would broadcast
            raise InputError(
                f"the images have shape {tuple(x.shape)}, the decoder's {tuple(self.mean.shape)}"
            )
        return x - self.mean


class Bernoulli:
    r"""The Bernoulli decoder p_θ(x|z) = Π_i f_i^{x_i} (1 − f_i)^{1 − x_i}, mean f_θ(z) in [0, 1].

    It has no density in x, hence no Hyvärinen score: for likelihood training only. log f and
    log(1 − f) are limited to −100, where a sigmoid in float32 has saturated anyway.

    Example:
        >>> p = Bernoulli(torch.full((1, 4), 0.5))
        >>> torch.allclose(p.log_prob(torch.ones(1, 4)), torch.tensor([4 * math.log(0.5)]))
        True
    """

    def __init__(self, mean: Float[Tensor, "batch *event"]):
        self.mean = mean

    def log_prob(self, x: Float[Tensor, "batch *event"]) -> Float[Tensor, " batch"]:
        r"""Minus the binary cross-entropy summed over pixels; grey values in [0, 1] are allowed.

        Raises:
            InputError: for a pixel outside [0, 1]. On a GPU, which such a question would keep
                waiting, the image has log-probability −∞ instead.
        """
        if x.device.type == "cpu":
            _require_unit_interval(x)
        # At least float32, below which there is no number as small as `_limited_logs` needs.
        dtype = torch.promote_types(torch.promote_types(self.mean.dtype, x.dtype), torch.float32)
        log_prob: Tensor = _LogBernoulli.apply(self.mean.to(dtype), x.to(dtype))  # type: ignore[no-untyped-call]
        if x.device.type != "cpu":
            log_prob = log_prob.masked_fill(~((x >= 0) & (x <= 1)), -math.inf)
        return log_prob.flatten(1).sum(1)

    def sample(self, generator: Generator | None = None) -> Float[Tensor, "batch *event"]:
        r"""Zeros and ones."""
        return torch.bernoulli(self.mean.detach(), generator=generator)


def _require_unit_interval(x: Tensor) -> None:
    """One pass over the pixels; nan is not in [0, 1] either."""
    least, most = torch.aminmax(x)
    if not (least >= 0 and most <= 1):
        outside = x[~((x >= 0) & (x <= 1))][0].item()
        raise InputError(
            f"a Bernoulli decoder needs pixels in [0, 1], got {outside:g}: scale the images, cut "
            "them with x.clamp(0, 1), or take a Gaussian decoder"
        )


class _LogBernoulli(OfInputs):
    r"""x log f + (1 − x) log(1 − f), in fewer passes than autograd makes of it. It passes on
    (x − f) / (f (1 − f)) to f, and log f − log(1 − f) to x."""

    @staticmethod
    def forward(mean: Tensor, x: Tensor) -> Tensor:
        log, log_other = _limited_logs(mean)
        return torch.lerp(log_other, log, x)  # exact for x = 0 and 1

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        mean, x = ctx.saved_tensors
        for_x = g * _log_odds(mean) if ctx.needs_input_grad[1] else None
        return g * _slope(mean, x), for_x

    @staticmethod
    def jvp(ctx: Any, along_mean: Tensor, along_x: Tensor) -> Tensor:
        mean, x = ctx.saved_tensors
        return along_mean * _slope(mean, x) + along_x * _log_odds(mean)


def _slope(mean: Tensor, x: Tensor) -> Tensor:
    """Zero, with all its derivatives, where a logarithm is limited, or would be in float32."""
    variance = mean * (1 - mean)
    least = max(math.exp(-100), torch.finfo(mean.dtype).tiny)
    return (x - mean) / torch.where(variance > least, variance, torch.inf)


def _log_odds(mean: Tensor) -> Tensor:
    log, log_other = _limited_logs(mean)
    return log - log_other


def _limited_logs(mean: Tensor) -> tuple[Tensor, Tensor]:
    """log f and log(1 − f), but at least −100."""
    log, other = (
        p.clamp_min_(math.exp(-103)).log_().clamp_min_(-100) for p in (mean.clone(), 1 - mean)
    )
    return log, other


LEAST_VARIANCE = 0.01
"""The least of a decoder's variances, as a share of their mean."""

DensityPosterior = DiagonalGaussian | PolynomialPosterior
Posterior = DensityPosterior | Delta
Likelihood = Gaussian | Bernoulli


class GaussianLikelihood(nn.Module):
    r"""Makes a Gaussian decoder of a network's output: f_θ(z) ↦ N(f_θ(z), diag s²).

    The Hyvärinen score is proper in s², so s² can be learned, as by likelihood; of the
    reconstruction term alone the optimum is the mean squared error over the pixels that share it.

    Which to take: one of all pixels, in doubt; one of each channel where channels differ in scale;
    one of each pixel only where every pixel is uncertain, as in photographs, not in digits.

    Several variances are kept above a hundredth of their mean: a pixel that never changes, such as
    the corners of MNIST, has the optimum s² = 0, where its terms would outgrow all others.

    Arguments:
        variance: s² > 0, in squared pixel units (fixed, or where learning starts).
        learned: whether s² is a parameter.
        shape: of s², which broadcasts to an image: () for one of all pixels, (channels, 1, 1) for
            one of each channel, (channels, height, width) for one of each pixel.

    Raises:
        InputError: if the variance is not a positive number or the shape has other than positive
            sizes; in `forward` if the shape does not broadcast to the images'.

    Example:
        >>> likelihood = GaussianLikelihood(variance=0.1, learned=True, shape=(3, 1, 1))
        >>> p = likelihood(torch.zeros(5, 3, 8, 8))
        >>> p.mean.shape, p.variance.flatten()
        (torch.Size([5, 3, 8, 8]), tensor([0.1000, 0.1000, 0.1000], grad_fn=...))
    """

    def __init__(self, variance: float = 1.0, learned: bool = False, shape: Sequence[int] = ()):
        super().__init__()
        if not 0 < variance < math.inf:
            raise InputError(f"decoder variance must be a positive number, got {variance}")
        if not all(map(is_count, shape)):
            raise InputError(f"the shape of decoder variances must be of sizes ≥ 1, got {shape}")
        self.shape = tuple(shape)
        start = variance / (1 + LEAST_VARIANCE) if self.shape else variance
        log_variance = torch.full(self.shape, math.log(start))
        if learned:
            self.log_variance = nn.Parameter(log_variance)
        else:
            self.register_buffer("log_variance", log_variance)
        self.learned = learned

    @property
    def variance(self) -> Float[Tensor, "..."]:
        r"""s², of the shape that was given."""
        free = self.log_variance.exp()
        return free + LEAST_VARIANCE * free.mean() if self.shape else free

    @property
    def spec(self) -> dict[str, object]:
        return {
            "likelihood": "gaussian",
            "variance": self.variance.mean().item(),
            "learned": self.learned,
            "shape": list(self.shape),
        }

    def forward(self, output: Float[Tensor, "batch *event"]) -> Gaussian:
        event = tuple(output.shape[1:])
        widths = zip(reversed(self.shape), reversed(event), strict=False)
        if len(self.shape) > len(event) or any(own not in (1, given) for own, given in widths):
            raise InputError(
                f"decoder variances of shape {self.shape} for images of shape {event}: give (), "
                "(channels, 1, 1) or the shape of the images"
            )
        return Gaussian(output, self.variance)


class BernoulliLikelihood(nn.Module):
    r"""Makes a Bernoulli decoder of a network's output, which must lie in [0, 1], as a sigmoid's.

    Example:
        >>> BernoulliLikelihood()(torch.full((5, 1, 8, 8), 0.5)).mean.shape
        torch.Size([5, 1, 8, 8])
    """

    @property
    def spec(self) -> dict[str, object]:
        return {"likelihood": "bernoulli"}

    def forward(self, output: Float[Tensor, "batch *event"]) -> Bernoulli:
        return Bernoulli(output)
