import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from fisherae.errors import InputError, NonFiniteError
from fisherae.training.checkpoint import Checkpoint, TrainingState

FILES = (
    "checkpoint.json",
    "objective.safetensors",
    "optimizer.safetensors",
    "random.safetensors",
    "state.json",
    "window.safetensors",
)


def trained(optimizer_class: type, **options: object) -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    optimizer = optimizer_class(model.parameters(), **options)
    for _ in range(3):
        step(model, optimizer, torch.randn(8, 3))
    return model, optimizer


def step(model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor) -> None:
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()


def take(model: nn.Module, optimizer: torch.optim.Optimizer, step: int = 3) -> Checkpoint:
    random, window = {"cpu": torch.get_rng_state()[None]}, {"rows": torch.rand(2, 3)}
    return Checkpoint.take(model, optimizer, TrainingState(step, 8 * step, 0.1, 5), random, window)


@pytest.mark.parametrize(
    ("optimizer_class", "options"),
    [
        (torch.optim.Adam, {"amsgrad": True, "betas": (0.5, 0.999)}),
        (torch.optim.AdamW, {"weight_decay": 0.1}),
        (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
        (torch.optim.RMSprop, {"centered": True}),
    ],
)
def test_a_restored_optimizer_continues_bit_for_bit(
    tmp_path: Path, optimizer_class: type, options: dict[str, object]
) -> None:
    model, optimizer = trained(optimizer_class, **options)
    take(model, optimizer).save(tmp_path, keep=1)
    copy, copy_optimizer = trained(optimizer_class, **options)
    Checkpoint.latest(tmp_path).restore(copy, copy_optimizer)
    for _ in range(3):
        x = torch.randn(8, 3)
        step(model, optimizer, x)
        step(copy, copy_optimizer, x)
    for name, value in model.state_dict().items():
        assert torch.equal(value, copy.state_dict()[name]), name


def test_everything_is_read_back_as_it_was(tmp_path: Path) -> None:
    checkpoint = take(*trained(torch.optim.Adam))
    loaded = Checkpoint.load(checkpoint.save(tmp_path, keep=1))
    for group in ("objective", "optimizer", "random", "window"):
        written, read = getattr(checkpoint, group), getattr(loaded, group)
        assert written.keys() == read.keys()
        assert all(torch.equal(value, read[name]) for name, value in written.items())
    assert loaded.state == checkpoint.state


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    model, optimizer = trained(torch.optim.Adam)
    errors = {1: None, 2: 0.4, 3: 0.2, 4: 0.3, 5: None, 6: 0.5}
    for number, error in errors.items():
        state = TrainingState(number, 8 * number, 0.1, 5, error)
        Checkpoint.take(model, optimizer, state, {}, {}).save(tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"step-{number:08}" for number in (3, 5, 6)
    ]


def test_a_checkpoint_is_a_copy() -> None:
    model, optimizer = trained(torch.optim.Adam)
    checkpoint = take(model, optimizer)
    before = checkpoint.objective["0.weight"].clone()
    step(model, optimizer, torch.randn(8, 3))
    assert torch.equal(checkpoint.objective["0.weight"], before)
    assert not torch.equal(model.state_dict()["0.weight"], before)


def test_nothing_is_pickled(tmp_path: Path) -> None:
    path = take(*trained(torch.optim.Adam)).save(tmp_path, keep=1)
    assert sorted(file.name for file in path.iterdir()) == sorted(FILES)
    for file in path.iterdir():
        assert file.read_bytes()[:2] not in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04")
        if file.suffix == ".safetensors":
            with safe_open(file, "pt") as tensors:
                assert len(tensors.keys()) > 0
        else:
            assert isinstance(json.loads(file.read_text()), dict)


def test_the_newest_are_kept(tmp_path: Path) -> None:
    model, optimizer = trained(torch.optim.Adam)
    for number in (0, 9, 10, 100):
        take(model, optimizer, number).save(tmp_path, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000010", "step-00000100"]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", ["flip", "cut", "delete"])
def test_a_damaged_newest_is_skipped(tmp_path: Path, file: str, damage: str) -> None:
    model, optimizer = trained(torch.optim.Adam)
    for number in (1, 2):
        path = take(model, optimizer, number).save(tmp_path, keep=2)
    content = bytearray((path / file).read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "delete":
        (path / file).unlink()
    else:
        (path / file).write_bytes(content if damage == "flip" else content[: len(content) // 2])
    with pytest.warns(UserWarning, match="step-00000002.*using the checkpoint before it"):
        assert Checkpoint.latest(tmp_path).state.step == 1
    take(model, optimizer, 2).save(tmp_path, keep=2)
    assert Checkpoint.latest(tmp_path).state.step == 2


def test_a_directory_without_checkpoints_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no intact checkpoint"):
        Checkpoint.latest(tmp_path)


def test_what_a_crash_left_behind_is_ignored_and_removed(tmp_path: Path) -> None:
    checkpoint = take(*trained(torch.optim.Adam))
    (tmp_path / ".saving").mkdir()
    (tmp_path / ".saving" / "objective.safetensors").write_bytes(b"half")
    path = checkpoint.save(tmp_path, keep=2)
    assert list(tmp_path.iterdir()) == [path]
    assert Checkpoint.load(path).state.step == 3


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)),
            r"2\.weight has shape \(1, 4\) in the checkpoint, \(2, 4\) in the model",
        ),
        (nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), r"2\.weight .* none .* in the model"),
        (
            nn.Sequential(nn.Linear(3, 4), nn.PReLU(4), nn.Linear(4, 1)),
            r"1\.bias .* none",
        ),
    ],
)
def test_another_architecture_is_named(other: nn.Module, message: str) -> None:
    checkpoint = take(*trained(torch.optim.Adam))
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(InputError, match=message):
        checkpoint.restore(other)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


