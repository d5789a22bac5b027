"""What a training shows: a bar in a terminal, one line per epoch everywhere."""

import math
import time
from typing import Self

from rich import progress
from rich.console import Console
from rich.table import Column
from rich.text import Text

__all__ = ["Progress"]

SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """A bar with images per second, remaining time and the latest values; a line per epoch.

    Arguments:
        epochs: in all.
        steps_per_epoch: steps in each of them.
        done: steps made by an earlier part of the training.
        bar: whether a bar is wanted; there is none where the output is not a terminal.
        quiet: print nothing at all.
    """

    def __init__(
        self,
        epochs: int,
        steps_per_epoch: int,
        done: int = 0,
        bar: bool = True,
        quiet: bool = False,
    ):
        self.epochs = epochs
        self.latest = ""
        self.printed = -math.inf
        self.speed = _ImagesPerSecond()
        self.console = Console(stderr=True, quiet=quiet)
        self.bar = progress.Progress(
            progress.TextColumn("training"),
            progress.BarColumn(bar_width=16),
            progress.TaskProgressColumn(),
            self.speed,
            progress.TimeRemainingColumn(),
            # What is left of the line: a narrow terminal cuts the values, not the bar.
            progress.TextColumn(
                "{task.description}", table_column=Column(ratio=1, no_wrap=True, min_width=12)
            ),
            console=self.console,
            expand=True,
            disable=not (bar and self.console.is_terminal),
        )
        self.task = self.bar.add_task("", total=epochs * steps_per_epoch, completed=done)

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def step(self, images: int) -> None:
        """A step is done, with so many images."""
        self.speed.images_per_step = images
        self.bar.advance(self.task)

    def show(self, values: dict[str, float]) -> None:
        """Show new values."""
        self.latest = _text(values)
        self.bar.update(self.task, description=self.latest)

    def end_epoch(self, epoch: int, validation: dict[str, float]) -> None:
        """Print the line of an epoch, counted from 0: its number and the latest values.

        Of epochs that follow each other faster than `SECONDS_BETWEEN_LINES`, some have no line.
        """
        now = time.monotonic()
        if epoch + 1 < self.epochs and now - self.printed < SECONDS_BETWEEN_LINES:
            return
        self.printed = now
        line = f"epoch {epoch + 1}/{self.epochs}  {self.latest}  {_text(validation)}".rstrip()
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


def _text(values: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())


class _ImagesPerSecond(progress.ProgressColumn):
    images_per_step = 0

    def render(self, task: progress.Task) -> Text:
        return Text(f"{(task.speed or 0) * self.images_per_step:,.0f} images/s")
