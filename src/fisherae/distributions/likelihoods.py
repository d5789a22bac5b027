r"""What a decoder returns, p_θ(x|z), and the modules that make it of a network's output."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from fisherae.counts import is_count
from fisherae.errors import InputError
from fisherae.functions import OfInputs

__all__ = ["Bernoulli", "BernoulliLikelihood", "Gaussian", "GaussianLikelihood", "Likelihood"]

LEAST_VARIANCE = 0.01


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


Likelihood = Gaussian | Bernoulli


"""The least of a decoder's variances, as a share of their mean."""


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
