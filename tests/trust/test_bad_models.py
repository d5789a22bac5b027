"""Models, checkpoints and metrics that were damaged or made up: refused. Nothing in them is
executed, and no memory is taken for what they only declare."""

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import fisherae as fae
from fisherae.evaluation.robustness import RobustnessPoint
from fisherae.studies.kept import Kept
from fisherae.training.checkpoint import Checkpoint, TrainingState
from fisherae.training.run import RunDirectory

WEIGHTS, CONFIG = "model.safetensors", "config.json"
Damage = Callable[[Path], object]


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.marker,))


def pickled(name: str, dump: Callable[[Any], bytes] = pickle.dumps) -> Damage:
    return lambda path: (path / name).write_bytes(dump(Bomb(path / "executed")))


def by_torch(bomb: Bomb) -> bytes:
    file = Path(bomb.marker.parent / "by-torch")
    torch.save(bomb, file)
    return file.read_bytes()


def without(name: str) -> Damage:
    return lambda path: (path / name).unlink()


def holding(name: str, content: bytes) -> Damage:
    return lambda path: (path / name).write_bytes(content)


def changed(name: str, change: Callable[[bytes], bytes]) -> Damage:
    return lambda path: (path / name).write_bytes(change((path / name).read_bytes()))


def header(declared: object, body: bytes = b"") -> Damage:
    """Weights with a header of one's own."""
    text = json.dumps(declared).encode()
    return holding(WEIGHTS, len(text).to_bytes(8, "little") + text + body)


def config(part: str, value: Any) -> Damage:
    """Another part, or some other arguments of it."""

    def damage(path: Path) -> None:
        content = json.loads((path / CONFIG).read_text())
        old = content.get(part)
        content[part] = old | value if isinstance(value, dict) and old else value
        (path / CONFIG).write_text(json.dumps(content))

    return damage


def weights(**tensors: Tensor | None) -> Damage:
    """Other tensors; None: left out. In names, `__` stands for a dot."""

    def damage(path: Path) -> None:
        held: dict[str, Any] = safetensors.torch.load_file(path / WEIGHTS)
        held |= {name.replace("__", "."): tensor for name, tensor in tensors.items()}
        kept = {name: tensor for name, tensor in held.items() if tensor is not None}
        (path / WEIGHTS).write_bytes(safetensors.torch.save(kept))

    return damage


def as_integers(path: Path) -> None:
    held = safetensors.torch.load_file(path / WEIGHTS)
    (path / WEIGHTS).write_bytes(safetensors.torch.save({n: t.int() for n, t in held.items()}))


LARGE, HUGE, ENDLESS = 10**9, 10**12, 10**30
DECLARED = {"dtype": "F32", "shape": [HUGE], "data_offsets": [0, 4 * HUGE]}
OTHER, NO_JSON, NO_WEIGHTS = "weights of another", "not a readable JSON", "not a readable safetens"

