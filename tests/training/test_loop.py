import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fisherae.errors import InputError, NonFiniteError
from fisherae.training import loop
from fisherae.training.checkpoint import Checkpoint
from fisherae.training.config import TrainingConfig
from fisherae.training.loop import train
from fisherae.training.run import RunDirectory


def fit(
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Any,
    run: RunDirectory,
    **options: Any,
) -> None:
    validate = options.pop("validate", None)
    config = TrainingConfig(**{"device": "cpu", "epochs": 1, **options})
    train(objective, optimizer, batches, config, run, progress=False, validate=validate)


def sgd(objective: nn.Module, lr: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD(objective.parameters(), lr=lr)


def test_adam_reaches_the_least_squares_solution(
    regression: Any, batches: Any, run: RunDirectory
) -> None:
    objective = regression().double()
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.1)
    whole = type(batches)(batches.data.double(), batch_size=32)
    fit(objective, optimizer, whole, run, epochs=600, schedule=((400, 0.1),), save_every=600)

    design = np.column_stack([whole.data[:, :-1], np.ones(32)])
    target = whole.data[:, -1].numpy()
    solution, residual, *_ = np.linalg.lstsq(design, target)
    trained = [*objective.linear.weight[0].tolist(), objective.linear.bias.item()]
    np.testing.assert_allclose(trained, solution, rtol=1e-6)
    np.testing.assert_allclose(run.metrics()[-1]["error"], residual[0] / 32, rtol=1e-9)


def test_a_line_has_the_means_of_its_steps(
    regression: Any, batches: Any, run: RunDirectory
) -> None:
    objective = regression(penalty=0.01).double()
    batches = type(batches)(batches.data.double(), batches.batch_size)
    # The same by hand: plain gradient descent on the closed-form gradient.
    weight = objective.linear.weight.detach().numpy()[0].copy()
    bias = objective.linear.bias.item()
    rows = []
    for batch in [*batches.epoch(0), *batches.epoch(1)]:
        x, y = batch[:, :-1].numpy(), batch[:, -1].numpy()
        error = x @ weight + bias - y
        d_weight = 2 * x.T @ error / len(x) + 0.02 * weight
        d_bias = 2 * error.mean()
        penalty = 0.01 * (weight**2).sum()
        norm = np.sqrt((d_weight**2).sum() + d_bias**2)
        rows.append([(error**2).mean(), penalty, (error**2).mean() + penalty, norm])
        weight, bias = weight - 0.05 * d_weight, bias - 0.05 * d_bias

    fit(objective, sgd(objective, 0.05), batches, run, epochs=2, log_every=3)
    lines = run.metrics()
    windows = [rows[0:3], rows[3:4], rows[4:6], rows[6:8]]
    assert [line["step"] for line in lines] == [3, 4, 6, 8]
    assert [line["epoch"] for line in lines] == [0, 0, 1, 1]
    assert [line["images"] for line in lines] == [24, 32, 48, 64]
    for line, window in zip(lines, windows, strict=True):
        means = [line[name] for name in ("error", "penalty", "total", "grad_norm")]
        np.testing.assert_allclose(means, np.mean(window, axis=0), rtol=1e-10)
        np.testing.assert_allclose(line["grad_norm_max"], np.max(window, axis=0)[3], rtol=1e-10)


@dataclass(frozen=True)
class Sum:
    total: Tensor

    def by_name(self) -> dict[str, Tensor]:
        return {"sum": self.total}


class Slopes(nn.Module):
    """The sum of two parameters: every gradient is 1, so each step moves by the learning rate."""

    def __init__(self) -> None:
        super().__init__()
        self.fast = nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.slow = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, rows: Tensor) -> Sum:
        return Sum(self.fast + self.slow)


