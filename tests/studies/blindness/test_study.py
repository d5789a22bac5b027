"""The documented command, at the smoke budget."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from fisherae.studies.blindness.study import run

ROOT = Path(__file__).parents[3]
FIGURES = ("weights", "gaps", "encoder", "densities", "methods")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_smoke_budget(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, runs = tmp_path / "out", tmp_path / "runs"
    run(out, "smoke", runs, "the command", progress=False)
    page = (out / "summary.md").read_text(encoding="utf-8")
    assert "```\nthe command\n```" in page
    assert "nan" not in page
    for figure in FIGURES:
        assert (out / f"{figure}.png").stat().st_size > 10_000
        assert f"({figure}.png)" in page
    fits = rows(out / "fits.csv")
    assert {fit["truth"] for fit in fits} == {"near", "far", "ring", "arcs"}
    assert len({fit["method"] for fit in fits}) == 17
    needed = rows(out / "needed.csv")
    assert [float(row["separation"]) for row in needed] == list(range(1, 13))
    # What was computed is kept: the second time nothing is, and the page is the same.
    assert "measuring" in capsys.readouterr().err
    run(out, "smoke", runs, "the command", progress=False)
    assert "measuring" not in capsys.readouterr().err
    assert (out / "summary.md").read_text(encoding="utf-8") == page


def test_an_unknown_budget_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "results/blindness.py", "x", "--budget", "large"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 2
    assert "invalid choice: 'large'" in done.stderr
