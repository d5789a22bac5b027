import copy
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fisherae.errors import InputError
from fisherae.training import interrupt, loop
from fisherae.training.checkpoint import Checkpoint
from fisherae.training.config import TrainingConfig
from fisherae.training.interrupt import interruptions
from fisherae.training.loop import train
from fisherae.training.run import RunDirectory

CONFIG = TrainingConfig(
    epochs=4, log_every=3, device="cpu", clip=5.0, schedule=((1, 0.5), (3, 0.1)), seed=3
)


class Job:
    """Train the same dropout regression again and again, from the same initial weights."""

    def __init__(self, regression: Any, batches: Any, directory: Path):
        self.initial, self.batches, self.directory = regression(dropout=0.5), batches, directory

    def __call__(self, name: str, resume: bool = False, **changes: Any) -> Any:
        options = {"config": CONFIG, "batches": self.batches, **changes}
        path = self.directory / name
        run = RunDirectory.open(path) if resume else RunDirectory.create(path, {})
        objective = copy.deepcopy(self.initial)
        optimizer = torch.optim.Adam(objective.parameters(), lr=0.05)
        # What the machine draws in between must not matter.
        torch.manual_seed(len(name) + resume)
        train(
            objective,
            optimizer,
            options["batches"],
            options["config"],
            run,
            resume=resume,
            progress=False,
            validate=lambda: {"bias": objective.linear.bias.item(), "draw": torch.rand(()).item()},
        )
        return objective

    def run(self, name: str) -> RunDirectory:
        return RunDirectory.open(self.directory / name)


@pytest.fixture
def job(regression: Any, batches: Any, tmp_path: Path) -> Job:
    return Job(regression, batches, tmp_path)


def assert_same_weights(one: nn.Module, other: nn.Module) -> None:
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def raise_at(batches: Any, step: int, action: Callable[[], object]) -> Any:
    def before_step(now: int) -> None:
        if now == step:
            action()

    return type(batches)(batches.data, batches.batch_size, before_step)


def test_the_noise_matters(job: Job) -> None:
    one = job("one")
    other = job("other", config=TrainingConfig(**{**vars(CONFIG), "seed": 4}))
    assert not torch.equal(one.linear.weight, other.linear.weight)


def test_resume_at_an_epoch_boundary(job: Job, untimed: Any) -> None:
    whole = job("whole")
    job("parts", config=TrainingConfig(**{**vars(CONFIG), "epochs": 2}))
    resumed = job("parts", resume=True)
    assert_same_weights(whole, resumed)
    assert untimed(job.run("parts")) == untimed(job.run("whole"))


@pytest.mark.parametrize(
    ("number", "step"),
    [*((signal.SIGINT, step) for step in range(1, 17)), (signal.SIGTERM, 1), (signal.SIGTERM, 7)],
)
def test_resume_after_a_signal_at_any_step(
    job: Job, untimed: Any, number: signal.Signals, step: int
) -> None:
    whole = job("whole")
    press = raise_at(job.batches, step, lambda: signal.raise_signal(number))
    with pytest.raises(KeyboardInterrupt, match=rf"after step {step - 1}, .*--resume"):
        job("parts", batches=press)
    resumed = job("parts", resume=True)
    assert_same_weights(whole, resumed)
    assert untimed(job.run("parts")) == untimed(job.run("whole"))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_signals_that_come_together_are_one() -> None:
    """Held back and let go, so that Python finds both."""
    both = {signal.SIGINT, signal.SIGTERM}
    with interruptions() as interrupted:
        signal.pthread_sigmask(signal.SIG_BLOCK, both)
        for number in both:
            signal.raise_signal(number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, both)
        assert interrupted()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_second_signal_acts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupt, "TOGETHER", 0.0)
    with interruptions() as interrupted:
        signal.raise_signal(signal.SIGTERM)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("save_every", [1, 3])
@pytest.mark.parametrize("step", [1, 2, 4, 5, 11, 16])
def test_resume_after_a_crash(job: Job, untimed: Any, step: int, save_every: int) -> None:
    config = TrainingConfig(**{**vars(CONFIG), "save_every": save_every})
    whole = job("whole", config=config)
    with pytest.raises(ZeroDivisionError):
        job("parts", batches=raise_at(job.batches, step, lambda: 1 / 0), config=config)
    resumed = job("parts", resume=True, config=config)
    assert_same_weights(whole, resumed)
    assert untimed(job.run("parts")) == untimed(job.run("whole"))


def test_resume_of_a_run_without_checkpoints_begins(job: Job, untimed: Any) -> None:
    whole = job("whole")
    RunDirectory.create(job.directory / "parts", {})
    assert_same_weights(whole, job("parts", resume=True))
    assert untimed(job.run("parts")) == untimed(job.run("whole"))


def test_resume_from_what_a_long_epoch_saved(
    job: Job, untimed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = job("whole")
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    with pytest.raises(ZeroDivisionError):
        job("parts", batches=raise_at(job.batches, 7, lambda: 1 / 0))
    assert Checkpoint.latest(job.run("parts").checkpoints).state.step == 5
    assert_same_weights(whole, job("parts", resume=True))
    assert untimed(job.run("parts")) == untimed(job.run("whole"))


def test_resume_twice_and_from_the_elder_of_a_damaged_checkpoint(job: Job, untimed: Any) -> None:
    whole = job("whole")
    job("parts", config=TrainingConfig(**{**vars(CONFIG), "epochs": 2}))
    job("parts", resume=True, config=TrainingConfig(**{**vars(CONFIG), "epochs": 3}))
    newest = max(job.run("parts").checkpoints.iterdir()) / "objective.safetensors"
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    with pytest.warns(UserWarning, match="step-00000012"):
        resumed = job("parts", resume=True)
    assert_same_weights(whole, resumed)
    assert untimed(job.run("parts")) == untimed(job.run("whole"))


def test_resume_of_a_finished_run_changes_nothing(job: Job) -> None:
    whole = job("whole")
    lines = job.run("whole").metrics()
    assert_same_weights(whole, job("whole", resume=True))
    assert job.run("whole").metrics() == lines


def test_time_accumulates(job: Job) -> None:
    job("parts", config=TrainingConfig(**{**vars(CONFIG), "epochs": 2}))
    job("parts", resume=True)
    seconds = [line["seconds"] for line in job.run("parts").metrics()]
    assert seconds == sorted(seconds)


def test_a_run_is_not_started_twice(job: Job, regression: Any) -> None:
    job("run")
    objective = regression()
    optimizer = torch.optim.Adam(objective.parameters())
    with pytest.raises(InputError, match="--resume"):
        train(objective, optimizer, job.batches, CONFIG, job.run("run"), progress=False)


def test_other_data_are_refused(job: Job) -> None:
    job("run")
    fewer = type(job.batches)(job.batches.data[:16], 8)
    with pytest.raises(InputError, match="4 steps per epoch, now it is 2: resume"):
        job("run", resume=True, batches=fewer)
