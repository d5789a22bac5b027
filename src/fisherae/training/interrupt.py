"""Ctrl-C between two steps instead of within one."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType

__all__ = ["interruptions"]


@contextmanager
def interruptions() -> Iterator[Callable[[], bool]]:
    """Inside, the first Ctrl-C only makes the yielded function true; a second one acts at once.

    Where Ctrl-C is ignored, as by `nohup` or in the background of a script, it stays so. Outside of
    the main thread, where Python delivers no signals, the function stays false.

    Example:
        >>> with interruptions() as interrupted:
        ...     signal.raise_signal(signal.SIGINT)
        ...     interrupted()
        True
    """
    received = []

    def remember(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(signal.SIGINT, previous)

    previous = signal.getsignal(signal.SIGINT) or signal.SIG_DFL
    if current_thread() is not main_thread() or previous is signal.SIG_IGN:
        yield lambda: False
        return
    signal.signal(signal.SIGINT, remember)
    try:
        yield lambda: bool(received)
    finally:
        signal.signal(signal.SIGINT, previous)
