"""Checkpoints: all that is needed to continue bit for bit, in safetensors and JSON, unpickled."""

import dataclasses
import hashlib
import os
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fisherae.errors import InputError, NonFiniteError
from fisherae.files import read_json, write_atomically, write_json

__all__ = ["Checkpoint", "TrainingState"]

TENSOR_FILES = ("objective", "optimizer", "random", "window")
MANIFEST = "checkpoint.json"


@dataclass
class TrainingState:
    """Where a training is: steps and images done, seconds spent, steps in an epoch."""

    step: int
    images: int
    seconds: float
    steps_per_epoch: int

    @property
    def name(self) -> str:
        """The name of its checkpoint."""
        return f"step-{self.step:08d}"

    @property
    def epoch(self) -> int:
        """Complete epochs, which is the number of the current one."""
        return self.step // self.steps_per_epoch

    @property
    def step_in_epoch(self) -> int:
        """Steps done in the current epoch."""
        return self.step % self.steps_per_epoch


@dataclass(frozen=True)
class Checkpoint:
    """One moment of a training, as tensors on the CPU and plain numbers.

    On disk it is a directory `step-00001234` of `objective`, `optimizer`, `random` and
    `window` `.safetensors`, `state.json`, and `checkpoint.json` with the SHA-256 of each.

    Attributes:
        objective: state dict of the objective, the model and all its trained parts.
        optimizer: tensors of the optimizer's state, named `parameter.quantity`.
        random: states of the random number generators, one row per process.
        window: loss terms of the steps that no line of metrics has reported yet.
        state: where the training is.
        groups: parameter groups and non-tensor state of the optimizer.

    Example:
        >>> import tempfile, torch
        >>> layer = nn.Linear(2, 1)
        >>> optimizer = torch.optim.Adam(layer.parameters())
        >>> checkpoint = Checkpoint.take(layer, optimizer, TrainingState(7, 70, 0.1, 5), {}, {})
        >>> directory = Path(tempfile.mkdtemp())
        >>> checkpoint.save(directory, keep=2).name
        'step-00000007'
        >>> Checkpoint.latest(directory).restore(nn.Linear(3, 1))
        Traceback (most recent call last):
        fisherae.errors.InputError: the checkpoint is of another architecture: weight has shape \
(1, 2) in the checkpoint, (1, 3) in the model
    """

    objective: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    random: dict[str, Tensor]
    window: dict[str, Tensor]
    state: TrainingState
    groups: dict[str, Any]

    @classmethod
    def take(
        cls,
        objective: nn.Module,
        optimizer: Optimizer,
        state: TrainingState,
        random: dict[str, Tensor],
        window: dict[str, Tensor],
    ) -> Self:
        """Copy a moment of a training.

        Raises:
            NonFiniteError: a parameter is not finite; the message names it.
        """
        for name, parameter in objective.named_parameters():
            if not parameter.isfinite().all():
                raise NonFiniteError(f"parameter {name} is not finite after step {state.step}")
        tensors, groups = _flatten(optimizer.state_dict())
        return cls(
            _copy(objective.state_dict()),
            _copy(tensors),
            _copy(random),
            _copy(window),
            dataclasses.replace(state),
            groups,
        )

    def save(self, directory: Path, keep: int) -> Path:
        """Write the checkpoint whole or not at all, then delete all but the newest `keep`."""
        path = directory / self.state.name
        temporary = directory / ".saving"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for name in TENSOR_FILES:
            tensors = safetensors.torch.save(getattr(self, name))
            write_atomically(temporary / f"{name}.safetensors", tensors)
        state = {**dataclasses.asdict(self.state), "optimizer": self.groups}
        write_json(temporary / "state.json", state)
        write_json(temporary / MANIFEST, {"sha256": _digests(temporary)})
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
        for old in _saved(directory)[:-keep]:
            shutil.rmtree(old)
        return path

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a checkpoint.

        Raises:
            InputError: a file is missing or not as it was written.
        """
        if read_json(path / MANIFEST) != {"sha256": _digests(path)}:
            raise InputError(f"{path} is damaged: its files do not match their SHA-256")
        tensors = {
            name: safetensors.torch.load((path / f"{name}.safetensors").read_bytes())
            for name in TENSOR_FILES
        }
        state = read_json(path / "state.json")
        groups = state.pop("optimizer")
        return cls(**tensors, state=TrainingState(**state), groups=groups)

    @classmethod
    def latest(cls, directory: Path) -> Self:
        """The newest intact checkpoint of a directory; each damaged one before it is a warning.

        Raises:
            InputError: there is none.
        """
        for path in reversed(_saved(directory)):
            try:
                return cls.load(path)
            except InputError as error:
                warnings.warn(f"{error}; using the checkpoint before it", stacklevel=2)
        raise InputError(f"{directory} has no intact checkpoint: train again, with another --out")

    def restore(self, objective: nn.Module, optimizer: Optimizer | None = None) -> None:
        """Put the weights into an objective, and the optimizer's state into an optimizer.

        Raises:
            InputError: the objective is of another architecture; the message names the first
                tensor that differs, with both shapes.
        """
        _require_same_shapes(self.objective, objective.state_dict())
        objective.load_state_dict(self.objective)
        if optimizer is not None:
            optimizer.load_state_dict(_unflatten(self.optimizer, self.groups))


def _saved(directory: Path) -> list[Path]:
    """The checkpoints in a directory, oldest first."""
    return sorted(directory.glob("step-*"))


def _copy(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU, and in the one memory format that safetensors knows."""
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


def _flatten(state_dict: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    entries = {
        f"{index}.{name}": value
        for index, state in state_dict["state"].items()
        for name, value in state.items()
    }
    tensors = {name: value for name, value in entries.items() if isinstance(value, Tensor)}
    numbers = {name: value for name, value in entries.items() if name not in tensors}
    return tensors, {"param_groups": state_dict["param_groups"], "numbers": numbers}


def _unflatten(tensors: dict[str, Tensor], groups: dict[str, Any]) -> dict[str, Any]:
    state: dict[int, dict[str, Any]] = {}
    for entry, value in {**tensors, **groups["numbers"]}.items():
        index, name = entry.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    return {"state": state, "param_groups": groups["param_groups"]}


def _digests(path: Path) -> dict[str, str]:
    names = [*(f"{name}.safetensors" for name in TENSOR_FILES), "state.json"]
    try:
        return {name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in names}
    except OSError as error:
        raise InputError(f"{path}: a file cannot be read: {error}") from error


def _require_same_shapes(saved: dict[str, Tensor], current: dict[str, Tensor]) -> None:
    for name in {**current, **saved}:
        there, here = _shape(saved.get(name)), _shape(current.get(name))
        if there != here:
            raise InputError(
                f"the checkpoint is of another architecture: {name} has shape {there} "
                f"in the checkpoint, {here} in the model"
            )


def _shape(tensor: Tensor | None) -> str:
    return "none (it is missing)" if tensor is None else str(tuple(tensor.shape))
