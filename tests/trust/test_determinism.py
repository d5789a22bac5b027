"""The same seed gives the same weights, in processes that know nothing of each other."""

import os
import subprocess
import sys
from pathlib import Path


def trained(out: Path, seed: int) -> bytes:
    tiny = "--epochs 2 --limit 64 --batch-size 32 --device cpu"
    words = ["train", "digits-fisher", *tiny.split(), "--seed", str(seed), "--out", str(out)]
    subprocess.run(
        [sys.executable, "-m", "fisherae.cli", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=True,
    )
    return (out / "model" / "model.safetensors").read_bytes()


def test_two_fresh_processes_train_the_same_weights(tmp_path: Path) -> None:
    first = trained(tmp_path / "first", seed=1)
    assert trained(tmp_path / "second", seed=1) == first
    assert trained(tmp_path / "other", seed=2) != first