def test_the_schedule_multiplies_the_rate_of_each_group(batches: Any, run: RunDirectory) -> None:
    objective = Slopes()
    groups: list[dict[str, Any]] = [
        {"params": [objective.fast]},
        {"params": [objective.slow], "lr": 0.03},
    ]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    fit(objective, optimizer, batches, run, epochs=5, schedule=((1, 0.5), (3, 0.1)))

    assert [line["learning_rate"] for line in run.metrics()] == [1.0, 0.5, 0.5, 0.1, 0.1]
    slow = [line["learning_rate/1"] for line in run.metrics()]
    np.testing.assert_allclose(slow, [0.03, 0.015, 0.015, 0.003, 0.003])
    # Four steps per epoch.
    np.testing.assert_allclose(objective.fast.item(), -4 * 2.2)
    np.testing.assert_allclose(objective.slow.item(), -4 * 0.066)


@pytest.mark.parametrize("clip", [0.5, 1e6, None])
def test_a_long_gradient_is_scaled_to_the_limit(
    regression: Any, batches: Any, run: RunDirectory, clip: float | None
) -> None:
    objective = regression()
    whole = type(batches)(batches.data, batch_size=32)
    before = torch.cat([p.detach().flatten() for p in objective.parameters()])
    loss = objective(next(whole.epoch(0))).total
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, objective.parameters())])
    norm = torch.linalg.vector_norm(gradient)
    assert norm > 0.5

    fit(objective, sgd(objective, 1.0), whole, run, clip=clip)
    after = torch.cat([p.detach().flatten() for p in objective.parameters()])
    scale = 0.5 / norm if clip == 0.5 else 1.0
    torch.testing.assert_close(before - after, scale * gradient, rtol=1e-4, atol=1e-6)
    assert run.metrics()[0]["grad_norm"] == pytest.approx(norm.item(), rel=1e-6)


def test_a_non_finite_term_is_named_with_its_step(
    regression: Any, batches: Any, run: RunDirectory
) -> None:
    row = list(batches.epoch(0))[1][3]
    batches.data[(batches.data == row).all(1), 0] = float("nan")
    objective = regression()
    with pytest.raises(NonFiniteError) as error:
        fit(objective, torch.optim.Adam(objective.parameters()), batches, run, epochs=2)

    checkpoint = run.checkpoints / "step-00000000"
    assert str(error.value).startswith("error is nan at step 2. The last good checkpoint")
    assert str(checkpoint) in str(error.value)
    assert "--learning-rate" in str(error.value)
    assert "--clip" in str(error.value)
    assert list(run.checkpoints.iterdir()) == [checkpoint]
    weights = load_file(checkpoint / "objective.safetensors")
    assert all(value.isfinite().all() for value in weights.values())
    assert run.metrics() == []


class Scored(nn.Module):
    """w times the sum of what asks for a gradient itself, as images do that are scored."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.seen: list[Tensor] = []

    def forward(self, rows: Tensor) -> Sum:
        self.seen.append(torch.ones(3, requires_grad=True))
        return Sum(self.weight * self.seen[-1].sum())


def test_only_parameters_get_gradients(batches: Any, run: RunDirectory) -> None:
    objective = Scored()
    config = TrainingConfig(epochs=1, device="cpu")
    train(
        objective,
        torch.optim.SGD(objective.parameters(), 0.5),
        batches,
        config,
        run,
        progress=False,
    )
    assert objective.seen
    assert all(images.grad is None for images in objective.seen)
    assert objective.weight.item() == -1.5 * len(objective.seen)


class Norm(nn.Module):
    """‖w‖ at w = 0: the loss is finite, its gradient is not."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))

    def forward(self, rows: Tensor) -> Sum:
        return Sum(self.weight.square().sum().sqrt())


def test_a_non_finite_gradient_is_named_although_the_loss_is_finite(
    batches: Any, run: RunDirectory
) -> None:
    objective = Norm()
    with pytest.raises(NonFiniteError, match="grad_norm is nan at step 1"):
        fit(objective, sgd(objective), batches, run, log_every=1)


