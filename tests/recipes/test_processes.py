"""A recipe trained by two processes, from the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import fisherae as fae


def test_two_processes_make_one_run(tmp_path: Path) -> None:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = ["train", "digits-fisher", "--epochs", "1", "--limit", "64", "--batch-size", "32"]
    done = subprocess.run(
        [sys.executable, *launch, "-m", "fisherae.cli", *words, "--device", "cpu", "--out", "run"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [
        2,
        2,
    ]  # training, validation: one writer
    assert fae.load(tmp_path / "run" / "model").dim == 8
