"""Files that are either whole or not there."""

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from fisherae.errors import InputError

__all__ = ["read_json", "replace", "write_atomically", "write_json"]


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
        InputError: if the file is missing or damaged.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable JSON file ({error})") from None
