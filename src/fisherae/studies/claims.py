"""What the paper claims of its experiments, and what the measurements say to each claim."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from fisherae.evaluation.robustness import Measure, RobustnessPoint, over_runs

__all__ = ["CLAIMS", "Claim", "Evidence", "Points", "Scores", "Verdict"]

Points = Mapping[str, Sequence[Sequence[RobustnessPoint]]]
"""By model, one list of points for each seed."""
Scores = Mapping[str, Mapping[str, Sequence[float]]]
"""FID by model and prior, one value for each seed."""
OURS = "Fisher AE"
COMPARABLE = 0.10
SYMBOLS = {"noise": "σ²", "mask": "ν"}
MEASURES = {"bce": "BCE", "mse": "MSE", "nmi_tsne": "NMI on t-SNE maps"}


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
    """A claim of the paper, and how it is checked."""

    item: str
    text: str
    check: Callable[[Evidence], Verdict]


def ahead(
    corruption: str, measure: Measure, above: float, rivals: tuple[str, ...] = ("VAE", "WAE-GAN")
) -> Callable[[Evidence], Verdict]:
    """Is the Fisher AE better than every rival, in the mean over seeds, at every level ≥ above?"""
    sign = 1 if measure.startswith("nmi") else -1

    def check(evidence: Evidence) -> Verdict:
        means = {
            model: _means(runs, measure, above)
            for model, runs in evidence.points(corruption).items()
        }
        cells, wins = [], 0
        for level, ours in means[OURS].items():
            rival = max(rivals, key=lambda name: sign * means[name][level])
            wins += sign * ours > sign * means[rival][level]
            cells.append(
                f"{ours:.3f} against {means[rival][level]:.3f} ({rival}) at "
                f"{SYMBOLS[corruption]} = {level:g}"
            )
        return _verdict(
            wins == len(cells),
            f"{MEASURES[measure]} of the Fisher AE and of the better of the others: "
            f"{'; '.join(cells)}. Ahead at {wins} of {len(cells)} levels.",
        )

    return check


def comparable(
    corruption: str, measure: Measure, models: tuple[str, str], level: float | None = None
) -> Callable[[Evidence], Verdict]:
    """Are the errors of two models within a tenth of each other, at a level or at every one > 0?"""

    def check(evidence: Evidence) -> Verdict:
        first, second = (_means(evidence.points(corruption)[m], measure, 0.0) for m in models)
        levels = [one for one in first if (one > 0 if level is None else one == level)]
        worst = max(levels, key=lambda one: abs(first[one] / second[one] - 1))
        ratio = first[worst] / second[worst]
        where = f"{SYMBOLS[corruption]} = {worst:g}" if worst else "clean images"
        return _verdict(
            abs(ratio - 1) <= COMPARABLE,
            f"{MEASURES[measure]} of {models[0]} is {ratio:.3f} of that of {models[1]} ({where}, "
            "where they differ most); comparable means within a tenth.",
        )

    return check


def better_samples(
    ours: str, rival: str, factor: float = 1.0, paper: bool = False
) -> Callable[[Evidence], Verdict]:
    """Is the FID of one model at most `factor` times that of another? Each with its best prior,
    or with the one that it was trained with."""

    def check(evidence: Evidence) -> Verdict:
        if paper and evidence.extractor != "inception":
            return Verdict(
                "not measurable at this budget",
                "The paper's FID needs Inception's weights. " + _fids(evidence, (ours, rival)),
            )
        first, second = (_fid(evidence.fid()[model]) for model in (ours, rival))
        return _verdict(first <= factor * second, _fids(evidence, (ours, rival)))

    return check


def _means(
    runs: Sequence[Sequence[RobustnessPoint]], measure: Measure, above: float
) -> dict[float, float]:
    """The mean over seeds at every level from `above` on."""
    means = {level: mean for level, mean, _ in over_runs(runs, measure) if level >= above}
    return {level: mean for level, mean in means.items() if mean is not None}


def _fid(by_prior: Mapping[str, Sequence[float]]) -> float:
    return min(statistics.fmean(values) for values in by_prior.values())


def _fids(evidence: Evidence, models: Sequence[str]) -> str:
    values = ", ".join(f"{model} {_fid(evidence.fid()[model]):.1f}" for model in models)
    return f"fid[{evidence.extractor}], each with its best prior: {values}."


def _verdict(holds: bool, evidence: str) -> Verdict:
    return Verdict("confirmed" if holds else "not confirmed", evidence)


CLAIMS = (
    Claim(
        "figure-1",
        "The Fisher AE is more robust to noise than VAE and WAE-GAN (BCE).",
        ahead("noise", "bce", above=0.2),
    ),
    Claim(
        "figure-2",
        "Test reconstructions of the Fisher AE are comparable to WAE-GAN's.",
        comparable("noise", "bce", ("Fisher AE", "WAE-GAN"), level=0.0),
    ),
    Claim(
        "figure-2",
        "Random samples of the Fisher AE are comparable to WAE-GAN's, which has the best.",
        better_samples("Fisher AE", "WAE-GAN", factor=1 + COMPARABLE),
    ),
    Claim(
        "figure-3",
        "The clusters of the Fisher AE's latents are more robust to noise (NMI on t-SNE maps).",
        ahead("noise", "nmi_tsne", above=0.2),
    ),
    Claim(
        "figure-5",
        "The Fisher AE outperforms VAE and WAE-GAN in reconstruction under noise (MSE).",
        ahead("noise", "mse", above=0.2),
    ),
    Claim(
        "table-1",
        "The exponential-family prior improves the Fisher AE's FID over the VAE's.",
        better_samples("Fisher AE", "VAE", paper=True),
    ),
    Claim(
        "table-1",
        "The exponential-family prior has a better FID than a Gaussian prior.",
        better_samples("Fisher AE", "Fisher AE, Gaussian prior", paper=True),
    ),
    Claim(
        "table-1",
        "WAE-GAN has the best FID.",
        better_samples("WAE-GAN", "Fisher AE", paper=True),
    ),
    Claim(
        "figure-7",
        "The Fisher AE is superior under binary masking noise (BCE).",
        ahead("mask", "bce", above=0.4),
    ),
    Claim(
        "figure-9",
        "Under masking, VAE and Fisher AE perform similarly (MSE).",
        comparable("mask", "mse", ("Fisher AE", "VAE")),
    ),
    Claim(
        "figure-9",
        "Under masking, the Fisher AE is superior to WAE-GAN (MSE).",
        ahead("mask", "mse", above=0.2, rivals=("WAE-GAN",)),
    ),
)
"""In the paper's order, those that a number can settle."""