MODELS: dict[str, tuple[Damage, str]] = {
    "no config": (without(CONFIG), "config.json: no such file"),
    "no weights": (without(WEIGHTS), "model.safetensors: no such file"),
    "config: empty": (holding(CONFIG, b""), NO_JSON),
    "config: cut": (changed(CONFIG, lambda text: text[:99]), NO_JSON),
    "config: binary": (holding(CONFIG, bytes(range(256))), NO_JSON),
    "config: deep": (holding(CONFIG, b'{"a":' * 100_000), NO_JSON),
    "config: deep enough": (holding(CONFIG, b"[" * 500 + b"]" * 500), "nested deeper than 32"),
    "config: pickle": (pickled(CONFIG), NO_JSON),
    "config: list": (holding(CONFIG, b"[]"), "not the configuration of an auto-encoder"),
    "config: null": (holding(CONFIG, b"null"), "not the configuration of an auto-encoder"),
    "config: endless number": (holding(CONFIG, b'{"encoder": ' + b"9" * 5000 + b"}"), NO_JSON),
    "unknown part": (config("critic", {}), "unknown part 'critic'; known: encoder, decoder, prior"),
    "no part": (config("prior", None), "the prior is your own module, hand it over: load(path, pr"),
    "part: a word": (config("encoder", "mlp"), "encoder must be an object with the encoder's name"),
    "unknown network": (config("encoder", {"network": "os.system"}), "'os.system' is not known"),
    "unknown prior": (config("prior", {"prior": "cauchy"}), "prior 'cauchy' is not known; choose"),
    "unknown likelihood": (config("likelihood", {"likelihood": "laplace"}), "'laplace' is not"),
    "unknown argument": (config("encoder", {"latents": 3}), "got an unexpected keyword"),
    "activation: a list": (config("encoder", {"activation": ["relu"]}), "['relu'] is not known"),
    "dim: negative": (
        config("decoder", {"dim": -1}),
        "mlp.decoder: dim must be a positive integer",
    ),
    "dim: a word": (config("decoder", {"dim": "3"}), "dim must be a positive integer, got '3'"),
    "dim: a fraction": (config("encoder", {"dim": 2.5}), "got 2.5"),
    "dim: large": (config("encoder", {"dim": LARGE}), f"{OTHER} architecture: encoder"),
    "dim: huge": (config("encoder", {"dim": HUGE}), "mlp.encoder: dim must be a positive integer"),
    "dim: endless": (config("prior", {"dim": ENDLESS}), "prior: dim must be a positive integer"),
    "prior: large": (config("prior", {"dim": LARGE}), f"{OTHER} architecture: prior"),
    "order: large": (config("prior", {"order": LARGE}), "the model needs (3, 1000000000)"),
    "order: endless": (config("prior", {"order": ENDLESS}), "order must be an integer of at least"),
    "shape: large": (config("encoder", {"shape": [LARGE] * 3}), "shape must be of at most"),
    "hidden: large": (config("encoder", {"hidden": [LARGE]}), OTHER),
    "hidden: huge": (config("encoder", {"hidden": [2**31 - 1] * 2}), "that no machine can hold"),
    "hidden: a number": (config("encoder", {"hidden": 8}), "hidden must be a tuple of positive"),
    "support: empty": (config("prior", {"support": [[1.0, 0.0]] * 3}), "is empty: [1.0, 0.0]"),
    "support: too few": (config("prior", {"support": [[0.0, 1.0]] * 2}), "must be one interval"),
    "variance": (config("likelihood", {"variance": -1.0}), "variance must be a positive number"),
    "weights: empty": (holding(WEIGHTS, b""), NO_WEIGHTS),
    "weights: text": (holding(WEIGHTS, b"no weights, but some text"), NO_WEIGHTS),
    "weights: pickle": (pickled(WEIGHTS), NO_WEIGHTS),
    "weights: by torch": (pickled(WEIGHTS, by_torch), NO_WEIGHTS),
    "weights: cut header": (changed(WEIGHTS, lambda held: held[:50]), NO_WEIGHTS),
    "weights: cut": (changed(WEIGHTS, lambda held: held[:-1]), NO_WEIGHTS),
    "weights: longer": (changed(WEIGHTS, lambda held: held + b"more"), NO_WEIGHTS),
    "weights: flipped": (changed(WEIGHTS, lambda held: held[:9] + b"\xff" + held[10:]), NO_WEIGHTS),
    "weights: renamed": (changed(WEIGHTS, lambda held: held.replace(b"5.bias", b"6.bias")), OTHER),
    "header: long": (changed(WEIGHTS, lambda held: b"\xff" * 8 + held[8:]), NO_WEIGHTS),
    "header: list": (header([1]), NO_WEIGHTS),
    "header: huge": (header({"prior.support": DECLARED}), NO_WEIGHTS),
    "header: negative": (header({"w": {**DECLARED, "shape": [-1]}}), NO_WEIGHTS),
    "header: deep": (holding(WEIGHTS, b"\xa0\x86\x01" + bytes(5) + b"[" * 100_000), NO_WEIGHTS),
    "header: no type": (header({"w": {**DECLARED, "dtype": "OBJECT"}}), NO_WEIGHTS),
    "header: nothing in it": (header({}), f"{OTHER} architecture: decoder.1.bias holds nothing"),
    "tensor: missing": (weights(prior__support=None), "prior.support holds nothing, the model nee"),
    "tensor: more": (
        weights(prior__extra=torch.ones(2)),
        "prior.extra holds (2,), the model needs",
    ),
    "tensor: shape": (
        weights(prior__scale=torch.ones(4)),
        "prior.scale holds (4,), the model needs",
    ),
    "tensor: integers": (
        weights(prior__scale=torch.ones(3, dtype=torch.int64)),
        "holds torch.int64",
    ),
    "tensor: all integers": (as_integers, "holds torch.int32, the model needs torch.float32"),
    "tensor: complex": (
        weights(prior__scale=torch.ones(3) + 0j),
        "prior.scale holds torch.complex",
    ),
    "tensor: nan": (
        weights(prior__weight=torch.full((3, 4), torch.nan)),
        "prior.weight is not fini",
    ),
    "tensor: inf": (
        weights(prior__weight=torch.full((3, 4), torch.inf)),
        "prior.weight is not fini",
    ),
    "buffer: nan": (weights(prior__scale=torch.full((3,), torch.nan)), "prior.scale is not finite"),
}


def resigned(name: str, content: bytes) -> Damage:
    """A made-up file whose SHA-256 is right."""

    def damage(path: Path) -> None:
        (path / name).write_bytes(content)
        manifest = json.loads((path / "checkpoint.json").read_text())
        manifest["sha256"][name] = hashlib.sha256(content).hexdigest()
        (path / "checkpoint.json").write_text(json.dumps(manifest))

    return damage


