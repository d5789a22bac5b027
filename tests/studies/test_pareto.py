"""The comparison of baselines, `results/pareto.py`, at the smoke budget and in its judgements."""

import csv
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from fisherae.errors import InputError
from fisherae.studies import models

# A deliberately poor model may be told what it lacks; that is tests/recipes/test_watch.py.
pytestmark = pytest.mark.filterwarnings(r"ignore:.*(posterior collapse|latents tell|as trained)")


@pytest.fixture(scope="module")
def pareto(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("pareto")


@pytest.mark.parametrize("comparison", ["baselines", "variances"])
def test_trains_once_and_writes_everything(
    comparison: str, pareto: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["pareto.py", comparison, "digits", "--budget", "smoke", "--seeds", "0"]
    words += ["--runs", f"{tmp_path}/runs", "--out"]
    monkeypatch.setattr(sys, "argv", [*words, f"{tmp_path}/first"])
    pareto.main()
    stem = f"{comparison}-digits"
    figures = {f"{stem}-{name}.{kind}" for name in ("bce", "mse", "fid") for kind in ("png", "svg")}
    assert {path.name for path in (tmp_path / "first").iterdir()} == {
        f"{stem}.csv",
        f"{stem}.md",
        *figures,
    }
    rows = list(csv.DictReader((tmp_path / "first" / f"{stem}.csv").read_text().splitlines()))
    compared = pareto.COMPARISONS[comparison]
    labels = list(compared.models)
    assert [row["model"] for row in rows] == labels
    page = (tmp_path / "first" / f"{stem}.md").read_text()
    sections = page.split("## Where ")[1:]
    assert [section.split("”")[0].lstrip("“") for section in sections] == list(compared.ours)
    for ours, section in zip(compared.ours, sections, strict=True):
        compared_with = re.findall(r"^\| (.+?) \| (?:wins|loses|is level), ", section, re.M)
        assert compared_with == [label for label in labels if label != ours]
    assert "too little to tell anything" in page

    monkeypatch.setattr(models, "train_recipe", lambda *_, **__: pytest.fail("trained again"))
    monkeypatch.setattr(sys, "argv", [*words, f"{tmp_path}/second"])
    pareto.main()
    first, second = (tmp_path / name / f"{stem}.csv" for name in ("first", "second"))
    assert first.read_text() == second.read_text()


def rows(*values: float) -> list[dict[str, float]]:
    return [{"bce_noisy": value, "nmi_noisy": -value} for value in values]


def test_what_counts_as_a_difference(pareto: ModuleType) -> None:
    """Standard deviations of 0.1 and 0.2 hide a difference of 0.29; less error is better, but more
    NMI."""
    ours = rows(0.9, 1.0, 1.1)
    for theirs, expected in (
        (rows(1.09, 1.29, 1.49), "is level"),
        (rows(1.11, 1.31, 1.51), "wins"),
        (rows(0.49, 0.69, 0.89), "loses"),
    ):
        for column in ("bce_noisy", "nmi_noisy"):
            assert pareto.outcome(ours, theirs, column) == expected


def test_only_some_models(pareto: ModuleType) -> None:
    comparison = pareto.COMPARISONS["baselines"]
    some = pareto.chosen(comparison, ["WAE-GAN", "VAE", "Fisher AE"])
    assert (list(some.models), some.ours) == (["Fisher AE", "VAE", "WAE-GAN"], ("Fisher AE",))
    assert pareto.chosen(comparison, None) == comparison
    with pytest.raises(InputError, match="unknown model 'GAN'; known: Fisher AE, "):
        pareto.chosen(comparison, ["GAN"])
    with pytest.raises(InputError, match="needs one of ours: Fisher AE, Denoising Fisher AE"):
        pareto.chosen(comparison, ["VAE"])
