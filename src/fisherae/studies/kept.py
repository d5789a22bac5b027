"""What has been measured is kept in files, and measured once."""

import contextlib
import dataclasses
import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import safetensors.torch
from torch import Tensor

from fisherae.errors import InputError
from fisherae.files import read_json, read_tensors, write_atomically, write_json

__all__ = ["Kept"]


class Measurement(Protocol):
    """Any dataclass of numbers and names."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


T = TypeVar("T", bound=Measurement)


@dataclass(frozen=True)
class Kept:
    """Measurements in a folder, each under the protocol by which it was made.

    What is missing or damaged is measured, and said to be; what differs in its protocol, or in what
    all measurements here depend on, is kept elsewhere.

    Attributes:
        folder: of the files.
        depends: what every measurement depends on, plain data.

    Example:
        >>> import tempfile, torch
        >>> kept = Kept(Path(tempfile.mkdtemp()), {"seed": 0})
        >>> kept.tensors("maps", {"images": 2}, lambda: {"map": torch.zeros(2)})
        {'map': tensor([0., 0.])}
        >>> kept.tensors("maps", {"images": 2}, lambda: {"map": torch.ones(2)})
        {'map': tensor([0., 0.])}
    """

    folder: Path
    depends: dict[str, Any]

    def rows(
        self, name: str, protocol: dict[str, Any], kind: type[T], measure: Callable[[], list[T]]
    ) -> list[T]:
        """Measurements that are dataclasses of one kind."""
        file = self._file(name, protocol, "json")
        with contextlib.suppress(InputError, KeyError, TypeError):
            return [kind(**row) for row in read_json(file)["values"]]
        self._announce(name)
        values = measure()
        rows = [dataclasses.asdict(value) for value in values]
        write_json(file, {"protocol": {**protocol, **self.depends}, "values": rows})
        return values

    def tensors(
        self, name: str, protocol: dict[str, Any], measure: Callable[[], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Measurements that are tensors by name."""
        file = self._file(name, protocol, "safetensors")
        with contextlib.suppress(InputError):
            return read_tensors(file)
        self._announce(name)
        tensors = measure()
        write_atomically(file, safetensors.torch.save(tensors))
        return tensors

    def _announce(self, name: str) -> None:
        print(f"measuring {name} of {self.folder.parent}", file=sys.stderr, flush=True)

    def _file(self, name: str, protocol: dict[str, Any], suffix: str) -> Path:
        key = json.dumps({**protocol, **self.depends}, sort_keys=True)
        digest = hashlib.sha256(key.encode()).hexdigest()[:12]
        return self.folder / f"{name}-{digest}.{suffix}"
