"""Ctrl-C and SIGTERM between two steps instead of within one."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType

__all__ = ["interruptions"]

# What a user presses, and what a cluster's scheduler sends before it kills.
SIGNALS = (signal.SIGINT, signal.SIGTERM)
TOGETHER = 0.5  # seconds


@contextmanager
def interruptions() -> Iterator[Callable[[], bool]]:
    """Inside, the first Ctrl-C or SIGTERM only makes the yielded function true; a second one, half
    a second later or more, acts at once. What comes together is one.

    Where one is ignored, as Ctrl-C by `nohup` or in the background of a script, it stays so.
    Outside of the main thread, where Python delivers no signals, the function stays false.

    Example:
        >>> with interruptions() as interrupted:
        ...     signal.raise_signal(signal.SIGTERM)
        ...     interrupted()
        True
    """
    received: list[float] = []

    def remember(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if received and now - received[0] > TOGETHER:
            restore()
            signal.raise_signal(number)
        else:
            received.append(now)

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    if current_thread() is not main_thread():
        yield lambda: False
        return
    handlers = {number: signal.getsignal(number) or signal.SIG_DFL for number in SIGNALS}
    previous = {n: handler for n, handler in handlers.items() if handler is not signal.SIG_IGN}
    for number in previous:
        signal.signal(number, remember)
    try:
        yield lambda: bool(received)
    finally:
        restore()
