"""Densities in the plane that are known exactly: Gaussian mixtures, whatever they look like."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fisherae.priors import GaussianMixture

__all__ = ["TRUTHS", "Truth", "gaussian_mixture"]

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Truth:
    r"""A density p⋆ and the parts of the plane whose masses a model should get right.

    Attributes:
        density: p⋆, with its score and its samples.
        part: for each of its Gaussians, the number of the part to which it belongs.
        what: it in a few words.
        minor: what the first part is called, the one with the least mass.
    """

    density: GaussianMixture
    part: Int[Tensor, " components"]
    what: str
    minor: str

    def part_of(self, x: Float[Tensor, "n 2"]) -> Int[Tensor, " n"]:
        """Of each point, the part of the nearest Gaussian."""
        return self.part[torch.cdist(x, self.density.means).argmin(1)]

    def shares(self, mass: Float[Tensor, " n"], x: Float[Tensor, "n 2"]) -> Float[Tensor, " parts"]:
        """The mass in each part, where every point carries its own."""
        parts = int(self.part.max()) + 1
        return mass.new_zeros(parts).index_add(0, self.part_of(x), mass)


def gaussian_mixture(means: Tensor, std: float, weights: Tensor) -> GaussianMixture:
    """A mixture of round Gaussians.

    Example:
        >>> mixture = gaussian_mixture(torch.tensor([[-1.0], [1.0]]), 0.5, torch.tensor([1.0, 3.0]))
        >>> mixture.weights, mixture.mean
        (tensor([0.2500, 0.7500]), tensor([0.5000]))
    """
    components, dim = means.shape
    mixture = GaussianMixture(dim, components).to(means)
    mixture.means.copy_(means)
    mixture.weights.copy_(weights / weights.sum())
    mixture.scale_tril.mul_(std)
    return mixture


def _truth(parts: list[tuple[float, Points]], std: float, what: str, minor: str) -> Truth:
    """Parts of so much weight, each of equal Gaussians around its points."""
    means = torch.tensor([point for _, points in parts for point in points])
    counts = torch.tensor([len(points) for _, points in parts])
    weights = torch.tensor([weight for weight, _ in parts]) / counts
    part = torch.arange(len(parts)).repeat_interleave(counts)
    return Truth(gaussian_mixture(means, std, weights[part]), part, what, minor)


def _arc(radius: float, centre: float, half_width: float, count: int) -> Points:
    """Points on an arc, at angles within the half width of its centre."""
    angles = (centre + half_width * (2 * (k + 0.5) / count - 1) for k in range(count))
    return [(radius * math.cos(angle), radius * math.sin(angle)) for angle in angles]


TRUTHS = {
    "near": _truth(
        [(0.25, [(-1.0, 0.0)]), (0.75, [(1.0, 0.0)])],
        0.5,
        "two Gaussians four standard deviations apart, weights 0.25 and 0.75",
        "left one",
    ),
    "far": _truth(
        [(0.25, [(-3.0, 0.0)]), (0.75, [(3.0, 0.0)])],
        0.5,
        "two Gaussians twelve standard deviations apart, weights 0.25 and 0.75",
        "left one",
    ),
    "ring": _truth(
        [(0.25, _arc(2.0, k * math.pi / 2, math.pi / 4, 12)) for k in range(4)],
        0.2,
        "a ring without gaps, radius 2, thickness 0.2; its quarters weigh 0.25 each",
        "right quarter",
    ),
    "arcs": _truth(
        [(0.25, _arc(2.0, 0.0, 0.75, 12)), (0.75, _arc(2.0, math.pi, 0.75, 12))],
        0.2,
        "the ring with two gaps, between arcs of weights 0.25 and 0.75",
        "right arc",
    ),
}
"""The problems of the auto-encoders."""