class Bounded(nn.Module):
    """A regression whose loss stays finite where infinite rows leave it no finite gradient."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, rows: Tensor) -> Sum:
        return Sum(self.inner(rows).total.nan_to_num())


def spoilt(batches: Any, *steps: int) -> Any:
    """The same batches, but with infinite rows in some steps."""
    data = batches.data.clone()

    def spoil(step: int) -> None:
        data[:] = torch.inf if step in steps else batches.data

    return type(batches)(data, batches.batch_size, spoil)


def fused(objective: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(objective.parameters(), lr=0.05, fused=True)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("log_every", [1, 3])
def test_a_step_without_a_finite_gradient_moves_nothing(
    regression: Any, batches: Any, run: RunDirectory, log_every: int, device: str
) -> None:
    """On a GPU in a recorded step."""
    inner = regression()
    by_hand = copy.deepcopy(inner)
    how = {"epochs": 3, "log_every": log_every, "device": device, "capture": device == "cuda"}
    objective = Bounded(inner.to(device))
    with pytest.warns(UserWarning, match="step 6 was left out"):
        fit(objective, fused(objective), spoilt(batches, 6), run, **how)

    adam = torch.optim.Adam(by_hand.parameters(), lr=0.05, foreach=False)
    rows = [*batches.epoch(0), *batches.epoch(1), *batches.epoch(2)]
    for own in rows[:5] + rows[6:]:
        adam.zero_grad()
        by_hand(own).total.backward()
        adam.step()
    for ours, theirs in zip(inner.cpu().parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    lines = run.metrics()
    assert [line["step"] for line in lines if "skipped" in line] == [6]
    assert all(math.isfinite(value) for line in lines for value in line.values())


def test_two_such_steps_in_a_hundred_end_it_resumed_or_not(
    regression: Any, batches: Any, run: RunDirectory
) -> None:
    objective, spoilt_batches = Bounded(regression()), spoilt(batches, 30, 70)
    with (
        pytest.warns(UserWarning, match="step 30 was left out"),
        pytest.raises(NonFiniteError, match="grad_norm is nan at step 70"),
    ):
        fit(objective, fused(objective), spoilt_batches, run, epochs=30, save_every=10)
    assert Checkpoint.latest(run.checkpoints).state.step == 40
    config = TrainingConfig(device="cpu", epochs=30, save_every=10)
    with pytest.raises(NonFiniteError, match="grad_norm is nan at step 70"):
        train(objective, fused(objective), spoilt_batches, config, run, resume=True, progress=False)


@pytest.mark.parametrize("log_every", [1, 200])
def test_two_further_apart_do_not(
    regression: Any,
    batches: Any,
    run: RunDirectory,
    log_every: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where each step is saved, which looks at all that were not reported yet."""
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    objective = Bounded(regression())
    rows = type(batches)(batches.data, batch_size=1)
    with pytest.warns(UserWarning, match="was left out") as told:
        fit(objective, fused(objective), spoilt(rows, 3, 103), run, epochs=4, log_every=log_every)
    assert [str(one.message).split("step ")[1].split()[0] for one in told] == ["3", "103"]
    assert sum(line.get("skipped", 0) for line in run.metrics()) == 2


def test_the_first_step_needs_a_gradient(regression: Any, batches: Any, run: RunDirectory) -> None:
    """Of it SGD with momentum makes its memory."""
    objective = Bounded(regression())
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.01, momentum=0.9, fused=True)
    with pytest.raises(NonFiniteError, match="grad_norm is nan at step 1"):
        fit(objective, optimizer, spoilt(batches, 1), run)


def test_the_optimizer_is_left_as_it_was(regression: Any, batches: Any, run: RunDirectory) -> None:
    objective = Bounded(regression())
    optimizer = fused(objective)
    with pytest.warns(UserWarning, match="step 4 was left out"):
        fit(objective, optimizer, spoilt(batches, 4), run)
    before = objective.inner.linear.weight.detach().clone()
    optimizer.zero_grad()
    objective(batches.data).total.backward()
    optimizer.step()
    after = objective.inner.linear.weight
    assert after.isfinite().all()
    assert (after != before).all()


