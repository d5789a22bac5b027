"""The mean corruption error against numpy, and its figures."""

import numpy as np
import pytest

from fisherae.errors import InputError
from fisherae.evaluation.figures import suite_curves, suite_map
from fisherae.evaluation.robustness import Measure, RobustnessPoint
from fisherae.evaluation.suite import SuitePoints, SuiteScore, suite_score

NAMES = ("fog", "scale", "zigzag")


def measured(errors: np.ndarray) -> SuitePoints:
    """Errors by corruption (down) and level (across), the first of which is clean."""
    return {
        name: [
            RobustnessPoint(0.2 * i, e, e / 2, 1 - e, 100, 0.0, 0.0, probe=1 - e)
            for i, e in enumerate(row)
        ]
        for name, row in zip(NAMES, errors.tolist(), strict=True)
    }


@pytest.mark.parametrize("measure", ["bce", "mse", "nmi", "probe"])
def test_the_score_is_that_of_the_paper(measure: Measure) -> None:
    random = np.random.default_rng(0)
    own, first, second = random.uniform(0.1, 0.9, (3, 3, 6))
    score = suite_score(measured(own), [measured(first), measured(second)], measure)
    half = 0.5 if measure == "mse" else 1.0
    expected = own[:, 1:].sum(1) / ((first + second)[:, 1:].sum(1) / 2)
    assert list(score.relative) == list(NAMES)
    np.testing.assert_allclose(list(score.relative.values()), expected)
    assert score.mce == pytest.approx(expected.mean())
    assert score.clean == pytest.approx(half * own[:, 0].mean())
    assert score.corrupted == pytest.approx(half * own[:, 1:].mean())


def test_the_reference_has_one() -> None:
    runs = [measured(errors) for errors in np.random.default_rng(0).uniform(0.1, 0.9, (3, 3, 6))]
    assert suite_score(runs[0], runs[:1], "bce").mce == pytest.approx(1)


def test_what_cannot_be_scored() -> None:
    some = measured(np.full((3, 6), 0.5))
    fewer = {name: some[name] for name in NAMES[:2]}
    unclean = {name: own[1:] for name, own in some.items()}
    without = {"fog": [RobustnessPoint(v, None, 0.1, None, 9, None, 0.0) for v in (0.0, 0.5)]}
    with pytest.raises(InputError, match="nothing was measured"):
        suite_score(some, [], "bce")
    with pytest.raises(InputError, match="model and reference differ"):
        suite_score(some, [fewer], "bce")
    with pytest.raises(InputError, match="give 0 and at least one more"):
        suite_score(unclean, [unclean], "bce")
    with pytest.raises(InputError, match="the reference makes no error"):
        suite_score(some, [measured(np.zeros((3, 6)))], "probe")
    with pytest.raises(InputError, match="bce was not measured"):
        suite_score(without, [without], "bce")


def test_curves_show_means_over_seeds() -> None:
    errors = np.random.default_rng(0).uniform(0.1, 0.9, (2, 3, 6))
    runs = [measured(own) for own in errors]
    figure = suite_curves({"VAE": runs, "Fisher AE": runs[:1]}, "probe")
    assert [axes.get_title() for axes in figure.axes] == list(NAMES)
    for axes, expected, single in zip(figure.axes, errors.mean(0), errors[0], strict=True):
        both, one = axes.lines
        np.testing.assert_array_equal(both.get_xdata(), range(6))
        np.testing.assert_allclose(both.get_ydata(), expected)
        np.testing.assert_allclose(one.get_ydata(), single)
    with pytest.raises(InputError, match="unknown"):
        suite_curves({"VAE": runs}, "nmi_tsne")
    with pytest.raises(InputError, match="nothing to draw"):
        suite_curves({}, "bce")


def test_the_map_shows_means_and_their_mean() -> None:
    runs = [
        SuiteScore(0.1, 0.2, {"fog": 2.0, "scale": 0.5}),
        SuiteScore(0.1, 0.2, {"fog": 1.0, "scale": 0.5}),
    ]
    figure = suite_map({"VAE": runs}, "relative")
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["1.00", "1.50", "0.50"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["mCE", "fog", "scale"]
    with pytest.raises(InputError, match="nothing to draw"):
        suite_map({}, "relative")
