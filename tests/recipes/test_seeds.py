"""No Fisher training on digits ends in numbers that are not finite."""

import dataclasses
from pathlib import Path

import pytest

from fisherae.recipes import named
from fisherae.recipes.run import train_recipe
from fisherae.training.run import RunDirectory

FISHER = ["digits-fisher", "digits-fisher-gaussian"]


def train(name: str, preset: str, seed: int, epochs: int, out: Path) -> None:
    """Raises NonFiniteError where a loss term or a gradient is not finite."""
    recipe = named.recipe(name, preset)
    training = dataclasses.replace(recipe.training, seed=seed, epochs=epochs, device="cpu")
    train_recipe(dataclasses.replace(recipe, training=training), out, progress=False)
    assert RunDirectory.open(out).metrics()[-1]["epoch"] == epochs - 1


@pytest.mark.parametrize("name", FISHER)
@pytest.mark.parametrize("seed", range(20))
def test_first_epochs(name: str, seed: int, tmp_path: Path) -> None:
    """The first epochs have the longest gradients."""
    train(name, "default", seed, 3, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["default", "paper"])
@pytest.mark.parametrize("name", FISHER)
@pytest.mark.parametrize("seed", range(20))
def test_whole_training(name: str, preset: str, seed: int, tmp_path: Path) -> None:
    train(name, preset, seed, named.recipe(name, preset).training.epochs, tmp_path / "run")
