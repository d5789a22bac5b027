"""No training ends in numbers that are not finite, and one that is made to says so and stops."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from fisherae.cli import main
from fisherae.errors import NonFiniteError
from fisherae.recipes import named
from fisherae.recipes.config import Recipe
from fisherae.recipes.run import load_run, train_recipe
from fisherae.training.checkpoint import Checkpoint
from fisherae.training.run import RunDirectory

FAMILIES = ["fisher", "fisher-gaussian", "vae", "wae-gan"]
BASELINES = ["wae-mmd", "ae", "dae", "cae", "rae", "beta-vae", "gaussian-vae"]
TERMS = {
    "fisher": {"posterior", "reconstruction", "stability"},
    "fisher-gaussian": {"posterior", "reconstruction", "stability"},
    "vae": {"reconstruction", "kl"},
    "wae-gan": {"reconstruction", "penalty", "adversary"},
}
SHARED = Path(__file__).parents[2].parent / "shared" / "data"
# A deliberately poor model may be told what it lacks; that is tests/recipes/test_watch.py.
pytestmark = pytest.mark.filterwarnings(r"ignore:.*(posterior collapse|latents tell|as trained)")


def recipe(name: str, preset: Any = "default", limit: int | None = None, **training: Any) -> Recipe:
    chosen = named.recipe(name, preset)
    return dataclasses.replace(
        chosen,
        data=dataclasses.replace(chosen.data, limit=limit),
        training=dataclasses.replace(chosen.training, device="cpu", **training),
    )


def train(chosen: Recipe, out: Path) -> None:
    """To the end, which a number that is not finite would not let it reach."""
    train_recipe(chosen, out, progress=False)
    assert RunDirectory.open(out).metrics()[-1]["epoch"] == chosen.training.epochs - 1
    model, _ = load_run(out)
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("seed", range(10))
def test_first_steps_on_digits(name: str, seed: int, tmp_path: Path) -> None:
    """They have the longest gradients."""
    train(recipe(f"digits-{name}", seed=seed, epochs=1), tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["default", "paper"])
@pytest.mark.parametrize("name", [*FAMILIES, *BASELINES])
@pytest.mark.parametrize("seed", range(10))
def test_whole_training_on_digits(name: str, preset: str, seed: int, tmp_path: Path) -> None:
    train(recipe(f"digits-{name}", preset, seed=seed), tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["default", "paper"])
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("seed", range(10))
def test_a_slice_of_mnist(
    name: str, preset: str, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight batches, twice."""
    folder = Path(os.environ.get("FISHERAE_DATA", SHARED))
    if not (folder / "mnist").is_dir():
        pytest.skip(f"needs the real data in {folder / 'mnist'}; set FISHERAE_DATA")
    monkeypatch.setenv("FISHERAE_DATA", str(folder))
    train(recipe(f"mnist-{name}", preset, limit=8 * 128, seed=seed, epochs=2), tmp_path / "run")


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("seed", range(2))
def test_a_provoked_divergence_is_stopped_and_named(name: str, seed: int, tmp_path: Path) -> None:
    training = {"learning_rate": 1e6, "clip": None, "epochs": 20, "log_every": 1, "save_every": 1}
    chosen = recipe(f"digits-{name}", seed=seed, limit=128, **training)
    with pytest.raises(NonFiniteError) as caught:
        train_recipe(chosen, tmp_path / "run", progress=False)
    message = str(caught.value)
    what, _, step = message.partition(" at step ")
    term, _, value = what.partition(" is ")
    assert term in TERMS[name] | {"total", "grad_norm"}
    assert value in ("nan", "inf", "-inf")
    assert 1 <= int(step.partition(".")[0]) <= 40
    for hint in ("last good checkpoint is kept at", "--learning-rate", "--clip"):
        assert hint in message
    kept = Checkpoint.latest(tmp_path / "run" / "checkpoints")
    assert kept.state.name in message
    tensors = [*kept.objective.items(), *kept.optimizer.items()]
    broken = [entry for entry, tensor in tensors if not tensor.isfinite().all()]
    assert all(entry.endswith("support") for entry in broken), "the whole line has infinite ends"
    for line in RunDirectory.open(tmp_path / "run").metrics():
        assert line["step"] < int(step.partition(".")[0])


@pytest.mark.parametrize("name", FAMILIES)
def test_the_command_line_exits_with_1(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "train",
        f"digits-{name}",
        "--learning-rate",
        "1e6",
        "--clip",
        "None",
        "--epochs",
        "20",
    ]
    words += ["--limit", "128", "--device", "cpu", "--out", str(tmp_path / "run")]
    assert main(words) == 1
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert "last good checkpoint is kept" in captured.err.splitlines()[-1]
    assert captured.out == "", "no finished run is announced"
    assert main(["sample", str(tmp_path / "run")]) == 2
