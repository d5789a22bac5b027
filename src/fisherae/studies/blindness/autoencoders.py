"""What each training made of each problem, against the known answers."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fisherae.autoencoder import Autoencoder
from fisherae.evaluation.likelihood import log_likelihood
from fisherae.objectives import FisherObjective
from fisherae.recipes.latent_prior import with_prior
from fisherae.studies.blindness.quadrature import LatentGrid, plane
from fisherae.studies.blindness.trainings import train_once
from fisherae.studies.blindness.truths import TRUTHS

__all__ = [
    "COMPARED",
    "DISCONNECTED",
    "HALF_WIDTH",
    "Accuracy",
    "Fit",
    "densities",
    "fits",
    "true_density",
]

NO_ENCODER = ("Likelihood, no encoder", "Score matching, no encoder")
COMPARED = (*NO_ENCODER, "VAE", "Fisher AE", "Fisher AE, reference", "Fisher AE, polynomial prior")
"""Trained on every problem."""
DISCONNECTED = ("far", "arcs")
"""The problems on which everything else, and refitting the prior, is tried as well."""
REFITTED = ("VAE", "Fisher AE", "Fisher AE, polynomial prior")
KINDS = {"refit": "prior refitted", "mixture": "mixture prior"}
LATENTS = 2_000  # that a prior is refitted to
SAMPLES = 200  # of the importance sampling, of a tenth of the points
HALF_WIDTH = 6.0  # of the plane


@dataclass(frozen=True)
class Accuracy:
    """Held-out points, and the points of each side of the plane's grid."""

    points: int = 2_000
    cells: int = 81


@dataclass(frozen=True)
class Fit:
    """One model, measured; nats where not said otherwise.

    Attributes:
        kl: KL[p⋆ ‖ p], by held-out points.
        log_likelihood: of held-out points, by quadrature over z.
        importance: how far importance sampling is from it, mean over a tenth of them.
        fisher: D_∇[p⋆ ‖ p], of the marginals, by quadrature over z.
        joint: D_∇[p⋆ q ‖ p], of the joints, by Theorem 1.
        mismatch: total variation distance of q(z|x) and p(z|x), mean over held-out points. What
            needs an encoder is None of a model without one.
        minor: the mass in the part called minor; 0.25 in truth.
        misplaced: total variation distance of the masses of all parts.
        std: s of the decoder.
    """

    truth: str
    method: str
    seed: int
    kl: float
    log_likelihood: float
    importance: float | None
    fisher: float
    joint: float | None
    mismatch: float | None
    minor: float
    misplaced: float
    std: float


def fits(folder: Path, method: str, steps: int, seeds: range, accuracy: Accuracy) -> list[Fit]:
    """The measures of every model of a method, and of it with other priors; those are trained that
    are not in the folder."""
    measures = []
    problems = _problems(method, seeds)
    for (truth, seed), model in zip(
        problems, train_once(folder, method, problems, steps), strict=True
    ):
        measures.append(measured(truth, method, seed, model, accuracy))
        if method in REFITTED and truth in DISCONNECTED:
            torch.manual_seed(1_000 + seed)
            with torch.no_grad():
                latents = model.encode(TRUTHS[truth].density.draw(LATENTS)).rsample()
            for kind, name in KINDS.items():
                other = with_prior(model, kind, latents, seed)
                measures.append(measured(truth, f"{method}, {name}", seed, other, accuracy))
    return measures


def _problems(method: str, seeds: range) -> list[tuple[str, int]]:
    truths = tuple(TRUTHS) if method in COMPARED else DISCONNECTED
    return list(itertools.product(truths, seeds))


@torch.no_grad()
def measured(truth: str, method: str, seed: int, model: Autoencoder, accuracy: Accuracy) -> Fit:
    """All measures, over new points of p⋆."""
    torch.manual_seed(2_000 + seed)
    known = TRUTHS[truth]
    x = known.density.draw(accuracy.points)
    grid = LatentGrid(model, x)
    found = grid.posteriors(x)
    density_score = known.density.score(x)
    # Theorem 1: the constant is −E s_∇[p⋆] = ½ E ‖∇ log p⋆‖².
    joint = FisherObjective(model, samples=4)(x).total + density_score.square().sum(1).mean() / 2
    tenth = accuracy.points // 10
    sampled = log_likelihood(model, x[:tenth], SAMPLES).values
    encoded = method not in NO_ENCODER
    points, area = plane(HALF_WIDTH, accuracy.cells)
    shares = known.shares(grid.log_likelihood(points).exp() * area, points)
    true_shares = known.shares(known.density.log_density(points).exp() * area, points)
    return Fit(
        truth=truth,
        method=method,
        seed=seed,
        kl=float((known.density.log_density(x) - found.log_likelihood).mean()),
        log_likelihood=float(found.log_likelihood.mean()),
        importance=float((sampled - found.log_likelihood[:tenth]).mean()) if encoded else None,
        fisher=float((density_score - found.score).square().sum(1).mean() / 2),
        joint=float(joint) if encoded else None,
        mismatch=float(found.mismatch.mean()) if encoded else None,
        minor=float(shares[0]),
        misplaced=float((shares - true_shares).abs().sum() / 2),
        std=float(grid.variance.sqrt()),
    )


@torch.no_grad()
def densities(folder: Path, method: str, steps: int, seeds: range, cells: int) -> dict[str, Tensor]:
    """For each problem the density p(x) that the first seed's model has learned, as a picture of
    the plane: rows from the top, columns from the left."""
    problems = _problems(method, seeds)
    pictures = {}
    for (truth, seed), model in zip(
        problems, train_once(folder, method, problems, steps), strict=True
    ):
        if seed == seeds[0]:
            grid = LatentGrid(model, TRUTHS[truth].density.draw(LATENTS))
            pictures[truth] = _picture(grid.log_likelihood(plane(HALF_WIDTH, cells)[0]), cells)
    return pictures


def true_density(truth: str, cells: int) -> Tensor:
    """p⋆ likewise."""
    return _picture(TRUTHS[truth].density.log_density(plane(HALF_WIDTH, cells)[0]), cells)


def _picture(log_density: Tensor, cells: int) -> Tensor:
    return log_density.exp().view(cells, cells).mT.flip(0).contiguous()
