"""What the paper claims of its experiments, and what the measurements say to each claim."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from fisherae.evaluation.robustness import HIGHER_IS_BETTER, Measure, RobustnessPoint, over_runs

__all__ = [
    "CLAIMS",
    "NOT_MEASURABLE",
    "SYMBOLS",
    "Claim",
    "Evidence",
    "Points",
    "Scores",
    "Verdict",
]

Points = Mapping[str, Sequence[Sequence[RobustnessPoint]]]
"""By model, one list of points for each seed."""
Scores = Mapping[str, Mapping[str, Sequence[float]]]
"""FID by model and prior, one value for each seed."""
OURS = "Fisher AE"
COMPARABLE = 0.10
NOT_MEASURABLE: Literal["not measurable at this budget"] = "not measurable at this budget"
SYMBOLS = {"noise": "σ²", "mask": "ν"}
MEASURES: dict[Measure, str] = {
    "bce": "BCE",
    "mse": "MSE",
    "nmi": "NMI",
    "nmi_tsne": "NMI on t-SNE maps",
    "probe": "probe accuracy",
}
# The prior whose samples a model is judged by: the one that it was trained for. An exponential
# family is refitted, for as training leaves it, it is often improper.
OWN_PRIOR = {"Fisher AE": "refit", "Fisher AE, Gaussian prior": "refit"}


@dataclass(frozen=True)
class Verdict:
    """What the measurements say to a claim, and the numbers that say it."""

    status: Literal["confirmed", "not confirmed", "not measurable at this budget"]
    evidence: str


class Evidence(Protocol):
    """What was measured of the models that a study compares."""

    @property
    def extractor(self) -> str:
        """Of the features of the FID."""

    def points(self, corruption: str) -> Points:
        """Errors and clusters under a corruption."""

    def fid(self) -> Scores:
        """FID of the models' samples."""


@dataclass(frozen=True)
class Claim:
    """A claim, and how it is checked.

    Attributes:
        item: the figure or table that shows it.
        text: the claim.
        check: what the measurements say.
        of_robustness: whether the Fisher AE is compared with every other model, so that it makes
            sense to let it meet those of other presets too.
    """

    item: str
    text: str
    check: Callable[[Evidence], Verdict]
    of_robustness: bool = False


def ahead(
    corruption: str, measure: Measure, above: float, rivals: tuple[str, ...] | None = None
) -> Callable[[Evidence], Verdict]:
    """Is the Fisher AE better than each rival (None: every other family), in the mean over seeds
    and by more than its standard error, at every level ≥ above?"""
    sign = 1 if measure in HIGHER_IS_BETTER else -1

    def check(evidence: Evidence) -> Verdict:
        results = evidence.points(corruption)
        others = rivals or [name for name in results if not name.startswith(OURS)]
        means = {name: _means(results[name], measure, above) for name in (OURS, *others)}
        cells, wins = [], 0
        for level, (ours, error) in means[OURS].items():
            rival = max(others, key=lambda name: sign * means[name][level][0])
            theirs, their_error = means[rival][level]
            wins += sign * (ours - theirs) > math.hypot(error, their_error)
            cells.append(
                f"{ours:.3f} against {theirs:.3f} ({rival}) at {SYMBOLS[corruption]} = {level:g}"
            )
        if not cells:
            return Verdict(NOT_MEASURABLE, f"{MEASURES[measure]} was not measured.")
        return _verdict(
            wins == len(cells),
            f"{MEASURES[measure]} of the Fisher AE and of the best of the others: "
            f"{'; '.join(cells)}. Ahead at {wins} of {len(cells)} levels, {_seeds(results[OURS])}.",
        )

    return check


def similar(
    corruption: str,
    measure: Measure,
    rival: str,
    level: float | None = None,
    or_better: bool = False,
) -> Callable[[Evidence], Verdict]:
    """Is the error of the Fisher AE within a tenth of a rival's (or lower), at one level, or at
    every one > 0?"""

    def check(evidence: Evidence) -> Verdict:
        results = evidence.points(corruption)
        ours, theirs = (_means(results[name], measure, 0.0) for name in (OURS, rival))
        levels = [one for one in ours if (one > 0 if level is None else one == level)]
        ratios = {one: ours[one][0] / theirs[one][0] for one in levels}
        off = {one: r - 1 if or_better else abs(r - 1) for one, r in ratios.items()}
        worst = max(levels, key=lambda one: off[one])
        where = f"{SYMBOLS[corruption]} = {worst:g}" if worst else "clean images"
        return _verdict(
            off[worst] <= COMPARABLE,
            f"{MEASURES[measure]} of the Fisher AE is {ratios[worst]:.3f} of {rival}'s ({where}); "
            f"the limit is a tenth{' more' if or_better else ''}, {_seeds(results[OURS])}.",
        )

    return check


