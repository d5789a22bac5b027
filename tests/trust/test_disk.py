"""A disk that is full, really: what was saved stays intact, and the training goes on later."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

pytestmark = pytest.mark.xdist_group("disk")
TRAIN = "-m fisherae.cli train digits-fisher --limit 128 --epochs 3 --device cpu --out"
# A checkpoint grows after the first step, when Adam has begun to remember.
LIMITED_FILES = """
(ulimit -f {kilobytes}; {train} {out}); echo first $?
{train} {out} --resume; echo second $?
"""
SMALL_DISK = """
mount -t tmpfs -o size={kilobytes}k tmpfs {disk} || exit 77
{train} {disk}/run; echo first $?
ls -A {disk}/run/checkpoints
mount -o remount,size=64m {disk}
{train} {disk}/run --resume; echo second $?
cp -r {disk}/run {out}
"""


def shell(script: str, *prefix: str, **values: object) -> subprocess.CompletedProcess[str]:
    train = shlex.join([sys.executable, *TRAIN.split()])
    return subprocess.run(
        [*prefix, "bash", "-c", script.format(train=train, **values)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    done = shell("{train} {out}", out=out)
    assert done.returncode == 0, done.stderr
    return out


def size_of_weights(run: Path) -> int:
    return (run / "model" / "model.safetensors").stat().st_size // 1024


def assert_told_and_resumed(
    done: subprocess.CompletedProcess[str], reason: str, out: Path, whole: Path
) -> None:
    ends = [line for line in done.stdout.splitlines() if line[:6] in ("first ", "second")]
    assert ends == ["first 2", "second 0"], done.stderr
    (message,) = [line for line in done.stderr.splitlines() if "cannot be written" in line]
    assert message.startswith("fisherae: ")
    assert reason in message
    assert "continue with --resume from" in message
    assert "which is intact" in message
    assert "Traceback" not in done.stderr
    there, here = (
        safetensors.torch.load_file(run / "model" / "model.safetensors") for run in (whole, out)
    )
    assert all(torch.equal(tensor, here[name]) for name, tensor in there.items())


def test_a_checkpoint_that_may_not_grow(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = shell(LIMITED_FILES, kilobytes=size_of_weights(whole) * 3 // 2, out=out)
    assert_told_and_resumed(done, "File too large", out, whole)


def test_a_full_disk(whole: Path, tmp_path: Path) -> None:
    disk, out = tmp_path / "disk", tmp_path / "run"
    disk.mkdir()
    own_mounts = ("unshare", "--user", "--map-root-user", "--mount")
    done = shell(
        SMALL_DISK, *own_mounts, kilobytes=size_of_weights(whole) * 5 // 2, disk=disk, out=out
    )
    if done.returncode and "first" not in done.stdout:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    # Nothing half-written takes the room that is left.
    assert done.stdout.splitlines()[1] == "step-00000000"
    assert_told_and_resumed(done, "No space left on device", out, whole)
