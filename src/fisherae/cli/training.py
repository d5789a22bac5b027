"""The options of `fisherae train`: every field of a recipe, on top of where the run goes."""

import argparse
import dataclasses
from pathlib import Path
from typing import Annotated, Any

import tyro

from fisherae.cli.options import Run
from fisherae.errors import InputError
from fisherae.recipes import named
from fisherae.recipes.config import Recipe, to_dict

__all__ = ["default_out", "parse_training", "recipes_page"]

CONTINUED = ("epochs", "log_every", "save_every", "keep", "device")
"""The training fields that may change when a run is resumed."""


def parse_training(name: str, words: list[str]) -> tuple[Run, Recipe]:
    """The options of a training: a recipe's fields override those of its preset, or of the run
    that is resumed."""
    first, _ = _RUN_OPTIONS.parse_known_args(words)
    recipe = named.recipe(name, first.preset)
    if not first.resume:
        return _parse(name, recipe, words)
    from fisherae.recipes.run import recipe_of

    recorded = recipe_of(first.out or default_out(name, first.preset))
    asked = recipe.name if first.preset != "default" else name
    if recorded.name and asked not in (recorded.name, recorded.name.split()[0]):
        raise InputError(f"--resume: the run was started as {recorded.name!r}, not {asked!r}")
    run, chosen = _parse(name, recorded, words)
    _require_continuation(recorded, chosen)
    return run, chosen


def default_out(name: str, preset: str) -> Path:
    return Path("runs") / (name if preset == "default" else f"{name}-{preset}")


def _parse(name: str, recipe: Recipe, words: list[str]) -> tuple[Run, Recipe]:
    options = dataclasses.make_dataclass(
        "Training",
        [
            ("run", Run, dataclasses.field(default=Run())),
            ("recipe", type(recipe), dataclasses.field(default=recipe)),
        ],
        frozen=True,
    )
    options.__doc__ = f"{named.describe(name)}. Every field of the recipe can be overridden."
    flags: Any = Annotated[options, tyro.conf.OmitArgPrefixes]
    parsed = tyro.cli(flags, args=words, prog=f"fisherae train {name}")
    return parsed.run, parsed.recipe


def _require_continuation(recorded: Recipe, chosen: Recipe) -> None:
    before, after = to_dict(recorded), to_dict(chosen)
    for part, fields in before.items():
        for field in fields if isinstance(fields, dict) else ():
            if fields[field] != after[part][field] and field not in CONTINUED:
                raise InputError(
                    f"--resume: the run was started with {field} = {fields[field]}, not "
                    f"{after[part][field]}; leave it out, or start a new run with another --out"
                )


_RUN_OPTIONS = argparse.ArgumentParser("fisherae train RECIPE", add_help=False, allow_abbrev=False)
_RUN_OPTIONS.add_argument("--preset", default="default")
_RUN_OPTIONS.add_argument("--out", type=Path)
_RUN_OPTIONS.add_argument("--resume", action="store_true")


def recipes_page() -> str:
    lines = [f"  {name:24}{named.describe(name)}" for name in named.NAMES]
    return "\n".join(
        [
            "usage: fisherae train RECIPE [--preset paper] [--out DIR] [--resume] [options]",
            "",
            *lines,
            "",
            "fisherae train RECIPE --help shows every field of a recipe and its value.",
            "",
            "  fisherae train digits-fisher --epochs 20",
            "  fisherae train mnist-vae --data path/to/mnist --out runs/vae-1 --seed 1",
            "  fisherae train digits-fisher --data path/to/images --size 32 --network small \\",
            "    --out runs/images",
            "  fisherae train digits-fisher --resume",
        ]
    )
