"""A progress bar over things that are gone through one by one."""

from collections.abc import Iterable
from typing import TypeVar

__all__ = ["tracked"]

T = TypeVar("T")


def tracked(items: Iterable[T], what: str, progress: bool) -> Iterable[T]:
    """The items, with a bar where one is wanted and the output is a terminal.

    Example:
        >>> list(tracked(range(3), "counting", progress=False))
        [0, 1, 2]
    """
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    hidden = not (progress and console.is_terminal)
    return track(items, what, console=console, transient=True, disable=hidden)