def better_samples(
    ours: str, rivals: tuple[str, ...], factor: float = 1.0, paper: bool = False
) -> Callable[[Evidence], Verdict]:
    """Is the FID of one model at most `factor` times that of each rival, all with their own prior?
    What the paper says of its FID can be told by Inception's features alone."""

    def check(evidence: Evidence) -> Verdict:
        fid = evidence.fid()
        values = {model: statistics.fmean(_own(fid, model)) for model in (ours, *rivals)}
        listed = ", ".join(f"{model} {value:.4g}" for model, value in values.items())
        numbers = f"fid[{evidence.extractor}]: {listed}, {_seeds(_own(fid, ours))}."
        if paper and evidence.extractor != "inception":
            return Verdict(NOT_MEASURABLE, f"It is about Inception's features. {numbers}")
        return _verdict(all(values[ours] <= factor * values[rival] for rival in rivals), numbers)

    return check


def _means(
    runs: Sequence[Sequence[RobustnessPoint]], measure: Measure, above: float
) -> dict[float, tuple[float, float]]:
    """Mean over seeds and its standard error (0 for one seed) at every level from `above` on."""
    return {
        level: (mean, (std or 0.0) / math.sqrt(len(runs)))
        for level, mean, std in over_runs(runs, measure)
        if level >= above and mean is not None
    }


def _own(fid: Scores, model: str) -> Sequence[float]:
    return fid[model][OWN_PRIOR.get(model, "trained")]


def _seeds(runs: Sequence[object]) -> str:
    return "one seed" if len(runs) == 1 else f"mean of {len(runs)} seeds"


def _verdict(holds: bool, evidence: str) -> Verdict:
    return Verdict("confirmed" if holds else "not confirmed", evidence)


GAUSSIAN = "Fisher AE, Gaussian prior"
CLAIMS = (
    Claim(
        "figure-1",
        "The Fisher AE is more robust to noise than VAE and WAE-GAN (BCE).",
        ahead("noise", "bce", above=0.2),
        of_robustness=True,
    ),
    Claim(
        "figure-2",
        "Test reconstructions of the Fisher AE are comparable to WAE-GAN's.",
        similar("noise", "bce", "WAE-GAN", level=0.0, or_better=True),
    ),
    Claim(
        "mnist-fid",
        "Random samples of the Fisher AE are comparable to WAE-GAN's (here: FID within a tenth).",
        better_samples(OURS, ("WAE-GAN",), factor=1 + COMPARABLE),
    ),
    Claim(
        "figure-3",
        "The clusters of the Fisher AE's latents are more robust to noise (NMI on t-SNE maps).",
        ahead("noise", "nmi_tsne", above=0.2),
        of_robustness=True,
    ),
    Claim(
        "mnist-nmi",
        "The same for k-means on the latents themselves (not in the paper).",
        ahead("noise", "nmi", above=0.2),
        of_robustness=True,
    ),
    Claim(
        "figure-5",
        "The Fisher AE outperforms VAE and WAE-GAN in reconstruction under noise (MSE).",
        ahead("noise", "mse", above=0.2),
        of_robustness=True,
    ),
    Claim(
        "table-1",
        "The Fisher AE with an exponential-family prior has a better FID than the VAE.",
        better_samples(OURS, ("VAE",), paper=True),
    ),
    Claim(
        "table-1",
        "The exponential-family prior has a better FID than a Gaussian prior.",
        better_samples(OURS, (GAUSSIAN,), paper=True),
    ),
    Claim(
        "table-1",
        "WAE-GAN has the best FID.",
        better_samples("WAE-GAN", (OURS, GAUSSIAN, "VAE"), paper=True),
    ),
    Claim(
        "figure-7",
        "The Fisher AE is superior under binary masking noise (BCE, from ν = 0.4 on).",
        ahead("mask", "bce", above=0.4),
        of_robustness=True,
    ),
    Claim(
        "mnist-mask-nmi",
        "The same for the clusters of the latents (NMI, not in the paper).",
        ahead("mask", "nmi", above=0.4),
        of_robustness=True,
    ),
    Claim(
        "figure-9",
        "Under masking, VAE and Fisher AE perform similarly (MSE).",
        similar("mask", "mse", "VAE"),
    ),
    Claim(
        "figure-9",
        "Under masking, the Fisher AE is superior to WAE-GAN (MSE).",
        ahead("mask", "mse", above=0.2, rivals=("WAE-GAN",)),
    ),
)
"""In the paper's order, those that a number can settle."""
