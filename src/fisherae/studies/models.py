"""The models of a study: a run for every model, preset and seed, trained once."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fisherae.errors import InputError
from fisherae.recipes.config import Recipe
from fisherae.recipes.named import Preset
from fisherae.recipes.run import MODEL, recipe_of, train_recipe
from fisherae.studies.config import Budget, budgeted

__all__ = ["LABELS", "MODELS", "essence", "run_of", "runs_of", "train_once"]

LABELS = {
    "fisher": "Fisher AE",
    "fisher-gaussian": "Fisher AE, Gaussian prior",
    "fisher-denoising": "Denoising Fisher AE",
    "vae": "VAE",
    "wae-gan": "WAE-GAN",
    "ae": "AE",
    "dae": "Denoising AE",
    "cae": "Contractive AE",
    "rae": "Regularised AE",
    "beta-vae": "β-VAE",
    "gaussian-vae": "Gaussian VAE",
    "wae-mmd": "WAE-MMD",
}
"""How figures and tables name a family."""
MODELS = ("fisher", "vae", "wae-gan")
"""The three that the paper compares."""

# Fields that change neither what is trained nor how.
BOOKKEEPING = ("log_every", "save_every", "keep", "device", "capture")


def runs_of(
    data: str, models: Sequence[str], preset: Preset, budget: Budget, root: Path
) -> dict[str, list[tuple[Path, Recipe]]]:
    """Where the runs of a study are or will be, and their recipes, by label and seed.

    Example:
        >>> from fisherae.studies.config import BUDGETS
        >>> runs = runs_of("mnist", ["vae"], "paper", BUDGETS["cpu"]["mnist"], Path("runs"))
        >>> [path.as_posix() for path, _ in runs["VAE"]][:2]
        ['runs/mnist-vae-paper/seed-0', 'runs/mnist-vae-paper/seed-1']
    """
    return {
        LABELS[model]: [run_of(data, model, preset, budget, seed, root) for seed in budget.seeds]
        for model in models
    }


def run_of(
    data: str, model: str, preset: Preset, budget: Budget, seed: int, root: Path, **fields: Any
) -> tuple[Path, Recipe]:
    """Where one run is or will be, and its recipe; fields of the model and of the objective that
    differ from the recipe's are part of the directory's name.

    Example:
        >>> from fisherae.studies.config import BUDGETS
        >>> cheap = BUDGETS["smoke"]["digits"]
        >>> path, recipe = run_of("digits", "dae", "default", cheap, 0, Path("runs"), noise=1.0)
        >>> path.as_posix(), recipe.objective.noise
        ('runs/digits-dae-noise-1.0/seed-0', 1.0)
    """
    default: Any = budgeted(f"{data}-{model}", preset, budget, seed)
    of_model = {name: value for name, value in fields.items() if hasattr(default.model, name)}
    of_objective = {name: value for name, value in fields.items() if name not in of_model}
    chosen = dataclasses.replace(
        default,
        model=dataclasses.replace(default.model, **of_model),
        objective=dataclasses.replace(default.objective, **of_objective),
    )
    before = dataclasses.asdict(default.model) | dataclasses.asdict(default.objective)
    parts = [data, model, *([preset] if preset != "default" else [])]
    parts += [
        f"{name}-{value}".lower().replace("_", "-")
        for name, value in fields.items()
        if value != before[name]
    ]
    return root / "-".join(parts) / f"seed-{seed}", chosen


def train_once(path: Path, recipe: Recipe, progress: bool = True) -> Path:
    """Trains a recipe in the run directory `path`, unless it has been: then only what is missing.
    On a GPU its steps are recorded as CUDA graphs, unless several processes share the work.

    Raises:
        InputError: if `path` holds a run of another recipe.
        NonFiniteError: if training diverges.
    """
    started = (path / "config.json").is_file()
    if started:
        _require_same(path, recipe)
    if (path / MODEL / "config.json").is_file():  # the last file of a run
        return path
    if progress:
        print(f"training {recipe.name}, seed {recipe.training.seed}: {path}", flush=True)
    on_gpu = torch.cuda.is_available() and recipe.training.device != "cpu"
    alone = os.environ.get("WORLD_SIZE", "1") == "1"
    training = dataclasses.replace(recipe.training, capture=on_gpu and alone)
    try:
        chosen = dataclasses.replace(recipe, training=training)
        train_recipe(chosen, path, resume=started, progress=progress)
    except KeyboardInterrupt:  # training's own advice, --resume, does not suit here
        raise KeyboardInterrupt("stopped; give the same command again to go on") from None
    return path


def _require_same(path: Path, recipe: Recipe) -> None:
    before, now = (essence(r) for r in (recipe_of(path), recipe))
    different = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if different:
        key = different[0]
        raise InputError(
            f"{path} holds a run with {key} = {before.get(key)!r}, asked for is {now.get(key)!r}: "
            "choose another directory of runs, or delete this run"
        )


def essence(recipe: Recipe) -> dict[str, object]:
    """What makes two trainings the same one."""
    parts = dataclasses.asdict(recipe)
    parts.pop("name")
    return {"family": recipe.family} | {
        f"{part}.{field}": value
        for part, fields in parts.items()
        for field, value in fields.items()
        if field not in BOOKKEEPING
    }
