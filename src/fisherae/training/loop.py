"""The training loop: forward, backward, clip, step; no step waits for the device."""

import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fisherae.errors import InputError, NonFiniteError
from fisherae.training.capture import CapturedStep, set_capturable
from fisherae.training.checkpoint import Checkpoint, TrainingState
from fisherae.training.config import TrainingConfig
from fisherae.training.device import (
    means_lost_process,
    random_state,
    set_random_state,
    start_accelerator,
)
from fisherae.training.interrupt import interruptions
from fisherae.training.progress import Progress
from fisherae.training.run import RunDirectory
from fisherae.training.window import Window

__all__ = ["BatchSource", "train"]

SAVE_SECONDS = 600.0


class BatchSource(Protocol):
    """Batches in an order that is a pure function of the epoch: `fisherae.data.images.Batches`.

    With several processes, each has a source of its own share.
    """

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Tensor]:
        """The batches of an epoch, from the one numbered `start` on."""


def train(
    objective: nn.Module,
    optimizer: Optimizer,
    batches: BatchSource,
    config: TrainingConfig,
    run: RunDirectory,
    resume: bool = False,
    progress: bool = True,
    validate: Callable[[], dict[str, float]] | None = None,
) -> None:
    """Minimise `objective(x).total` over the parameters in `optimizer`.

    Every `config.log_every` steps and at the end of an epoch, a line of `metrics.jsonl` gets
    the means over the steps since the line before: each loss term, `total`, `grad_norm`
    (before clipping; its largest value is `grad_norm_max`; `skipped` if a step without a finite
    one was left out). It also has `step` and `images` done so far, `epoch` (from 0),
    `learning_rate` (`learning_rate/1` of a second parameter group, …) and `seconds`, those of
    earlier parts of the training included.

    A checkpoint is written before the first step, every `config.save_every` epochs, every ten
    minutes, at the end, and on Ctrl-C or SIGTERM. A resumed training ends, bit for bit, where the
    uninterrupted one does (on one CPU thread, with as many processes), also from the middle of an
    epoch.

    Arguments:
        objective: images to named loss terms; see `fisherae.objectives`.
        optimizer: its groups may differ in learning rate; the schedule multiplies each.
        batches: source of the images.
        config: how to train.
        run: where everything is written.
        resume: continue from the newest intact checkpoint of `run`, or begin if it has none yet.
        progress: show a bar in a terminal.
        validate: called after each epoch; a line gets its numbers, as `validation/NAME`. Of the
            checkpoints, the one with the smallest `mse` is kept beside the newest.

    Raises:
        NonFiniteError: a loss term or parameter is no longer finite, or a gradient norm, but for
            one in a hundred steps, which PyTorch's fused optimizers leave out.
        InputError: the device is missing; the run has checkpoints and `resume` is false; or,
            with `resume`, none that is intact, or of another architecture or batch count; the
            disk is full or another process of the training gone.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after a checkpoint; the message says how to
            continue.

    Example:
        >>> import tempfile
        >>> import fisherae as fae
        >>> from fisherae.data.images import Batches
        >>> encoder, decoder = fae.networks.mnist.encoder(8), fae.networks.mnist.decoder(8)
        >>> model = fae.Autoencoder(encoder, decoder, fae.FactorablePolynomial(8, order=5))
        >>> objective = fae.FisherObjective(model)
        >>> optimizer = torch.optim.Adam(objective.parameters(), lr=2e-4)
        >>> batches = Batches(torch.randint(256, (8, 1, 28, 28), dtype=torch.uint8), batch_size=4)
        >>> run = RunDirectory.create(tempfile.mkdtemp(), config={})
        >>> train(objective, optimizer, batches, TrainingConfig(epochs=1, device="cpu"), run)
        >>> run.metrics()[-1]["step"]
        2
    """
    trainer = _Trainer(objective, optimizer, batches, config, run)
    with trainer.explaining():
        if resume:
            trainer.resume()
        else:
            trainer.start()
        trainer.fit(progress, validate)


