"""Files that are either whole or not there."""

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fisherae.errors import InputError

if TYPE_CHECKING:  # the command line's help must not wait for torch
    from torch import Tensor

__all__ = [
    "read_json",
    "read_tensors",
    "replace",
    "require_folder",
    "write_atomically",
    "write_json",
]

DEEPEST = 32  # nesting of JSON: twice of what is ever written


def write_atomically(path: Path | str, content: bytes | str) -> None:
    """Writes a file through a temporary one beside it, so that no reader sees half of it.

    Example:
        >>> target = Path(tempfile.mkdtemp()) / "note.txt"
        >>> write_atomically(target, "whole")
        >>> target.read_text(), len(list(target.parent.iterdir()))
        ('whole', 1)
    """
    path = Path(path)
    content = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def replace(source: Path | str, target: Path) -> None:
    """Renames a file or directory, for good: the new name outlives a power failure, too."""
    os.replace(source, target)
    if os.name == "posix":  # elsewhere a directory cannot be opened
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def write_json(path: Path | str, content: Any) -> None:
    """Writes readable JSON atomically; numbers must be finite."""
    write_atomically(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Reads JSON.

    Raises:
        InputError: if the file is missing or damaged, or nested so deeply that recursive functions
            cannot take it.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a readable JSON file ({error})") from None
    if _is_deeper(content, DEEPEST):
        raise InputError(f"{path}: not a readable JSON file (nested deeper than {DEEPEST} levels)")
    return content


def read_tensors(path: Path | str) -> "dict[str, Tensor]":
    """Reads the tensors of a safetensors file, which holds numbers only: no code is executed.

    Raises:
        InputError: if the file is missing or damaged.
    """
    import safetensors.torch

    try:
        return safetensors.torch.load_file(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, KeyError, safetensors.SafetensorError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from None


def require_folder(path: Path | str) -> None:
    """Asks whether files can be written into a folder, there or not yet, before any work is done.

    Raises:
        InputError: a file is in its place, or it must not be written.
    """
    path = Path(path)
    nearest = next(p for p in (path, *path.absolute().parents) if os.path.exists(p))
    if not nearest.is_dir():
        raise InputError(f"{nearest} is a file: give a directory")
    try:
        tempfile.TemporaryFile(dir=nearest).close()  # permissions alone do not tell
    except OSError as error:
        raise InputError(
            f"{nearest} cannot be written ({error.strerror}): give another directory than {path}"
        ) from None


def _is_deeper(content: Any, levels: int) -> bool:
    """Without recursion, which is what has a limit."""
    at_level = [content]
    for _ in range(levels):
        containers = [item for item in at_level if isinstance(item, dict | list)]
        at_level = [
            inner
            for container in containers
            for inner in (container.values() if isinstance(container, dict) else container)
        ]
    return bool(at_level)
