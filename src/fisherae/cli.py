"""The command line: thin; what computes is imported when a command runs."""

import argparse
import dataclasses
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from fisherae import __version__
from fisherae.errors import InputError, NonFiniteError
from fisherae.recipes import named
from fisherae.recipes.config import Recipe, from_dict, to_dict

__all__ = ["main"]

HELP = f"""\
fisherae {__version__}: Fisher auto-encoders, and their baselines VAE and WAE-GAN

usage: fisherae COMMAND [options]        fisherae COMMAND --help

  demo       train all three on embedded digits and write a report (a minute or two)
  train      train a recipe:      fisherae train mnist-fisher --data path/to/mnist
  evaluate   error under noise:   fisherae evaluate runs/mnist-fisher
  sample     draw images:         fisherae sample runs/mnist-fisher --n 64

first steps

  fisherae demo                                    no data needed
  fisherae train --help                            the recipes
  fisherae train digits-fisher                     a model in half a minute
  fisherae train digits-fisher --preset paper      the same, to the paper's letter
  fisherae evaluate runs/digits-fisher

options

  -h, --help      this page
  --version       the version

Exit codes: 0 done, 1 training or sampling failed, 2 something you gave is wrong, 130 stopped.
"""

CONTINUED = ("epochs", "log_every", "save_every", "keep", "device")
"""The training fields that may change when a run is resumed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns the exit code; errors that users make are one clear message."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    if words[0] == "--version":
        print(__version__)
        return 0
    try:
        if words[0] not in COMMANDS:
            known = ", ".join(COMMANDS)
            raise InputError(f"unknown command {words[0]!r}; known: {known} (fisherae --help)")
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            COMMANDS[words[0]](words[1:])
    except (InputError, OSError) as error:  # of files: not there, not writable, disk full
        print(f"fisherae: {error}", file=sys.stderr)
        return 2
    except NonFiniteError as error:
        print(f"fisherae: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        print(f"fisherae: {interrupt or 'stopped'}", file=sys.stderr)
        return 130
    return 0


@dataclasses.dataclass(frozen=True)
class Demo:
    """Trains Fisher AE, VAE and WAE-GAN on scikit-learn's 8x8 digits, and writes one HTML report:
    training curves, reconstructions clean and noisy, samples, error against noise variance."""

    out: Path = Path("demo")
    """Directory of the report and of the three runs; an earlier demo there is replaced."""
    seed: int = 0
    """Seed of everything."""
    epochs: int | None = None
    """Passes over the 1,437 training images. None: what the recipes say."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """Draws from a run's prior, decodes, and writes samples.png, samples.svg and samples.npy."""

    run: tyro.conf.Positional[Path]
    """Run directory of a finished training."""
    n: int = 64
    """How many images."""
    prior: Literal["refit", "trained"] = "refit"
    """refit: the polynomial prior fitted anew, in closed form, to the aggregated posterior;
    trained: as training left it."""
    method: Literal["auto", "exact", "svgd", "svgd-per-dim", "ula", "mala"] = "auto"
    """How the prior is sampled; auto is exact where that is possible. svgd is the paper's."""
    seed: int = 0
    """Seed of the samples."""
    out: Path | None = None
    """Directory of the files. None: the run directory."""


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Reconstructs corrupted test images and compares with the clean ones (BCE, MSE; NMI of
    k-means on the latents); prints a table and writes robustness-CORRUPTION.json, .csv, .png."""

    run: tyro.conf.Positional[Path]
    """Run directory of a finished training."""
    corruption: Literal["noise", "mask"] = "noise"
    """noise: Gaussian, levels are variances; mask: levels are fractions of components set to 0."""
    levels: tuple[float, ...] | None = None
    """Levels of the corruption. None: 0 0.1 0.2 0.5 1 (noise), 0 0.2 0.4 0.6 0.8 (mask)."""
    images: int | None = None
    """Use so many test images, a random subset. None: all."""
    data: str | None = None
    """Other data than the run's: a name or a folder."""
    seed: int = 0
    """Seed of the corruption and of k-means."""


@dataclasses.dataclass(frozen=True)
class Run:
    """Where a run goes, and whether it goes on."""

    preset: named.Preset = "default"
    """default: trains soundly; paper: the paper's values to the letter."""
    out: Path | None = None
    """Run directory. None: runs/RECIPE, with the paper's preset runs/RECIPE-paper."""
    resume: bool = False
    """Continue the run in that directory, from its newest checkpoint and with its recipe."""


