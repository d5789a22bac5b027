r"""Training without an encoder: p(x) itself by quadrature over the one latent dimension."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from fisherae.autoencoder import Autoencoder
from fisherae.objectives import LossTerms, Objective

__all__ = ["MarginalObjective", "MarginalTerms"]

REACH, CELLS = 5.0, 150


@dataclass(frozen=True)
class MarginalTerms(LossTerms):
    """−log p(x), or s_∇[p(x)], summed over the models."""

    marginal: Tensor


class MarginalObjective(Objective):
    r"""−log p(x), or the Hyvärinen score s_∇[p(x)] of eq. (6), of decoders with a N(0, 1) prior.

    On a grid over z, moved at random with every call lest the decoder hide between its points, p
    is a mixture of N(f(z_k), s² I). With m and C the mean and covariance of f(z) under p(z|x),

        ∇ log p = (m − x) / s²,    Δ log p = tr C / s⁴ − D / s².

    Arguments:
        model: auto-encoders `side_by_side`.
        kind: "likelihood" or "score".
    """

    def __init__(self, model: Autoencoder, kind: Literal["likelihood", "score"]):
        super().__init__(model)
        self.kind = kind

    def forward(self, x: Float[Tensor, "batch blocks dims"]) -> MarginalTerms:
        blocks, dims = x.shape[1:]
        z = REACH * (2 * (torch.arange(CELLS) + torch.rand(())) / CELLS - 1)
        p = self.model.decode(z[:, None].expand(CELLS, blocks))
        image, variance = p.mean.transpose(0, 1), self.model.likelihood.variance
        assert isinstance(variance, Tensor)
        x, s2 = x.transpose(0, 1), variance[:, None]
        # ‖x − f‖² by products: the points are of order one, as are their distances.
        squared = x.square().sum(-1, keepdim=True) + image.square().sum(-1)[:, None]
        squared = squared - 2 * x @ image.mT
        log_prior = -z.square() / 2 - math.log(2 * math.pi) / 2 + math.log(2 * REACH / CELLS)
        log_joint = log_prior - squared / (2 * s2[..., None])
        if self.kind == "likelihood":
            log_density = log_joint.logsumexp(-1) - dims / 2 * torch.log(2 * math.pi * s2)
            return MarginalTerms(-log_density.sum(0).mean())
        posterior = log_joint.softmax(-1)
        mean = posterior @ image
        second = (posterior @ image.square().sum(-1, keepdim=True))[..., 0]
        score = (mean - x) / s2[..., None]
        laplacian = (second - mean.square().sum(-1)) / s2.square() - dims / s2
        return MarginalTerms((score.square().sum(-1) / 2 + laplacian).sum(0).mean())
