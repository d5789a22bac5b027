"""results/posterior.py runs, and measures what it says."""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch


@pytest.fixture(scope="module")
def study(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("posterior")


def test_the_truth_is_a_density_with_two_modes(study: ModuleType) -> None:
    """They are where x − z² = s² / 2."""
    (p,) = study.log_truth(torch.tensor([[3.0]])).exp()
    step = study.GRID[1] - study.GRID[0]
    assert (p.sum() * step).item() == pytest.approx(1)
    mode = study.GRID[p.argmax()].abs().item()
    assert mode == pytest.approx(math.sqrt(3 - study.VARIANCE / 2), abs=step.item())


def test_the_divergence_of_an_encoder_that_says_nothing(study: ModuleType) -> None:
    """KL[N(0, 1) ‖ p(z|x)] from the moments of the normal."""
    model = study.trained(2, "ELBO", seed=0, steps=0)
    for parameter in model.encoder.parameters():
        parameter.data.zero_()
    x = torch.tensor([[1.5]])
    s2 = study.VARIANCE
    # E[z²] = 1 and E[z⁴] = 3
    energy = 0.5 + (1.5**2 - 2 * 1.5 + 3) / (2 * s2)
    p = (-(study.GRID**2) / 2 - (1.5 - study.GRID**2) ** 2 / (2 * s2)).exp()
    log_evidence = math.log((p.sum() * (study.GRID[1] - study.GRID[0])).item())
    expected = -0.5 * math.log(2 * math.pi * math.e) + energy + log_evidence
    assert study.divergence(model, x).item() == pytest.approx(expected, rel=1e-4)


def test_the_study_runs(study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "posterior"
    monkeypatch.setattr(sys, "argv", ["posterior.py", str(out), "--steps", "2", "--seeds", "0"])
    study.main()
    assert (out / "known-answer.md").read_text().count("| ELBO | polynomial |") == 1
    assert len((out / "known-answer.csv").read_text().splitlines()) == 1 + 4
    words = ["--runs", str(tmp_path / "runs"), "--budget", "smoke", "--seeds", "0"]
    monkeypatch.setattr(sys, "argv", ["posterior.py", str(out), *words])
    study.main()
    page = (out / "digits.md").read_text()
    command = next(line for line in page.splitlines() if line.startswith("python "))
    assert command.split() == ["python", "results/posterior.py", str(out), *words]
    assert page.count("Fisher AE, polynomial posterior") == 2  # BCE and NMI
    for name in ("known-answer.png", "known-answer.svg", "digits.csv", "digits.png"):
        assert (out / name).stat().st_size > 0
