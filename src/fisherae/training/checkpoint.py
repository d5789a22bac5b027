"""Checkpoints: all that is needed to continue bit for bit, in safetensors and JSON, unpickled."""

import dataclasses
import hashlib
import math
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fisherae.errors import InputError, NonFiniteError
from fisherae.files import read_json, replace, write_atomically, write_json

__all__ = ["Checkpoint", "TrainingState"]

TENSOR_FILES = ("objective", "optimizer", "random", "window")
MANIFEST = "checkpoint.json"
# Names that no checkpoint has.
SAVING, DISCARDED = ".saving", ".discarded"


@dataclass
class TrainingState:
    """Where a training is: steps and images done, seconds spent, steps in an epoch; at the end of
    an epoch also the error on the validation images, if there are any."""

    step: int
    images: int
    seconds: float
    steps_per_epoch: int
    validation_error: float | None = None

    def __post_init__(self) -> None:
        counts = (self.step, self.images, self.steps_per_epoch - 1)
        if any(not isinstance(count, int) or count < 0 for count in counts):
            raise InputError(f"not the state of a training: {self}")

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
        """Write the checkpoint whole or not at all, then delete all but the newest `keep` and the
        one with the smallest validation error."""
        path, temporary = directory / self.state.name, directory / SAVING
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            self._write(temporary)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)  # makes room where the disk is full
            raise
        if path.exists():
            _discard(path)
        replace(temporary, path)
        for old in _superfluous(directory, keep):
            _discard(old)
        return path

    def _write(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        for name in TENSOR_FILES:
            tensors = safetensors.torch.save(getattr(self, name))
            write_atomically(directory / f"{name}.safetensors", tensors)
        state = {**dataclasses.asdict(self.state), "optimizer": self.groups}
        write_json(directory / "state.json", state)
        write_json(directory / MANIFEST, {"sha256": _digests(directory)})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a checkpoint.

        Raises:
            InputError: a file is missing or not as it was written.
        """
        if read_json(path / MANIFEST) != {"sha256": _digests(path)}:
            raise InputError(f"{path} is damaged: its files do not match their SHA-256")
        try:
            tensors = {
                name: safetensors.torch.load((path / f"{name}.safetensors").read_bytes())
                for name in TENSOR_FILES
            }
            state = dict(read_json(path / "state.json"))
            groups = state.pop("optimizer")
            return cls(**tensors, state=TrainingState(**state), groups=groups)
        except (KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
            raise InputError(f"{path} is not the checkpoint of a training: {error}") from None

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

    @staticmethod
    def latest_state(directory: Path) -> TrainingState | None:
        """Where the training of a directory's newest checkpoint is; None where that is not known:
        there is none, or it is damaged."""
        try:
            state = dict(read_json(_saved(directory)[-1] / "state.json"))
            state.pop("optimizer", None)
            return TrainingState(**state)
        except (IndexError, InputError, TypeError, ValueError):
            return None

    def restore(self, objective: nn.Module, optimizer: Optimizer | None = None) -> None:
        """Put the weights into an objective, and the optimizer's state into an optimizer.

        Raises:
            InputError: the objective or the optimizer is of another architecture; the message
                names the first tensor that differs, with both shapes.
        """
        _require_same_shapes(self.objective, objective.state_dict())
        if optimizer is not None:
            try:
                _require_same_groups(self.optimizer, self.groups, optimizer)
                optimizer.load_state_dict(_unflatten(self.optimizer, self.groups))
                _lay_as_weights(optimizer)
            except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
                raise InputError(
                    f"the checkpoint's optimizer cannot be restored: {error}"
                ) from None
        objective.load_state_dict(self.objective)


def _lay_as_weights(optimizer: Optimizer) -> None:
    """What is kept of each weight in the layout of the weight, which a file does not know: a fused
    step walks through both as they lie in memory."""
    for weight, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == weight.shape != ():
                state[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)


def _saved(directory: Path) -> list[Path]:
    """The checkpoints in a directory, oldest first."""
    return sorted(directory.glob("step-*"))


def _superfluous(directory: Path, keep: int) -> list[Path]:
    """All but the newest `keep` checkpoints and the best one."""
    saved = _saved(directory)
    errors = {path: _validation_error(path) for path in saved}
    best = min(errors.values())
    return [path for path in saved[:-keep] if errors[path] == math.inf or errors[path] > best]


def _validation_error(path: Path) -> float:
    """Of a checkpoint; infinite where it is not known."""
    try:
        error = read_json(path / "state.json")["validation_error"]
    except (InputError, KeyError, TypeError):
        return math.inf
    return error if isinstance(error, float) else math.inf


def _discard(path: Path) -> None:
    """Deletes a checkpoint; cut off in between, it leaves nothing that looks like one."""
    rubbish = path.with_name(DISCARDED)
    shutil.rmtree(rubbish, ignore_errors=True)
    replace(path, rubbish)
    shutil.rmtree(rubbish)


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


def _require_same_groups(
    tensors: dict[str, Tensor], groups: dict[str, Any], optimizer: Optimizer
) -> None:
    saved = [len(group["params"]) for group in groups["param_groups"]]
    current = [len(group["params"]) for group in optimizer.param_groups]
    if saved != current:
        raise InputError(
            f"the checkpoint is of another optimizer: groups of {saved} parameters in the "
            f"checkpoint, of {current} here"
        )
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    moments = {name: tensor for name, tensor in tensors.items() if tensor.dim()}
    own = {name: parameters[int(name.split(".", 1)[0])] for name in moments}
    _require_same_shapes(moments, own)


def _shape(tensor: Tensor | None) -> str:
    return "none (it is missing)" if tensor is None else str(tuple(tensor.shape))
