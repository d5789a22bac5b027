"""A step that is recorded and replayed is the step that was recorded."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch

from fisherae.recipes import named
from fisherae.recipes.run import load_run, train_recipe
from fisherae.training.capture import set_capturable
from fisherae.training.run import RunDirectory

FAMILIES = ["fisher", "vae", "wae-gan"]
pytestmark = pytest.mark.filterwarnings(r"ignore:.*(posterior collapse|latents tell|as trained)")


def train(
    name: str,
    out: Path,
    resume: bool = False,
    network: str = "mlp",
    objective: Mapping[str, Any] = MappingProxyType({}),
    **training: Any,
) -> list[dict[str, Any]]:
    """On the GPU; the learning rate changes on the way, which makes a new recording."""
    chosen = named.recipe(name)
    values = {"epochs": 3, "log_every": 1, "schedule": ((1, 0.5),), "device": "cuda", **training}
    chosen = dataclasses.replace(
        chosen,
        model=dataclasses.replace(chosen.model, network=network),
        objective=dataclasses.replace(chosen.objective, **objective),
        data=dataclasses.replace(chosen.data, limit=8 * chosen.training.batch_size),
        training=dataclasses.replace(chosen.training, **values),
    )
    train_recipe(chosen, out, resume=resume, progress=False)
    return RunDirectory.open(out).metrics()


def assert_same(one: list[dict[str, Any]], other: list[dict[str, Any]], rel: float = 1e-3) -> None:
    """Line by line, as far as sums agree that atomic additions form in any order."""
    assert [sorted(line) for line in one] == [sorted(line) for line in other]
    for left, right in zip(one, other, strict=True):
        for name in left.keys() - {"seconds"}:
            assert left[name] == pytest.approx(right[name], rel=rel, abs=rel / 10), (name, left)


@pytest.mark.gpu
@pytest.mark.parametrize("network", ["mlp", "small"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_captured_steps_are_eager_steps(
    family: str, precision: str, network: str, tmp_path: Path
) -> None:
    name, how = f"digits-{family}", {"network": network, "precision": precision}
    eager = train(name, tmp_path / "eager", **how)
    captured = train(name, tmp_path / "captured", capture=True, **how)
    # What sums in another order differ by, later steps amplify, and an adversary most.
    assert_same(captured, eager, rel=1e-3 if precision == "fp32" else 5e-3)
    assert load_run(tmp_path / "captured")[1].training.capture


@pytest.mark.gpu
@pytest.mark.parametrize("network", ["mlp", "small"])
@pytest.mark.parametrize(
    "objective",
    [
        {"score_fraction": 0.25},  # images are drawn anew in every step
        {"noise": 1.0},
        {"prior": "pairwise"},
        {"prior": "energy"},
        {"posterior_order": 4},
        {"variances": "pixel"},
    ],
    ids=str,
)
def test_captured_steps_of_every_fisher_objective(
    objective: dict[str, Any], network: str, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"network": network, "objective": objective}
    eager = train("digits-fisher", tmp_path / "eager", **how)
    assert_same(train("digits-fisher", tmp_path / "captured", capture=True, **how), eager)


@pytest.mark.gpu
@pytest.mark.parametrize("network", ["mlp", "small"])
@pytest.mark.parametrize("first", [True, False])
def test_one_way_goes_on_in_the_other(first: bool, network: str, tmp_path: Path) -> None:
    how = {"network": network}
    whole = train("digits-fisher", tmp_path / "whole", **how)
    train("digits-fisher", tmp_path / "parts", epochs=1, capture=first, **how)
    parts = train("digits-fisher", tmp_path / "parts", resume=True, capture=not first, **how)
    assert_same(parts, whole)


@pytest.mark.gpu
@pytest.mark.parametrize("family", FAMILIES)
def test_steps_by_pytorchs_convolutions_are_the_same(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = train(f"digits-{family}", tmp_path / "ours", network="small")
    monkeypatch.setattr("fisherae.networks.twice._Convolution.suits", lambda layer, x: False)
    assert_same(train(f"digits-{family}", tmp_path / "theirs", network="small"), ours)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.NAdam])
def test_the_count_of_steps_is_moved(kind: type[torch.optim.Optimizer]) -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = kind([weight], lr=0.1)
    for _ in range(2):
        weight.sum().backward()
        optimizer.step()
    set_capturable(optimizer, True)
    assert optimizer.state[weight]["step"] == 2
    assert optimizer.param_groups[0]["capturable"]
    set_capturable(optimizer, False)
    weight.sum().backward()
    optimizer.step()
    assert optimizer.state[weight]["step"] == 3
