"""The ways to train an auto-encoder that are compared."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from fisherae.autoencoder import Autoencoder, load
from fisherae.distributions import GaussianLikelihood
from fisherae.objectives import ElboObjective, FisherObjective
from fisherae.priors import FactorablePolynomial
from fisherae.studies.blindness.blocks import apart, autoencoder, clip_each, side_by_side
from fisherae.studies.blindness.marginals import MarginalObjective
from fisherae.studies.blindness.truths import TRUTHS

__all__ = ["METHODS", "Method", "train_once", "trained"]

POINTS, BATCH = 5_000, 128
LEARNING_RATE, LARGEST_GRADIENT = 3e-3, 10.0
SMALLEST_VARIANCE = 1e-2  # of a decoder after its noise has been taken off

Weights = Mapping[str, float]


@dataclass(frozen=True)
class Method:
    """A way to train.

    Attributes:
        phases: of equal length, each the weights of the objectives in it ("exact", "reference",
            "elbo"; without an encoder "likelihood", "score"); each starts at the full learning
            rate, which falls to zero by a cosine.
        order: of a polynomial prior that is trained too; 2 is N(0, I), as it is.
        noise: standard deviation of the noise on the training points, in those of the data.
        annealed: whether the noise falls, to zero after half of the training; what does not is
            taken off the decoder's variance afterwards.
    """

    phases: tuple[Weights, ...]
    order: int = 2
    noise: float = 0.0
    annealed: bool = field(default=False, kw_only=True)

    def noise_at(self, progress: float) -> float:
        return self.noise * max(0.0, 1 - 2 * progress) if self.annealed else self.noise


METHODS = {
    "Likelihood, no encoder": Method(({"likelihood": 1.0},)),
    "Score matching, no encoder": Method(({"score": 1.0},)),
    "VAE": Method(({"elbo": 1.0},)),
    "Fisher AE": Method(({"exact": 1.0},)),
    "Fisher AE, reference": Method(({"reference": 1.0},)),
    "Fisher AE, polynomial prior": Method(({"exact": 1.0},), order=4),
    "Fisher AE, annealed noise": Method(({"exact": 1.0},) * 2, noise=1.0, annealed=True),
    "Fisher AE, noise taken off": Method(({"exact": 1.0},), noise=0.5),
    "Fisher AE + ELBO": Method(({"exact": 1.0, "elbo": 1.0},)),
    "Fisher AE after ELBO": Method(({"elbo": 1.0}, {"exact": 1.0})),
    "Fisher AE, then ELBO": Method(({"exact": 1.0}, {"elbo": 1.0})),
}


def train_once(
    folder: Path, method: str, problems: Sequence[tuple[str, int]], steps: int
) -> list[Autoencoder]:
    """The trained models of problems (name of the truth, seed), from the folder if they are there.

    All that are missing are trained side by side.
    """
    name = re.sub(r"\W+", "-", method.lower())
    paths = [folder / f"{name}-{steps}" / f"{truth}-{seed}" for truth, seed in problems]
    missing = [i for i, path in enumerate(paths) if not (path / "config.json").is_file()]
    if missing:
        models = trained(METHODS[method], [problems[i] for i in missing], steps)
        for i, model in zip(missing, models, strict=True):
            model.save(paths[i])
    return [load(path) for path in paths]


def trained(method: Method, problems: Sequence[tuple[str, int]], steps: int) -> list[Autoencoder]:
    """New models; the same seed gives every method the same points and first weights."""
    x, parts = _beginnings(problems)
    model = side_by_side(parts, method.order)
    objectives = _objectives(model, method)
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    scale = x.var(0).mean(-1, keepdim=True).sqrt()
    rows = torch.arange(len(problems))
    for step in range(steps):
        phase, within = divmod(step * len(method.phases) / steps, 1)
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 + math.cos(math.pi * within)) / 2
        batch = x[torch.randint(POINTS, (BATCH, len(problems))), rows]
        batch = batch + method.noise_at(step / steps) * scale * torch.randn_like(batch)
        weights = method.phases[int(phase)]
        losses = [weight * objectives[name](batch).total for name, weight in weights.items()]
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        clip_each(model, LARGEST_GRADIENT)
        optimizer.step()
    models = apart(model, method.order)
    for block, one in enumerate(models):
        _finish(one, x[:, block], method.noise_at(1.0) * float(scale[block]))
    return models


def _beginnings(problems: Sequence[tuple[str, int]]) -> tuple[Tensor, list[Autoencoder]]:
    """The training points of each problem, shape (points, problems, 2), and its networks."""
    points, models = [], []
    for truth, seed in problems:
        torch.manual_seed(seed)
        points.append(TRUTHS[truth].density.draw(POINTS))
        models.append(autoencoder())
    return torch.stack(points, dim=1), models


def _objectives(model: Autoencoder, method: Method) -> dict[str, nn.Module]:
    makers: dict[str, Callable[[], nn.Module]] = {
        "elbo": lambda: ElboObjective(model),
        "exact": lambda: FisherObjective(model),
        "reference": lambda: FisherObjective(model, variant="reference"),
        "likelihood": lambda: MarginalObjective(model, "likelihood"),
        "score": lambda: MarginalObjective(model, "score"),
    }
    return {name: makers[name]() for phase in method.phases for name in phase}


@torch.no_grad()
def _finish(model: Autoencoder, x: Tensor, noise: float) -> None:
    """Takes the noise off the decoder; confines a prior that has become improper."""
    likelihood = model.likelihood
    assert isinstance(likelihood, GaussianLikelihood)
    if noise > 0:
        variance = (likelihood.variance - noise**2).clamp_min(SMALLEST_VARIANCE)
        likelihood.log_variance.copy_(variance.log())
    if isinstance(model.prior, FactorablePolynomial):
        model.prior.confine(model.encode(x).rsample())
    model.eval()