class _Trainer:
    def __init__(
        self,
        objective: nn.Module,
        optimizer: Optimizer,
        batches: BatchSource,
        config: TrainingConfig,
        run: RunDirectory,
    ):
        self.objective, self.optimizer = objective, optimizer
        self.batches, self.config, self.run = batches, config, run
        self.half = config.precision == "bf16"
        self.accelerator = start_accelerator(config.device, config.capture)
        if self.half or self.accelerator.device.type == "cuda":
            # The layout in which GPUs convolve, and processors bfloat16, but not float32.
            objective.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.forward, self.update = self.accelerator.prepare(objective, optimizer)
        self.parameters = [one for one in objective.parameters() if one.requires_grad]
        self.state = TrainingState(0, 0, 0.0, batches.steps_per_epoch)
        self.window = Window()
        step = self.update_weights
        self.descend = CapturedStep(step, optimizer) if config.capture else step
        self.since = self.saved_at = time.perf_counter()
        self.saved: Path | None = None

    def start(self) -> None:
        if any(self.run.checkpoints.glob("step-*")):
            raise InputError(
                f"{self.run.path} has checkpoints: continue with --resume, or choose another --out"
            )
        for group in self.optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        rank = self.accelerator.process_index
        torch.manual_seed(_derived_seed(self.config.seed, rank) if rank else self.config.seed)
        self.save()

    def resume(self) -> None:
        begun = any(self.run.checkpoints.glob("step-*"))
        self.accelerator.wait_for_everyone()  # before the first of all processes saves one
        if not begun:
            return self.start()
        checkpoint = Checkpoint.latest(self.run.checkpoints)
        self.require_same_work(checkpoint)
        checkpoint.restore(self.objective, self.optimizer)
        self.state = checkpoint.state
        self.saved = self.run.checkpoints / self.state.name
        rows = checkpoint.window.get("rows", torch.empty(0)).to(self.accelerator.device)
        self.window.rows = list(rows)
        if "skipped" in checkpoint.window:
            self.window.skipped = int(checkpoint.window["skipped"])
        self.restore_random_state(checkpoint)
        if self.accelerator.is_main_process:
            self.run.truncate_metrics(self.state.step)

    def require_same_work(self, checkpoint: Checkpoint) -> None:
        before, now = checkpoint.state.steps_per_epoch, self.batches.steps_per_epoch
        if before != now:
            raise InputError(
                f"{self.run.path} had {before} steps per epoch, now it is {now}: resume with the "
                "same images and batch size"
            )

    def restore_random_state(self, checkpoint: Checkpoint) -> None:
        before, now = len(checkpoint.random["cpu"]), self.accelerator.num_processes
        if before == now:
            return set_random_state(checkpoint.random, self.accelerator)
        if self.accelerator.is_main_process:
            warnings.warn(
                f"{self.run.path} was trained by {before} processes and goes on with {now}: the "
                "noise is drawn anew, so that the weights will not be those of an uninterrupted "
                "training",
                stacklevel=2,
            )
        rank = self.accelerator.process_index
        torch.manual_seed(_derived_seed(self.config.seed, self.state.step, rank))

    def fit(self, progress: bool, validate: Callable[[], dict[str, float]] | None) -> None:
        set_capturable(self.optimizer, self.config.capture)
        self.window.may_skip = leaves_out_steps(self.optimizer)
        with interruptions() as interrupted, self.progress(progress) as bar:
            for epoch in range(self.state.epoch, self.config.epochs):
                self.run_epoch(epoch, bar, interrupted)
                bar.end_epoch(epoch, self.validate(epoch, validate))
                if (epoch + 1) % self.config.save_every == 0 or epoch + 1 == self.config.epochs:
                    self.save()

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """What went wrong, and what is left, to errors that do not know it."""
        try:
            yield
        except NonFiniteError as error:
            raise NonFiniteError(
                f"{error}. The last good checkpoint is kept at {self.saved}, but --resume would "
                f"only repeat this: train anew with {self.cure}, or with another --seed"
            ) from None
        except OSError as error:
            raise InputError(
                f"{self.run.path} cannot be written at step {self.state.step}: "
                f"{error.strerror or error}. See to the disk, then {self.way_on}"
            ) from None
        except RuntimeError as error:
            if self.accelerator.num_processes == 1 or not means_lost_process(error):
                raise
            raise InputError(
                f"another process of this training is gone, at step {self.state.step}. Start all "
                f"processes again: {self.way_on}"
            ) from error

    @property
    def cure(self) -> str:
        """What has not been tried yet against a divergence."""
        rate, clip = self.config.learning_rate, self.config.clip
        shorter = "--clip 10" if clip is None else f"a --clip below {clip:g}"
        return f"a --learning-rate below {rate:g} and {shorter}"

    @property
    def way_on(self) -> str:
        """How a training that was cut off goes on."""
        if self.saved is None:
            return "train anew, for nothing was saved yet"
        return f"continue with --resume from {self.saved}, which is intact"

    def run_epoch(self, epoch: int, bar: Progress, interrupted: Callable[[], bool]) -> None:
        self.forward.train()
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * self.config.learning_rate_factor(epoch)
        for images in self.batches.epoch(epoch, start=self.state.step_in_epoch):
            self.attend(interrupted)
            bar.step(self.step(images))
            if self.state.step_in_epoch == 0 or self.state.step % self.config.log_every == 0:
                bar.show(self.log(epoch))

    def attend(self, interrupted: Callable[[], bool]) -> None:
        """Between two steps: stop, or save, where it is asked for or time."""
        stop = interrupted()
        save = time.perf_counter() - self.saved_at > SAVE_SECONDS
        if self.accelerator.num_processes > 1:
            # Together, or they would wait for each other for ever; and not at every step.
            if self.state.step % self.config.log_every:
                return
            wishes = torch.tensor([stop, save], device=self.accelerator.device).float()
            stop, save = self.accelerator.reduce(wishes, "sum").bool().tolist()
        if stop:
            self.stop()
        if save:
            self.save()

    def step(self, images: Tensor) -> int:
        images = images.to(self.accelerator.device, non_blocking=True)
        self.window.rows.append(self.descend(images))
        count: int = len(images) * self.accelerator.num_processes
        self.state.step += 1
        self.state.validation_error = None  # of the weights before
        self.state.images += count
        return count

    def update_weights(self, images: Tensor) -> Tensor:
        """The loss terms and the gradient's norm, on the device, which nothing here waits for."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.half):
            terms = self.forward(images)
        self.update.zero_grad()
        # Not to the images, which scores have made to ask for a gradient.
        self.accelerator.backward(terms.total, inputs=self.parameters)
        # An infinite limit clips nothing, but measures the norm.
        limit = math.inf if self.config.clip is None else self.config.clip
        norm = self.accelerator.clip_grad_norm_(self.parameters, limit)
        if self.window.may_skip:
            vars(self.optimizer)["found_inf"] = (~norm.isfinite()).float()
        try:
            self.update.step()
        finally:
            vars(self.optimizer).pop("found_inf", None)
        return self.window.row(terms, norm)

    def log(self, epoch: int) -> dict[str, float]:
        means = self.window.means(self.read_window())
        self.window.rows.clear()
        rates = {
            f"learning_rate/{index}" if index else "learning_rate": group["lr"]
            for index, group in enumerate(self.optimizer.param_groups)
        }
        self.write({"epoch": epoch, "images": self.state.images, **rates, **means})
        return means

    def validate(
        self, epoch: int, validate: Callable[[], dict[str, float]] | None
    ) -> dict[str, float]:
        if validate is None:
            return {}
        values = {f"validation/{name}": float(value) for name, value in validate().items()}
        for name, value in values.items():
            if not math.isfinite(value):
                raise NonFiniteError(f"{name} is {value} after step {self.state.step}")
        self.write({"epoch": epoch, **values})
        self.state.validation_error = values.get("validation/mse")
        return values

    def write(self, line: dict[str, float]) -> None:
        now = time.perf_counter()
        self.state.seconds += now - self.since
        self.since = now
        if self.accelerator.is_main_process:
            seconds = round(self.state.seconds, 3)
            self.run.append_metrics({"step": self.state.step, **line, "seconds": seconds})

    def read_window(self) -> Tensor:
        """The only place that waits for the device, apart from checkpoints."""
        rows: Tensor = self.accelerator.reduce(self.window.stack(), "mean").cpu()
        for skipped in self.window.check(rows, self.state.step):
            if self.accelerator.is_main_process:
                warnings.warn(
                    f"{self.run.path}: step {skipped} was left out, for its gradient is not "
                    "finite; the training goes on, unless that happens again soon",
                    stacklevel=2,
                )
        return rows

    def save(self) -> None:
        window = {"rows": self.read_window()} if self.window.rows else {}
        window["skipped"] = torch.tensor(self.window.skipped)
        random = random_state(self.accelerator)
        checkpoint = Checkpoint.take(self.objective, self.optimizer, self.state, random, window)
        if self.accelerator.is_main_process:
            checkpoint.save(self.run.checkpoints, self.config.keep)
        self.accelerator.wait_for_everyone()
        self.saved = self.run.checkpoints / self.state.name
        self.saved_at = time.perf_counter()

    def stop(self) -> NoReturn:
        if self.saved is None or self.saved.name != self.state.name:
            self.save()
        raise KeyboardInterrupt(
            f"stopped after step {self.state.step}, which {self.saved} keeps: "
            "continue with --resume"
        )

    def progress(self, bar: bool) -> Progress:
        return Progress(
            self.config.epochs,
            self.state.steps_per_epoch,
            done=self.state.step,
            bar=bar,
            quiet=not self.accelerator.is_main_process,
        )


def _derived_seed(*numbers: int) -> int:
    """Of numbers that other trainings and processes do not have together."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def leaves_out_steps(optimizer: Optimizer) -> bool:
    """Whether it can be told to leave out a step, on the device and in a recorded step too: a fused
    one of PyTorch's."""
    supports: bool = getattr(optimizer, "_step_supports_amp_scaling", False)
    return supports and all(group.get("fused") for group in optimizer.param_groups)