def demo(words: list[str]) -> None:
    options = _parse(Demo, words, "demo")
    from fisherae.recipes.demo import run_demo

    try:
        report = run_demo(options.out, options.seed, options.epochs)
    except KeyboardInterrupt:  # training's own advice, --resume, does not suit here
        raise KeyboardInterrupt("stopped; run the demo again to start it anew") from None
    print(f"report: {report.resolve()}")


def train(words: list[str]) -> None:
    if not words or words[0] in ("-h", "--help"):
        print(_recipes())
        return
    name, options = words[0], words[1:]
    run, recipe = _training(name, options)
    from fisherae.recipes.run import train_recipe

    out = run.out or _default_out(name, run.preset)
    train_recipe(recipe, out, run.resume)
    print(f"run: {out}\nnext: fisherae evaluate {out}\n      fisherae sample {out}")


def sample(words: list[str]) -> None:
    options = _parse(Sample, words, "sample")
    import numpy as np

    from fisherae.recipes.evaluate import sample_run, save_samples

    out = options.out or options.run
    images, value_range = sample_run(
        options.run, options.n, options.prior, options.method, options.seed, progress=True
    )
    stem = out / "samples"
    save_samples(images, value_range, stem)
    np.save(stem.with_suffix(".npy"), images.numpy())
    print(f"{len(images)} samples: {stem}.png  {stem}.svg  {stem}.npy")


def evaluate(words: list[str]) -> None:
    options = _parse(Evaluate, words, "evaluate")
    from fisherae.recipes.evaluate import evaluate_run

    points, stem = evaluate_run(
        options.run,
        options.corruption,
        options.levels,
        options.images,
        options.data,
        options.seed,
    )
    _print_points(points, options.corruption)
    print(f"written: {stem}.json .csv .png .svg")


def _show_warning(message: Warning | str, *details: Any, **more: Any) -> None:
    """A warning as a user reads it, without the line of code that gave it."""
    print(f"fisherae: warning: {message}", file=sys.stderr)


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "demo": demo,
    "train": train,
    "evaluate": evaluate,
    "sample": sample,
}


def _parse(options: type[Any], words: list[str], command: str) -> Any:
    return tyro.cli(options, args=words, prog=f"fisherae {command}")


def _training(name: str, words: list[str]) -> tuple[Run, Recipe]:
    """The options of a training: a recipe's fields override those of its preset, or of the run
    that is resumed."""
    first, _ = _RUN_OPTIONS.parse_known_args(words)
    recipe = named.recipe(name, first.preset)
    if not first.resume:
        return _parse_training(name, recipe, words)
    recorded = _recorded(first.out or _default_out(name, first.preset))
    asked = recipe.name if first.preset != "default" else name
    if recorded.name and asked not in (recorded.name, recorded.name.split()[0]):
        raise InputError(f"--resume: the run was started as {recorded.name!r}, not {asked!r}")
    run, chosen = _parse_training(name, recorded, words)
    _require_continuation(recorded, chosen)
    return run, chosen


def _default_out(name: str, preset: str) -> Path:
    return Path("runs") / (name if preset == "default" else f"{name}-{preset}")


def _recorded(path: Path) -> Recipe:
    from fisherae.training.run import RunDirectory

    return from_dict(RunDirectory.open(path).config)


def _parse_training(name: str, recipe: Recipe, words: list[str]) -> tuple[Run, Recipe]:
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


_RUN_OPTIONS = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
_RUN_OPTIONS.add_argument("--preset", default="default")
_RUN_OPTIONS.add_argument("--out", type=Path)
_RUN_OPTIONS.add_argument("--resume", action="store_true")


def _recipes() -> str:
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


def _print_points(points: Sequence[Any], corruption: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(caption="error to the clean image, mean per pixel", caption_justify="left")
    level = {"noise": "variance", "mask": "fraction"}[corruption]
    for column in (level, "BCE", "MSE", "NMI"):
        table.add_column(column, justify="right")
    for point in points:
        values = (point.bce, point.mse, point.nmi)
        table.add_row(f"{point.level:g}", *("–" if v is None else f"{v:.4f}" for v in values))
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
