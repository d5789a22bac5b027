"""Run directories that are none, or damaged: refused like bad command lines, and nothing in them is
executed."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def a_file(root: Path) -> None:
    (root / "note.txt").write_text("mine")


def an_empty_folder(root: Path) -> None:
    (root / "folder").mkdir()


def without(name: str) -> Callable[[Path], None]:
    def prepare(root: Path) -> None:
        path = root / "run" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return prepare


def holding(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda root: (root / "run" / name).write_bytes(content) and None


def recorded(part: str, field: str, value: object) -> Callable[[Path], None]:
    """A run whose config.json says something else."""

    def prepare(root: Path) -> None:
        path = root / "run" / "config.json"
        config = json.loads(path.read_text())
        (config[part] if part else config)[field] = value
        path.write_text(json.dumps(config))

    return prepare


class Bomb:
    """Creates a file when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("executed"),))


DEEP = b"[" * 100_000 + b"]" * 100_000
NO_MODEL = "has no trained model yet: finish its training with --resume"
RESUME = "train digits-fisher --resume --out {run}"

CASES: dict[str, tuple[str, str] | tuple[str, str, Callable[[Path], None]]] = {
    "missing": ("sample nowhere", "nowhere is not a run: it has no config.json"),
    "empty": ("evaluate folder", "folder is not a run", an_empty_folder),
    "a file": ("report note.txt", "note.txt is not a run", a_file),
    "untrained": ("sample {run}", NO_MODEL, without("model")),
    "no weights": ("sample {run}", "no such file", without("model/model.safetensors")),
    "cut config": ("sample {run}", "not a readable JSON", holding("config.json", b'{"family')),
    "empty config": ("sample {run}", "not a readable JSON", holding("config.json", b"")),
    "deep config": ("sample {run}", "not a readable JSON", holding("config.json", DEEP)),
    "config no object": ("sample {run}", "not the configuration", holding("config.json", b"[]")),
    "pickled config": (
        "evaluate {run}",
        "not a readable JSON",
        holding("config.json", pickle.dumps(Bomb())),
    ),
    "pickled latents": (
        "sample {run}",
        "not the latents of a run",
        holding("latents.safetensors", pickle.dumps(Bomb())),
    ),
    "family": ("sample {run}", "unknown family 'flow'", recorded("", "family", "flow")),
    "family list": ("sample {run}", "unknown family ['vae']", recorded("", "family", ["vae"])),
    "name": ("sample {run}", "name is 5", recorded("", "name", 5)),
    "field": ("sample {run}", "unknown field model.dims", recorded("model", "dims", 3)),
    "part": ("sample {run}", "training must be an object", recorded("", "training", 3)),
    "type": ("sample {run}", "epochs is '9'", recorded("training", "epochs", "9")),
    "null": ("evaluate {run}", "order is None", recorded("objective", "order", None)),
    "range": ("sample {run}", "keep is 0", recorded("training", "keep", 0)),
    "mixed types": ("report {run}", "betas is (0.9,", recorded("training", "betas", [0.9, "x"])),
    "resumed type": (
        RESUME,
        "a value of a wrong type: dim is '8'",
        recorded("model", "dim", "8"),
    ),
    "no latents": ("sample {run}", "latents.safetensors: no", without("latents.safetensors")),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(case: str, refused: Callable[..., None]) -> None:
    refused(*CASES[case])


def test_the_bomb_is_a_real_one(alone: Path) -> None:
    pickle.loads(pickle.dumps(Bomb()))
    assert (alone / "executed").exists()