def state(**fields: Any) -> Damage:
    plain = {"step": 1, "images": 2, "seconds": 0.1, "steps_per_epoch": 5}
    groups = {"optimizer": {"param_groups": [], "numbers": {}}}
    content = {name: value for name, value in {**plain, **groups, **fields}.items() if value != ...}
    return resigned("state.json", json.dumps(content).encode())


CHANGED, NONE = "its files do not match their SHA-256", "is not the checkpoint of a training"
CHECKPOINTS: dict[str, tuple[Damage, str]] = {
    "no manifest": (without("checkpoint.json"), "checkpoint.json: no such file"),
    "manifest: pickle": (pickled("checkpoint.json"), NO_JSON),
    "manifest: deep": (holding("checkpoint.json", b"[" * 100_000), NO_JSON),
    "no state": (without("state.json"), "a file cannot be read"),
    "no weights": (without("objective.safetensors"), "a file cannot be read"),
    "state: pickle": (pickled("state.json"), CHANGED),
    "weights: pickle": (pickled("objective.safetensors"), CHANGED),
    "weights: cut": (changed("objective.safetensors", lambda held: held[:-4]), CHANGED),
    "optimizer: flipped": (
        changed("optimizer.safetensors", lambda held: held[:-1] + b"?"),
        CHANGED,
    ),
    "signed text": (resigned("objective.safetensors", b"no weights, but text"), NONE),
    "signed list": (resigned("state.json", b"[]"), NONE),
    "signed depth": (resigned("state.json", b"[" * 99 + b"]" * 99), "nested deeper than 32 levels"),
    "signed state without a step": (state(step=...), NONE),
    "signed state without groups": (state(optimizer=...), NONE),
    "signed state with more": (state(colour="red"), NONE),
}

METRICS: dict[str, tuple[Damage, str]] = {
    "metrics: text": (holding("metrics.jsonl", b"step 1\n"), "metrics.jsonl, line 1: not JSON"),
    "metrics: a number": (holding("metrics.jsonl", b'{"step": 1}\n3\n'), "line 2: not JSON"),
    "metrics: no step": (holding("metrics.jsonl", b'{"total": 1}\n'), "line 1: no step"),
}

CASES = MODELS | {f"checkpoint: {name}": case for name, case in CHECKPOINTS.items()} | METRICS


@pytest.mark.parametrize("case", MODELS)
def test_model_refused(case: str, saved: Path, tmp_path: Path, frugal: Callable[[], Any]) -> None:
    path = shutil.copytree(saved, tmp_path / "model")
    with frugal():
        refused(path, *MODELS[case], fae.load)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    layer = nn.Linear(2, 1)
    optimizer = torch.optim.Adam(layer.parameters())
    moment = TrainingState(7, 70, 0.1, 5)
    random = {"cpu": torch.get_rng_state()[None]}
    taken = Checkpoint.take(layer, optimizer, moment, random, {"rows": torch.zeros(2, 3)})
    return taken.save(tmp_path_factory.mktemp("checkpoints"), keep=1)


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_checkpoint_refused(
    case: str, checkpoint: Path, tmp_path: Path, frugal: Callable[[], Any]
) -> None:
    path = shutil.copytree(checkpoint, tmp_path / "step-00000007")
    with frugal():
        refused(path, *CHECKPOINTS[case], Checkpoint.load)


@pytest.mark.parametrize("case", METRICS)
def test_metrics_refused(case: str, tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", {})
    refused(run.path, *METRICS[case], lambda path: RunDirectory.open(path).metrics())


def refused(path: Path, damage: Damage, says: str, read: Callable[[Path], object]) -> None:
    damage(path)
    with pytest.raises(fae.InputError) as error:
        read(path)
    message = str(error.value)
    assert says in message
    assert str(path) in message
    assert len(message.splitlines()) <= 2
    assert not (path / "executed").exists()


def test_the_bomb_is_a_real_one(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "executed")))
    assert (tmp_path / "executed").exists()


def test_what_is_whole_is_read(saved: Path, checkpoint: Path, frugal: Callable[[], Any]) -> None:
    with frugal():
        assert fae.load(saved).dim == 3
        assert Checkpoint.load(checkpoint).state.step == 7


@pytest.mark.parametrize("content", [b"", b"[]", b'{"values": 5}', b'{"values": [{"colour": 1}]}'])
def test_a_measurement_that_was_kept_and_damaged_is_made_again(
    tmp_path: Path, content: bytes
) -> None:
    kept, point = Kept(tmp_path, {}), RobustnessPoint(0.1, None, 0.2, None, 5, None, 0.3)
    kept.rows("points", {}, RobustnessPoint, lambda: [point])
    kept.tensors("maps", {}, lambda: {"map": torch.ones(2)})
    for path in tmp_path.iterdir():
        path.write_bytes(content)
    for _ in range(2):
        assert kept.rows("points", {}, RobustnessPoint, lambda: [point]) == [point]
        assert kept.tensors("maps", {}, lambda: {"map": torch.ones(2)})["map"].tolist() == [1, 1]
