"""What becomes of errors: one clear message without a traceback, and an exit code."""

import os
import re
import select
import sys
import warnings
from collections.abc import Callable
from typing import Any

from fisherae.errors import InputError, NonFiniteError

__all__ = ["exit_code"]


_WITHOUT_MEMORY = re.compile("(allocate|out of|not enough) memory|CUBLAS_STATUS_ALLOC_FAILED")


def exit_code(command: Callable[[], object]) -> int:
    """Runs a command: 0 done, 1 training or sampling failed, 2 something given is wrong, 130
    stopped, 141 nobody reads what it prints. What is a mistake of ours keeps its traceback.

    Example:
        >>> exit_code(lambda: None)
        0
    """
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            command()
            sys.stdout.flush()
    except BrokenPipeError as error:
        return 141 if _nobody_reads() else _complain(_of_files(error), 2)
    except InputError as error:
        return _complain(error, 2)
    except OSError as error:
        return _complain(_of_files(error), 2)
    except NonFiniteError as error:
        return _complain(error, 1)
    except (MemoryError, RuntimeError) as error:
        return _complain(_of_memory(error), 2)
    except KeyboardInterrupt as interrupt:
        return _complain(str(interrupt) or "stopped; give the same command again", 130)
    return 0


def _complain(message: object, code: int) -> int:
    print(f"fisherae: {message}", file=sys.stderr)
    return code


def _nobody_reads() -> bool:
    """Whether it is the standard output that is broken, as by `| head`. What is left of it then
    goes nowhere, for Python would complain of it at the end."""
    output = sys.stdout.fileno()
    watched = select.poll()
    watched.register(output, 0)
    broken = any(event & select.POLLERR for _, event in watched.poll(0))
    if broken:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), output)
    return broken


def _of_files(error: OSError) -> str:
    """What is wrong with a file in words: it is not there, not writable, the disk is full."""
    path = error.filename2 or error.filename  # a file is written under another name, then renamed
    if path is None or error.strerror is None:
        return str(error)
    return f"{path}: {error.strerror}: give another path, or see to its permissions and disk"


def _of_memory(error: Exception) -> str:
    """The same of too little memory, of which torch and numpy speak each in their own way.

    Raises:
        Exception: the error itself, if it is another one, and thus a mistake of ours.
    """
    if not isinstance(error, MemoryError) and not _WITHOUT_MEMORY.search(str(error)):
        raise error
    size = re.search(r"allocate [\d.]+ \w+", str(error))
    return (
        f"not enough memory{f' to {size[0]}' if size else ''}: give smaller numbers, of images, "
        "samples, pixels, latents, or of images in a batch"
    )


def _show_warning(message: Warning | str, *details: Any, **more: Any) -> None:
    """A warning as a user reads it, without the line of code that gave it."""
    print(f"fisherae: warning: {message}", file=sys.stderr)
