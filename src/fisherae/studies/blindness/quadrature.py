r"""Integrals over one latent dimension, and over the plane, on grids."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fisherae.autoencoder import Autoencoder
from fisherae.distributions import DiagonalGaussian, GaussianLikelihood
from fisherae.evaluation.likelihood import log_normalizer

__all__ = ["LatentGrid", "plane", "Posteriors"]

LATENTS, REACH = 1_001, 8.0
AT_ONCE = 500


@dataclass(frozen=True)
class Posteriors:
    r"""Of points x, by quadrature over z.

    Attributes:
        log_likelihood: log p(x), shape (n,).
        score: ∇_x log p(x) = E_{p(z|x)} (f(z) − x) / s², shape (n, 2).
        mismatch: the total variation distance of q(z|x) and p(z|x), in [0, 1], shape (n,).
    """

    log_likelihood: Tensor
    score: Tensor
    mismatch: Tensor


class LatentGrid:
    r"""An auto-encoder with one latent dimension and a Gaussian decoder, integrated over z.

    Arguments:
        model: the auto-encoder.
        x: points; the grid goes 8 standard deviations of their latents beyond them, and at least
            from −8 to 8, as far as the prior's support goes.
    """

    def __init__(self, model: Autoencoder, x: Float[Tensor, "n 2"]):
        assert isinstance(model.likelihood, GaussianLikelihood)
        self.model = model
        with torch.no_grad():
            q = _posterior(model, x)
            reach = REACH * q.mean.std().clamp_min(1.0)
            ends = torch.stack([q.mean.min() - reach, q.mean.max() + reach]).clamp(
                *model.prior.support[0]
            )
            self.z = torch.linspace(float(ends[0]), float(ends[1]), LATENTS)[:, None]
            self.step = float(self.z[1] - self.z[0])
            log_density = model.prior.log_density(self.z) - log_normalizer(model.prior)
            self.log_weight = log_density + math.log(self.step)
            self.image = model.decode(self.z).mean
            self.variance = model.likelihood.variance

    @torch.no_grad()
    def log_likelihood(self, x: Float[Tensor, "n 2"]) -> Float[Tensor, " n"]:
        r"""log p(x) = log ∫ p(z) N(x; f(z), s² I) dz."""
        return torch.cat([self._log_joint(part).logsumexp(1) for part in torch.split(x, AT_ONCE)])

    @torch.no_grad()
    def posteriors(self, x: Float[Tensor, "n 2"]) -> Posteriors:
        parts = [self._posteriors(part) for part in torch.split(x, AT_ONCE)]
        return Posteriors(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def _posteriors(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        log_joint = self._log_joint(x)
        log_likelihood = log_joint.logsumexp(1)
        exact = (log_joint - log_likelihood[:, None]).exp()
        score = (exact @ self.image - x) / self.variance
        q = _posterior(self.model, x)
        noise = (self.z.mT - q.mean) / q.std
        approximate = self.step / q.std / math.sqrt(2 * math.pi) * (-noise.square() / 2).exp()
        # Of q, what lies between the points of the grid or beyond it is missed, too.
        mismatch = 1 - torch.minimum(exact, approximate).sum(1)
        return log_likelihood, score, mismatch

    def _log_joint(self, x: Tensor) -> Float[Tensor, "n latents"]:
        """log p(z) p(x|z), and the width of a cell of the grid."""
        squared = torch.cdist(x, self.image).square()
        log_likelihood = -squared / (2 * self.variance) - torch.log(2 * math.pi * self.variance)
        return log_likelihood + self.log_weight


def plane(half_width: float, count: int) -> tuple[Float[Tensor, "n 2"], float]:
    """The points of a square grid around the origin, and the area of each.

    Example:
        >>> points, area = plane(1.0, 3)
        >>> points.shape, area
        (torch.Size([9, 2]), 1.0)
    """
    line = torch.linspace(-half_width, half_width, count)
    return torch.cartesian_prod(line, line), (2 * half_width / (count - 1)) ** 2


def _posterior(model: Autoencoder, x: Tensor) -> DiagonalGaussian:
    q = model.encode(x)
    assert isinstance(q, DiagonalGaussian)
    return q
