"""Verdicts on measurements whose answer is known."""

from dataclasses import dataclass, field

import pytest

from fisherae.evaluation.robustness import RobustnessPoint
from fisherae.studies.claims import CLAIMS, ahead, better_samples, similar
from fisherae.studies.config import ITEMS

LEVELS = (0.0, 0.2, 1.0)


def runs(*errors: tuple[float, ...]) -> list[list[RobustnessPoint]]:
    """A run for each tuple of errors, which stand for every measure."""
    return [
        [
            RobustnessPoint(level, bce=e, mse=e, nmi=e, images=1, bce_std=0.0, mse_std=0.0,
                            probe=e, nmi_tsne=e)
            for level, e in zip(LEVELS, map(float, run), strict=True)
        ]
        for run in errors
    ]  # fmt: skip


@dataclass
class Measured:
    results: dict = field(default_factory=dict)
    scores: dict = field(default_factory=dict)
    extractor: str = "mnist-cnn"

    def points(self, corruption: str):
        return self.results

    def fid(self):
        return self.scores


RIVALS = {"VAE": runs((0.1, 0.4, 0.8)), "WAE-GAN": runs((0.1, 0.5, 0.6))}


def test_ahead_takes_the_mean_over_seeds_and_the_better_rival() -> None:
    check = ahead("noise", "bce", above=0.2)
    # Means 0.35 and 0.45; standard errors 0.02 and 0.01.
    verdict = check(Measured({"Fisher AE": runs((9, 0.37, 0.44), (9, 0.33, 0.46)), **RIVALS}))
    assert verdict.status == "confirmed"
    assert "0.350 against 0.400 (VAE) at σ² = 0.2" in verdict.evidence
    assert "0.450 against 0.600 (WAE-GAN) at σ² = 1" in verdict.evidence
    assert "2 of 2 levels, mean of 2 seeds" in verdict.evidence


def test_within_the_standard_error_is_not_ahead() -> None:
    # Mean 0.35, 0.05 below the rival's, but with a standard error of 0.15.
    results = {"Fisher AE": runs((9, 0.2, 0.1), (9, 0.5, 0.1)), **RIVALS}
    verdict = ahead("noise", "bce", above=0.2)(Measured(results))
    assert verdict.status == "not confirmed"
    assert "1 of 2" in verdict.evidence


def test_one_level_behind_is_not_confirmed() -> None:
    verdict = ahead("noise", "bce", above=0.2)(
        Measured({"Fisher AE": runs((0.0, 0.3, 0.7)), **RIVALS})
    )
    assert verdict.status == "not confirmed"
    assert "1 of 2 levels, one seed" in verdict.evidence


@pytest.mark.parametrize("measure", ["nmi", "nmi_tsne", "probe"])
def test_of_these_more_is_better(measure) -> None:
    check = ahead("noise", measure, above=0.2)
    assert check(Measured({"Fisher AE": runs((0, 0.6, 0.9)), **RIVALS})).status == "confirmed"
    assert check(Measured({"Fisher AE": runs((0, 0.3, 0.5)), **RIVALS})).status == "not confirmed"


def test_rivals_are_every_other_family_unless_they_are_named() -> None:
    results = {
        "Fisher AE": runs((0, 0.3, 0.5)),
        "Fisher AE, Gaussian prior": runs((0, 0.1, 0.1)),
        "VAE, paper preset": runs((0, 0.2, 0.2)),
        **RIVALS,
    }
    verdict = ahead("mask", "mse", above=0.2)(Measured(results))
    assert "VAE, paper preset" in verdict.evidence
    assert verdict.status == "not confirmed"
    named = ahead("mask", "mse", above=0.2, rivals=("WAE-GAN",))
    assert named(Measured(results)).status == "confirmed"


def test_what_was_not_measured_is_not_confirmed() -> None:
    points = [[RobustnessPoint(0.2, 0.1, 0.1, None, 1, 0.0, 0.0)]]
    verdict = ahead("noise", "nmi", above=0.2)(Measured({"Fisher AE": points, "VAE": points}))
    assert verdict.status == "not measurable at this budget"


@pytest.mark.parametrize(
    ("error", "or_better", "status"),
    [
        (0.109, False, "confirmed"),
        (0.112, False, "not confirmed"),
        (0.08, False, "not confirmed"),
        (0.08, True, "confirmed"),
        (0.112, True, "not confirmed"),
    ],
)
def test_similar_means_within_a_tenth(error: float, or_better: bool, status: str) -> None:
    results = {"Fisher AE": runs((error, 9, 9)), **RIVALS}
    check = similar("noise", "bce", "VAE", level=0.0, or_better=or_better)
    assert check(Measured(results)).status == status


def test_similar_looks_at_the_worst_level() -> None:
    results = {"Fisher AE": runs((9, 0.4, 0.4)), "VAE": runs((1, 0.4, 0.8))}
    verdict = similar("mask", "mse", "VAE")(Measured(results))
    assert verdict.status == "not confirmed"
    assert "0.500" in verdict.evidence
    assert "ν = 1" in verdict.evidence


def test_samples_are_those_of_each_models_own_prior() -> None:
    scores = {
        "Fisher AE": {"refit": [60.0, 40.0], "trained": [300.0, 300.0], "mixture": [1.0, 1.0]},
        "Fisher AE, Gaussian prior": {"refit": [80.0], "mixture": [0.5]},
        "VAE": {"trained": [55.0, 53.0], "refit": [1.0, 1.0]},
        "WAE-GAN": {"trained": [52.0], "mixture": [1.0]},
    }
    measured = Measured(scores=scores)
    assert better_samples("Fisher AE", ("VAE",))(measured).status == "confirmed"  # 50 against 54
    assert better_samples("VAE", ("Fisher AE",))(measured).status == "not confirmed"
    assert better_samples("VAE", ("Fisher AE",), factor=1.1)(measured).status == "confirmed"
    assert better_samples("WAE-GAN", ("VAE", "Fisher AE"))(measured).status == "not confirmed"
    gaussian = better_samples("Fisher AE", ("Fisher AE, Gaussian prior",))
    assert gaussian(measured).status == "confirmed"


def test_the_papers_fid_needs_inception() -> None:
    scores = {"Fisher AE": {"refit": [1.0]}, "VAE": {"trained": [2.0]}}
    check = better_samples("Fisher AE", ("VAE",), paper=True)
    assert check(Measured(scores=scores)).status == "not measurable at this budget"
    assert check(Measured(scores=scores, extractor="inception")).status == "confirmed"


def test_claims_belong_to_items() -> None:
    assert {claim.item for claim in CLAIMS} <= set(ITEMS)
