import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fisherae.errors import InputError
from fisherae.training.run import RunDirectory


def test_an_opened_run_is_the_created_one(tmp_path: Path) -> None:
    config = {"data": tmp_path, "betas": (0.5, 0.999), "rate": np.float32(0.5)}
    created = RunDirectory.create(tmp_path / "a" / "run", config)
    opened = RunDirectory.open(tmp_path / "a" / "run")
    assert opened == created
    assert opened.config == {"data": str(tmp_path), "betas": [0.5, 0.999], "rate": 0.5}


def test_the_environment_is_recorded(run: RunDirectory) -> None:
    environment = json.loads((run.path / "environment.json").read_text())
    assert environment["versions"]["torch"] == torch.__version__
    assert environment["threads"] == torch.get_num_threads()
    assert environment["processor"]


def test_an_existing_directory_is_refused(run: RunDirectory) -> None:
    before = sorted(run.path.rglob("*"))
    with pytest.raises(InputError, match="--resume, or choose another --out"):
        RunDirectory.create(run.path, {})
    with pytest.raises(InputError, match="already exists"):
        RunDirectory.create(run.path / "config.json", {})
    assert sorted(run.path.rglob("*")) == before


def test_a_run_that_hardly_began_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "environment.json").touch()
    (tmp_path / ".lock").touch()
    assert RunDirectory.create(tmp_path, {"a": 1}).config == {"a": 1}


def test_one_process_writes_a_run(tmp_path: Path) -> None:
    with RunDirectory.locked(tmp_path / "run"):
        with pytest.raises(InputError, match="is being trained by another process"):
            RunDirectory.locked(tmp_path / "run").__enter__()
        RunDirectory.create(tmp_path / "run", {})
    with RunDirectory.locked(tmp_path / "run"):
        pass


def test_a_refused_configuration_leaves_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json"):
        RunDirectory.create(tmp_path / "run", {"rate": float("nan")})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", ["{", "[1]", "\xff"])
def test_a_damaged_configuration_is_named(run: RunDirectory, content: str) -> None:
    (run.path / "config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=r"config\.json"):
        RunDirectory.open(run.path)


def test_a_directory_without_configuration_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run"):
        RunDirectory.open(tmp_path)


def test_metrics_are_plain_numbers_in_order(run: RunDirectory) -> None:
    assert run.metrics() == []
    run.append_metrics({"step": 1, "total": np.float32(0.5)})
    run.append_metrics({"step": 2, "total": torch.tensor(0.25)})
    assert run.metrics() == [{"step": 1, "total": 0.5}, {"step": 2, "total": 0.25}]


@pytest.mark.parametrize("value", [float("nan"), np.float32("inf"), torch.tensor(float("-inf"))])
def test_a_metric_that_is_not_finite_is_refused(run: RunDirectory, value: object) -> None:
    with pytest.raises(InputError, match=r"metrics\.jsonl"):
        run.append_metrics({"step": 1, "total": value})
    assert run.metrics() == []


def test_truncation_forgets_later_and_unfinished_lines(run: RunDirectory) -> None:
    for step in (1, 2, 3):
        run.append_metrics({"step": step})
    with run.metrics_file.open("a") as file:
        file.write('{"step": 4, "tot')
    run.truncate_metrics(2)
    run.append_metrics({"step": 3, "again": 1})
    assert run.metrics() == [{"step": 1}, {"step": 2}, {"step": 3, "again": 1}]


def test_a_damaged_line_is_named(run: RunDirectory) -> None:
    run.append_metrics({"step": 1})
    with run.metrics_file.open("a") as file:
        file.write("{oops\n")
    with pytest.raises(InputError, match="line 2"):
        run.metrics()
