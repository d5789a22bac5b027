"""Verdicts on measurements whose answer is known."""

from dataclasses import dataclass, field

import pytest

from fisherae.evaluation.robustness import RobustnessPoint
from fisherae.studies.claims import CLAIMS, ahead, better_samples, comparable
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
    # Mean 0.35 and 0.55; the first seed alone would lose to the VAE at 0.2.
    verdict = check(Measured({"Fisher AE": runs((9, 0.5, 0.5), (9, 0.2, 0.6)), **RIVALS}))
    assert verdict.status == "confirmed"
    assert "0.350 against 0.400 (VAE) at σ² = 0.2" in verdict.evidence
    assert "0.550 against 0.600 (WAE-GAN) at σ² = 1" in verdict.evidence
    assert "2 of 2" in verdict.evidence


def test_one_level_behind_is_not_confirmed() -> None:
    verdict = ahead("noise", "bce", above=0.2)(
        Measured({"Fisher AE": runs((0.0, 0.3, 0.7)), **RIVALS})
    )
    assert verdict.status == "not confirmed"
    assert "1 of 2" in verdict.evidence


def test_of_nmi_more_is_better() -> None:
    check = ahead("noise", "nmi_tsne", above=0.2)
    assert check(Measured({"Fisher AE": runs((0, 0.6, 0.9)), **RIVALS})).status == "confirmed"
    assert check(Measured({"Fisher AE": runs((0, 0.3, 0.5)), **RIVALS})).status == "not confirmed"


@pytest.mark.parametrize(("error", "status"), [(0.109, "confirmed"), (0.112, "not confirmed")])
def test_comparable_means_within_a_tenth(error: float, status: str) -> None:
    results = {"Fisher AE": runs((error, 9, 9)), **RIVALS}
    check = comparable("noise", "bce", ("Fisher AE", "VAE"), level=0.0)
    assert check(Measured(results)).status == status


def test_comparable_looks_at_the_worst_level() -> None:
    results = {"Fisher AE": runs((9, 0.4, 0.4)), "VAE": runs((1, 0.4, 0.8))}
    verdict = comparable("mask", "mse", ("Fisher AE", "VAE"))(Measured(results))
    assert verdict.status == "not confirmed"
    assert "0.500" in verdict.evidence
    assert "ν = 1" in verdict.evidence


def test_samples_are_compared_by_the_best_prior() -> None:
    scores = {
        "Fisher AE": {"refit": [60.0, 40.0], "trained": [300.0, 300.0]},
        "VAE": {"trained": [55.0, 53.0]},
    }
    assert better_samples("Fisher AE", "VAE")(Measured(scores=scores)).status == "confirmed"
    assert better_samples("VAE", "Fisher AE")(Measured(scores=scores)).status == "not confirmed"
    assert better_samples("VAE", "Fisher AE", 1.1)(Measured(scores=scores)).status == "confirmed"


def test_the_papers_fid_needs_inception() -> None:
    scores = {"Fisher AE": {"refit": [1.0]}, "VAE": {"trained": [2.0]}}
    check = better_samples("Fisher AE", "VAE", paper=True)
    assert check(Measured(scores=scores)).status == "not measurable at this budget"
    assert check(Measured(scores=scores, extractor="inception")).status == "confirmed"


def test_claims_belong_to_items() -> None:
    assert {claim.item for claim in CLAIMS} <= set(ITEMS)
