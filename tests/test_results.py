"""The studies of results/ run; what they find is committed beside them."""

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from fisherae.cli import main
from fisherae.priors import energy
from fisherae.studies.config import BUDGETS


def test_priors(
    script: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "_STEPS", 20)
    runs = []
    for name in ("digits-fisher --prior pairwise", "digits-vae"):
        runs.append(tmp_path / name.split()[0])
        words = ["train", *name.split(), "--epochs", "1", "--limit", "96", "--device", "cpu"]
        assert main([*words, "--out", str(runs[-1])]) == 0
    priors = script("priors")
    monkeypatch.setattr(priors, "MALA_STEPS", 10)
    words = [*map(str, runs), str(tmp_path / "out"), "--runs", str(tmp_path)]
    words += ["--samples", "40", "--extractor", "random-cnn"]
    monkeypatch.setattr(sys, "argv", ["priors.py", *words])
    priors.main()
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["model"], row["prior"], row["metric"]) for row in rows} == {
        (model, prior, f"{metric}[random-cnn]")
        for model in ("digits-fisher, trained with pairwise", "digits-vae")
        for prior in ("trained", "refit", "gaussian", "pairwise", "mixture", "energy")
        for metric in ("fid", "kid")
    }
    assert {row["sampler"] for row in rows if row["prior"] in ("pairwise", "energy")} == {"mala"}
    assert "| digits-vae |" in (tmp_path / "out.md").read_text(encoding="utf-8")
    for part in ("", "-samples", "-latents"):
        assert (tmp_path / f"out{part}.png").is_file()
        assert (tmp_path / f"out{part}.svg").is_file()


@pytest.mark.filterwarnings(r"ignore:.*(posterior collapse|latents tell|as trained)")
def test_wild(
    script: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wild = script("wild")
    monkeypatch.setattr(wild, "BUDGET", BUDGETS["smoke"]["digits"])
    monkeypatch.setattr(wild, "STEPS", 2)
    words = ["wild.py", str(tmp_path / "runs"), str(tmp_path / "out"), "--seeds", "0"]
    monkeypatch.setattr(sys, "argv", words)
    wild.main()
    page = (tmp_path / "out.md").read_text(encoding="utf-8")
    for label in wild.OURS:
        assert f"BCE of the {label} is smaller than the VAE's under " in page
    with (tmp_path / "out.csv").open() as file:
        assert {row["model"] for row in csv.DictReader(file)} == set(wild.MODELS)
    with (tmp_path / "out-attack.csv").open() as file:
        levels = {(row["model"], row["perturbation"], row["level"]) for row in csv.DictReader(file)}
    assert levels == {
        (model, kind, str(share))
        for model in wild.MODELS
        for kind in ("random", "l2", "linf")
        for share in wild.SHARES
    }
