"""A training killed at any moment resumes to the weights and metrics of one that was not; this
file is also what the killed processes run."""

import dataclasses
import functools
import multiprocessing
import os
import random
import runpy
import signal
import sys
import time
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from fisherae.recipes.named import recipe
from fisherae.recipes.run import train_recipe
from fisherae.training.run import RunDirectory

pytestmark = pytest.mark.xdist_group("kills")
# Of the interpreter, whenever a file of a checkpoint is made, renamed or deleted.
FILE_EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}
QUICK, MANY = 2, 25


def work(out: Path, die_at: int = 0, counter: Any = None) -> None:
    """A training of three seconds, or the rest of it; with `die_at`, up to that file event."""
    torch.set_num_threads(1)
    events = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal events
        if event in FILE_EVENTS and "checkpoints" in str(arguments[0]):
            events += 1
            if counter is not None:
                counter.value = events
            if events == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    chosen = recipe("digits-fisher")
    training = dataclasses.replace(
        chosen.training, epochs=4, batch_size=32, log_every=3, device="cpu"
    )
    chosen = dataclasses.replace(
        chosen, training=training, data=dataclasses.replace(chosen.data, limit=320)
    )
    train_recipe(chosen, out, resume=(out / "config.json").exists(), progress=False)


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Fresh processes that need not import everything again."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fisherae.recipes.run", "fisherae.estimator"])
    return context


def start(processes: ForkServerContext, out: Path, **options: Any) -> ForkServerProcess:
    job = {"job": {"out": out, **options}}
    process = processes.Process(target=runpy.run_path, args=(__file__, job, "victim"))
    process.start()
    return process


def finish(processes: ForkServerContext, out: Path, **options: Any) -> None:
    process = start(processes, out, **options)
    process.join()
    assert process.exitcode == 0


@pytest.fixture(scope="module")
def whole(
    processes: ForkServerContext, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, int, float]:
    """A training that nobody disturbs, its number of file events, and its seconds."""
    out = tmp_path_factory.mktemp("whole") / "run"
    counter = processes.Value("i", 0)
    finish(processes, out.with_name("first"))  # imports take longer than a training
    since = time.perf_counter()
    finish(processes, out, counter=counter)
    return out, counter.value, time.perf_counter() - since


def times(count: int) -> list[Any]:
    slow = [pytest.param(case, marks=pytest.mark.slow) for case in range(QUICK, count)]
    return [*range(QUICK), *slow]


@pytest.mark.parametrize("case", times(MANY))
def test_kill_at_a_random_moment(
    processes: ForkServerContext, whole: tuple[Path, int, float], tmp_path: Path, case: int
) -> None:
    out, _, seconds = whole
    process = start(processes, tmp_path / "run")
    time.sleep(random.Random(case).uniform(0, seconds))
    process.kill()
    process.join()
    finish(processes, tmp_path / "run")
    assert_same_run(tmp_path / "run", out)


@pytest.mark.parametrize("case", times(MANY))
def test_kill_while_a_checkpoint_is_written(
    processes: ForkServerContext, whole: tuple[Path, int, float], tmp_path: Path, case: int
) -> None:
    out, events, _ = whole
    moment = random.Random(case).randint(1, events)
    process = start(processes, tmp_path / "run", die_at=moment)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    finish(processes, tmp_path / "run")
    assert_same_run(tmp_path / "run", out)


def assert_same_run(one: Path, other: Path) -> None:
    read = functools.partial(map, safetensors.torch.load_file)
    for file in ("model/model.safetensors", "latents.safetensors"):
        there, here = read((one / file, other / file))
        assert there.keys() == here.keys()
        assert all(torch.equal(tensor, here[name]) for name, tensor in there.items()), file
    assert untimed(one) == untimed(other)
    assert visible(one) == visible(other)


def untimed(run: Path) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in line.items() if key != "seconds"}
        for line in RunDirectory.open(run).metrics()
    ]


def visible(run: Path) -> set[Path]:
    """The files that a user sees."""
    files = {path.relative_to(run) for path in run.rglob("*")}
    return {path for path in files if not any(part.startswith(".") for part in path.parts)}


if __name__ == "victim":
    work(**globals()["job"])
