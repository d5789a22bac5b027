"""A recipe trained by two processes, from the command line; this file is also what they run."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import fisherae as fae
from fisherae.distributions import DiagonalGaussian
from fisherae.training.checkpoint import Checkpoint

LAUNCH = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
TRAIN = ["train", "digits-fisher", "--limit", "64", "--batch-size", "32", "--device", "cpu"]


def launch(*words: str, cwd: Path, two: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *(LAUNCH if two else []), *words],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_make_one_run_and_one_goes_on(tmp_path: Path) -> None:
    command = ["-m", "fisherae.cli", *TRAIN, "--out", "run"]
    done = launch(*command, "--epochs", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # A line of training, one of validation: one writer.
    assert [line["step"] for line in metrics(tmp_path / "run")] == [2, 2]
    assert fae.load(tmp_path / "run" / "model").dim == 8
    done = launch(*command, "--epochs", "2", "--resume", cwd=tmp_path, two=False)
    assert done.returncode == 0, done.stderr
    assert "was trained by 2 processes and goes on with 1" in done.stderr
    assert [line["step"] for line in metrics(tmp_path / "run")] == [2, 2, 4, 4]


def test_a_killed_process_ends_the_others(tmp_path: Path) -> None:
    since = time.monotonic()
    done = launch(__file__, "killed", cwd=tmp_path)
    assert time.monotonic() - since < 60
    assert done.returncode != 0
    assert "another process of this training is gone" in done.stderr
    assert "continue with --resume from run/checkpoints/step-" in done.stderr
    done = launch("-m", "fisherae.cli", *TRAIN, "--resume", "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert metrics(tmp_path / "run")[-1]["epoch"] == 99


def test_a_process_killed_at_the_end_ends_the_others(tmp_path: Path) -> None:
    """Without a launcher, which may end the other before it can say why."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, "killed-at-the-end"],
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ, **group, "OMP_NUM_THREADS": "1", "RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in ("0", "1")
    ]
    _, error = processes[1].communicate(timeout=120)
    processes[0].communicate(timeout=120)
    assert [process.returncode for process in processes] == [-signal.SIGKILL, 2]
    assert "another process of this training is gone, at its end" in error
    assert "Traceback" not in error
    done = launch("-m", "fisherae.cli", *TRAIN, "--resume", "--out", "run", cwd=tmp_path, two=False)
    assert done.returncode == 0, done.stderr
    assert fae.load(tmp_path / "run" / "model").dim == 8


def test_processes_stop_together(tmp_path: Path) -> None:
    words = [*TRAIN, "--epochs", "4000", "--log-every", "3", "--out", "run"]
    process = subprocess.Popen(
        [sys.executable, *LAUNCH, "-m", "fisherae.cli", *words],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    while process.poll() is None and not (tmp_path / "run" / "metrics.jsonl").exists():
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert "continue with --resume" in error
    state = Checkpoint.latest(tmp_path / "run" / "checkpoints").state
    assert state.step % 3 == 0
    assert metrics(tmp_path / "run")[-1]["step"] == state.step


def test_gradients_of_two_processes_are_those_of_one(tmp_path: Path) -> None:
    done = launch(__file__, "gradients", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    two = torch.load(tmp_path / "gradients.pt", weights_only=True)
    one = gradients(slice(None))
    assert all(gradient.abs().max() > 0 for gradient in one.values())
    for name, gradient in one.items():
        torch.testing.assert_close(two[name], gradient, rtol=1e-6, atol=1e-12)


def gradients(share: slice, wrap: Any = lambda objective: objective) -> dict[str, torch.Tensor]:
    """Of the Fisher objective without batch normalisation, at given noise, for a share of eight
    images, in float64."""
    torch.manual_seed(0)
    encoder = fae.networks.mlp.encoder((1, 8, 8), dim=2)
    decoder = fae.networks.mlp.decoder((1, 8, 8), dim=2)
    likelihood = fae.GaussianLikelihood(0.1, learned=True)
    model = fae.Autoencoder(encoder, decoder, fae.FactorablePolynomial(2, order=4), likelihood)
    objective = fae.FisherObjective(model).double()
    images = torch.rand(8, 1, 8, 8, dtype=torch.float64)
    noise = torch.randn(8, 2, dtype=torch.float64)
    wrapped = wrap(objective)

    def given(q: DiagonalGaussian, generator: Any = None) -> torch.Tensor:
        return q.mean + q.std * noise[share]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DiagonalGaussian, "rsample", given)
        wrapped(images[share]).total.backward()
    return {name: one.grad for name, one in objective.named_parameters() if one.grad is not None}


def save_gradients() -> None:
    from fisherae.training.device import start_accelerator

    accelerator = start_accelerator("cpu")
    rank = accelerator.process_index
    found = gradients(slice(4 * rank, 4 * rank + 4), accelerator.prepare)
    if accelerator.is_main_process:
        torch.save(found, "gradients.pt")


def train_until_killed() -> None:
    """The second process is killed when the first has written metrics."""
    from fisherae.cli.main import main

    def kill_when_begun() -> None:
        while not Path("run/metrics.jsonl").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)

    if os.environ["RANK"] == "1":
        threading.Thread(target=kill_when_begun, daemon=True).start()
    sys.exit(main([*TRAIN, "--epochs", "100", "--out", "run"]))


def train_and_be_killed_at_the_end() -> None:
    """The first process is killed when all have trained, before it has saved the model."""
    from fisherae.cli.main import main
    from fisherae.recipes import run

    run._finish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    sys.exit(main([*TRAIN, "--epochs", "1", "--out", "run"]))


if __name__ == "__main__":
    {
        "killed": train_until_killed,
        "killed-at-the-end": train_and_be_killed_at_the_end,
        "gradients": save_gradients,
    }[sys.argv[1]]()
