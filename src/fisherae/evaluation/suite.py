r"""One score per model for a whole suite of corruptions: the mean corruption error."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from fisherae.errors import InputError
from fisherae.evaluation.robustness import HIGHER_IS_BETTER, Measure, RobustnessPoint

__all__ = ["SuitePoints", "SuiteScore", "error_of", "suite_score"]

SuitePoints = Mapping[str, Sequence[RobustnessPoint]]
"""What `robustness` returned for each corruption, by name, level 0 among the levels."""


@dataclass(frozen=True)
class SuiteScore:
    r"""How a model fares under a suite of corruptions, beside a reference model.

    Attributes:
        clean: error E of the clean images.
        corrupted: mean error over all corruptions and severities.
        relative: CE_c of each corruption, see `suite_score`.
    """

    clean: float
    corrupted: float
    relative: dict[str, float]

    @property
    def mce(self) -> float:
        """Mean of CE_c over the corruptions; the reference model has 1, less is better."""
        return fmean(self.relative.values())


def suite_score(
    points: SuitePoints, reference: Sequence[SuitePoints], measure: Measure
) -> SuiteScore:
    r"""The mean corruption error,

        CE_c = Σ_s E_cs / Σ_s E⋆_cs,    mCE = mean over the corruptions c of CE_c

    with E_cs the error of a model under corruption c at severity s, E⋆_cs that of the reference
    model, averaged over its runs (seeds). The error is the BCE or MSE of the reconstruction to the
    clean image, or 1 − the accuracy of a linear probe on the latents (1 − NMI), the one closest to
    the literature's, which classifies.

    Arguments:
        points: of the model.
        reference: of each run of the reference model.
        measure: "bce", "mse", "nmi" or "probe".

    Raises:
        InputError: no corruptions, other ones or other levels than the reference's, a reference
            without error, or a measure that was not measured.

    References:
        Hendrycks and Dietterich (2019), Benchmarking Neural Network Robustness to Common
        Corruptions and Perturbations, https://arxiv.org/abs/1903.12261 (there the reference is
        AlexNet)

    Example:
        >>> def two(mse):
        ...     levels = ((0.0, 0.1), (0.5, mse))
        ...     return [RobustnessPoint(v, None, e, None, 100, None, 0.0) for v, e in levels]
        >>> score = suite_score({"fog": two(0.3), "scale": two(0.2)},
        ...                     [{"fog": two(0.2), "scale": two(0.4)}], "mse")
        >>> score.clean, score.corrupted, round(score.mce, 6)
        (0.1, 0.25, 1.0)
    """
    if not points or not reference:
        raise InputError("nothing was measured: give at least one corruption, and one reference")
    own = _errors(points, measure)
    theirs = [_errors(run, measure) for run in reference]
    if any(
        list(run) != list(own) or any(run[name].keys() != own[name].keys() for name in own)
        for run in theirs
    ):
        raise InputError("model and reference differ: measure both at the same corruptions, levels")
    relative = {}
    for name, errors in own.items():
        total = fmean(_severe(run[name]) for run in theirs)
        if total == 0:
            raise InputError(f"{name}: the reference makes no error, which none can be compared to")
        relative[name] = _severe(errors) / total
    return SuiteScore(
        clean=fmean(errors[0.0] for errors in own.values()),
        corrupted=fmean(_severe(errors) for errors in own.values()),
        relative=relative,
    )


def error_of(point: RobustnessPoint, measure: Measure) -> float:
    """The measure as an error: less is better.

    Example:
        >>> error_of(RobustnessPoint(0.1, None, 0.02, 0.75, 100, None, 0.0), "nmi")
        0.25
    """
    value: float | None = getattr(point, measure)
    if value is None:
        raise InputError(
            f"{measure} was not measured: BCE needs pixels in [0, 1], NMI and probe labels"
        )
    return 1 - value if measure in HIGHER_IS_BETTER else value


def _errors(points: SuitePoints, measure: Measure) -> dict[str, dict[float, float]]:
    """By corruption and level."""
    errors = {
        name: {point.level: error_of(point, measure) for point in own}
        for name, own in points.items()
    }
    for name, own in errors.items():
        if 0.0 not in own or len(own) < 2:
            raise InputError(f"{name} at levels {list(own)}: give 0 and at least one more")
    return errors


def _severe(errors: Mapping[float, float]) -> float:
    """Mean over the severities."""
    return fmean(error for level, error in errors.items() if level)