def test_a_fused_optimizer_goes_on_where_another_stopped(
    regression: Any, batches: Any, run: RunDirectory
) -> None:
    objective = regression()
    fit(objective, torch.optim.Adam(objective.parameters(), lr=0.05), batches, run)
    config = TrainingConfig(device="cpu", epochs=2)
    train(objective, fused(objective), batches, config, run, resume=True, progress=False)
    assert run.metrics()[-1]["step"] == 8


def test_a_step_that_overflows_the_weights_is_not_saved(
    regression: Any, batches: Any, run: RunDirectory
) -> None:
    objective = regression()
    whole = type(batches)(batches.data, batch_size=32)
    with pytest.raises(NonFiniteError, match=r"parameter linear\.weight is not finite .* step 1"):
        fit(objective, sgd(objective, 3e38), whole, run)
    assert Checkpoint.latest(run.checkpoints).state.step == 0


def test_validation_gets_a_line_per_epoch(regression: Any, batches: Any, run: RunDirectory) -> None:
    objective = regression()

    def validate() -> dict[str, float]:
        objective.eval()
        return {"bias": objective.linear.bias.item()}

    fit(objective, sgd(objective), batches, run, epochs=2, validate=validate)
    lines = [line for line in run.metrics() if "validation/bias" in line]
    assert [(line["step"], line["epoch"]) for line in lines] == [(4, 0), (8, 1)]
    assert lines[1]["validation/bias"] == objective.linear.bias.item()


def test_each_epoch_trains_in_training_mode(
    regression: Any, batches: Any, run: RunDirectory
) -> None:
    objective, modes = regression().eval(), []
    objective.register_forward_hook(lambda module, *_: modes.append(module.training))

    def validate() -> dict[str, float]:
        objective.eval()
        return {}

    fit(objective, sgd(objective), batches, run, epochs=2, validate=validate)
    assert modes == [True] * 8


def test_a_non_finite_validation_is_named(regression: Any, batches: Any, run: RunDirectory) -> None:
    objective = regression()
    with pytest.raises(NonFiniteError, match="validation/bce is inf after step 4"):
        fit(objective, sgd(objective), batches, run, validate=lambda: {"bce": float("inf")})


class CountReads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts how often a value is brought to Python, which on a GPU waits for it."""

    reads = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.reads += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("clip", [None, 1.0])
def test_no_step_waits_for_the_device(
    regression: Any, batches: Any, tmp_path: Path, clip: float | None
) -> None:
    reads = []
    for size in (8, 2):
        objective = regression(dropout=0.5)
        run = RunDirectory.create(tmp_path / str(size), {})
        source = type(batches)(batches.data, batch_size=size)
        with CountReads() as counter:  # type: ignore[no-untyped-call]
            fit(objective, sgd(objective), source, run, clip=clip)
        reads.append(counter.reads)
    # 4 steps and 16 steps, one line of metrics and two checkpoints each.
    assert reads[0] == reads[1]


def test_one_line_per_epoch_is_printed(
    regression: Any,
    batches: Any,
    run: RunDirectory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    objective = regression()
    config = TrainingConfig(epochs=2, device="cpu")
    train(objective, sgd(objective), batches, config, run, validate=lambda: {"bce": 0.25})
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert f"error {run.metrics()[-2]['error']:.4g}" in lines[1]
    assert lines[1].endswith("validation/bce 0.25")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_said(regression: Any, batches: Any, run: RunDirectory) -> None:
    objective = regression()
    with pytest.raises(InputError, match="no GPU"):
        fit(objective, sgd(objective), batches, run, device="cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_step_is_captured_on_a_gpu_only(regression: Any, batches: Any, run: RunDirectory) -> None:
    objective = regression()
    with pytest.raises(InputError, match=r"training.capture is on, which needs a GPU"):
        fit(objective, sgd(objective), batches, run, device="cpu", capture=True)
