"""The directory of a training run: its configuration, environment, metrics and checkpoints."""

import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import torch
from filelock import FileLock, Timeout

from fisherae import __version__
from fisherae.errors import InputError
from fisherae.files import read_json, write_atomically, write_json

__all__ = ["RunDirectory", "environment"]

LOCK = ".lock"
PACKAGES = ("torch", "numpy", "accelerate", "datasets", "pillow", "safetensors", "scikit-learn")


@dataclass(frozen=True)
class RunDirectory:
    """One training run on disk; everything in it is JSON, JSON lines or safetensors.

    ====================  ==========================================================
    `config.json`       what was asked for
    `environment.json`  with what it ran: versions, machine, command line
    `metrics.jsonl`     one JSON object per line, each with its `step`
    `checkpoints/`      see `fisherae.training.checkpoint`
    ====================  ==========================================================

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "run"
        >>> run = RunDirectory.create(path, {"recipe": "digits-fisher"})
        >>> run.append_metrics({"step": 10, "total": 0.5})
        >>> RunDirectory.open(path).metrics()
        [{'step': 10, 'total': 0.5}]
    """

    path: Path
    config: dict[str, Any]

    @classmethod
    def create(cls, path: str | Path, config: dict[str, Any]) -> Self:
        """Start a run in a new or empty directory, or one where a run has hardly begun.

        Raises:
            InputError: there is something at `path` already, or `config` is not plain data.
        """
        cls.require_new(path)
        path = Path(path)
        config = json.loads(_to_json(config, path / "config.json"))
        (path / "checkpoints").mkdir(parents=True, exist_ok=True)
        write_json(path / "environment.json", environment())
        write_json(path / "config.json", config)  # the last: with it, there is a run
        return cls(path, config)

    @classmethod
    def resume(cls, path: str | Path, config: dict[str, Any]) -> Self:
        """Continue a run with a configuration, which replaces the recorded one.

        The environment is recorded beside those of the run's earlier parts.

        Raises:
            InputError: there is no run at `path`.
        """
        path = cls.open(path).path
        config = json.loads(_to_json(config, path / "config.json"))
        recorded = read_json(path / "environment.json")
        if not isinstance(recorded, dict) or not isinstance(recorded.get("resumed", []), list):
            raise InputError(f"{path / 'environment.json'}: not the environment of a run")
        recorded.setdefault("resumed", []).append(environment())
        write_json(path / "environment.json", recorded)
        write_json(path / "config.json", config)
        return cls(path, config)

    @staticmethod
    def require_new(path: str | Path) -> None:
        """Check that a run can start at `path`.

        Raises:
            InputError: there is something at `path` already.
        """
        path = Path(path)
        if not path.exists() or (path.is_dir() and _hardly_begun(path)):
            return
        cure = "continue that run with --resume, or " if (path / "config.json").exists() else ""
        raise InputError(f"{path} already exists: {cure}choose another --out")

    @staticmethod
    @contextmanager
    def locked(path: str | Path) -> Iterator[None]:
        """Inside, no other process can write a run at `path`; the lock ends with its process.

        Raises:
            InputError: another one does, or there cannot be a directory at `path`.
        """
        path = Path(path)
        lock = FileLock(path / LOCK, timeout=0)
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise InputError(
                f"{path} is being trained by another process: wait for it, or choose another --out"
            ) from None
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror or error}") from None
        try:
            yield
        finally:
            lock.release()

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open an existing run, to read it or to continue it.

        Raises:
            InputError: there is no run at `path`, or its `config.json` is damaged.
        """
        path = Path(path)
        if not (path / "config.json").is_file():
            raise InputError(f"{path} is not a run: it has no config.json")
        config = read_json(path / "config.json")
        if not isinstance(config, dict):
            raise InputError(f"{path / 'config.json'}: not the configuration of a run")
        return cls(path, config)

    @property
    def checkpoints(self) -> Path:
        """The directory of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def metrics_file(self) -> Path:
        """The file of the metrics."""
        return self.path / "metrics.jsonl"

    def append_metrics(self, metrics: dict[str, Any]) -> None:
        """Append one line; it is on the disk when this returns.

        Raises:
            InputError: a number is not finite.
        """
        line = _to_json(metrics, self.metrics_file) + "\n"
        with self.metrics_file.open("a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def metrics(self) -> list[dict[str, Any]]:
        """All complete lines; a last one cut off by a crash is not counted.

        Raises:
            InputError: a line is not JSON; the message gives its number.
        """
        content = self.metrics_file.read_bytes() if self.metrics_file.exists() else b""
        lines = content.split(b"\n")[:-1]
        return [self._parse(line, number) for number, line in enumerate(lines, start=1)]

    def _parse(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            metrics = dict(json.loads(line))
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(f"{self.metrics_file}, line {number}: not JSON: {error}") from error
        if not isinstance(metrics.get("step"), int):
            raise InputError(f"{self.metrics_file}, line {number}: no step")
        return metrics

    def truncate_metrics(self, step: int) -> None:
        """Forget what was measured after `step`, so that it can be measured again."""
        kept = [line for line in self.metrics() if line["step"] <= step]
        text = "".join(_to_json(line, self.metrics_file) + "\n" for line in kept)
        write_atomically(self.metrics_file, text)


def _hardly_begun(path: Path) -> bool:
    """Whether a directory is empty, or only holds what is written before a run's configuration."""
    names = {entry.name for entry in path.iterdir() if entry.name[0] != "."}
    return names <= {"environment.json", "checkpoints"} and not any(path.glob("checkpoints/*"))


def _to_json(value: Any, path: Path) -> str:
    try:
        return json.dumps(value, allow_nan=False, default=_plain)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: cannot be written as JSON: {error}: {value}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):  # a scalar of numpy or torch
        return value.item()
    raise TypeError(f"{value!r} is a {type(value).__name__}")


def environment() -> dict[str, Any]:
    """With what a run is made: versions, machine, command line, time."""
    return {
        "versions": {
            "fisherae": __version__,
            "python": platform.python_version(),
            **{package: metadata.version(package) for package in PACKAGES},
        },
        "platform": platform.platform(),
        "processor": _processor(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "command": sys.argv,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _processor() -> str:
    # On Linux platform.processor() knows the architecture at best, not the model.
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