def test_parameters_must_be_finite_but_buffers_may_be_infinite() -> None:
    model, optimizer = trained(torch.optim.Adam)
    model.register_buffer("support", torch.tensor([float("-inf"), float("inf")]))
    take(model, optimizer)
    with torch.no_grad():
        model.get_parameter("2.bias").fill_(float("inf"))
    with pytest.raises(NonFiniteError, match=r"2\.bias is not finite after step 3"):
        take(model, optimizer)


def rewritten(path: Path, **changes: object) -> Path:
    """A checkpoint whose state someone has changed, and its checksum with it."""
    state = json.loads((path / "state.json").read_text()) | changes
    (path / "state.json").write_text(json.dumps(state))
    manifest = json.loads((path / "checkpoint.json").read_text())
    digest = hashlib.sha256((path / "state.json").read_bytes()).hexdigest()
    manifest["sha256"]["state.json"] = digest
    (path / "checkpoint.json").write_text(json.dumps(manifest))
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"step": "x"},
        {"step": -1},
        {"images": 1.5},
        {"steps_per_epoch": 0},
        {"nonsense": 1},
        {"optimizer": []},
        {"optimizer": {}},
        {"optimizer": {"param_groups": [{}], "numbers": {}}},
        {"optimizer": {"param_groups": [{"params": [0]}], "numbers": {}}},
        {"optimizer": {"param_groups": 3, "numbers": {"a": 1}}},
    ],
    ids=str,
)
def test_a_forged_state_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    model, optimizer = trained(torch.optim.Adam)
    path = rewritten(take(model, optimizer).save(tmp_path, keep=1), **changes)
    with pytest.raises(InputError, match=r"state|checkpoint"):
        Checkpoint.load(path).restore(model, optimizer)


def test_what_is_kept_of_a_weight_lies_as_the_weight(tmp_path: Path) -> None:
    """A file knows no layout, and a fused step walks through both as they lie in memory."""

    def begun() -> tuple[nn.Module, torch.optim.Adam]:
        model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        return model, torch.optim.Adam(model.parameters(), fused=True)

    def step(model: nn.Module, optimizer: torch.optim.Adam) -> None:
        optimizer.zero_grad()
        model(torch.linspace(0, 1, 300).view(1, 3, 10, 10)).square().sum().backward()
        optimizer.step()

    model, optimizer = begun()
    step(model, optimizer)
    state = TrainingState(1, 1, 0.0, 1)
    Checkpoint.take(model, optimizer, state, {}, {}).save(tmp_path, keep=1)
    other, resumed = begun()
    Checkpoint.latest(tmp_path).restore(other, resumed)
    for one in ((model, optimizer), (other, resumed)):
        step(*one)
    torch.testing.assert_close(other.state_dict(), model.state_dict(), rtol=0, atol=0)
