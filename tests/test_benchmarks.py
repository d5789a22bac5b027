"""The benchmarks run; what they find is for the machine at hand."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["exact"])
def test_a_benchmark_writes_a_table_and_numbers(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", name, "--out", str(tmp_path / "found")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "found.json").read_text())
    assert numbers["environment"]["processor"]
    for row in numbers["benchmarks"][name]:
        assert row["result"] == row["value"] / row["against"] > 0
        assert row["what"] in (tmp_path / "found.md").read_text()


def test_an_unknown_benchmark_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "nonsense"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 2
    assert "unknown benchmark 'nonsense'; known: start, " in done.stderr
