"""The demo: three auto-encoders on embedded digits, compared in one report."""

import dataclasses
import shutil
from pathlib import Path

import torch

from fisherae.errors import InputError
from fisherae.evaluation.report import Report
from fisherae.evaluation.robustness import RobustnessPoint, over_runs
from fisherae.files import require_folder, write_atomically
from fisherae.recipes.config import Recipe
from fisherae.recipes.named import recipe
from fisherae.recipes.run import train_recipe
from fisherae.studies.compare import comparison
from fisherae.studies.measures import Protocol
from fisherae.studies.models import LABELS, MODELS
from fisherae.studies.study import Study

__all__ = ["run_demo"]

RECIPES = {LABELS[model]: f"digits-{model}" for model in MODELS}
REPORT, MARKER = "report.html", "demo.txt"


def run_demo(out: Path, seed: int = 0, epochs: int | None = None) -> Path:
    """Trains the three models, writes `out/report.html`, and returns its path.

    Arguments:
        out: directory; an earlier demo in it is replaced.
        seed: of everything.
        epochs: None: as the recipes say.

    Raises:
        InputError: if there is something else in `out`, or a number is out of range.
    """
    recipes = {name: _recipe(recipe_name, seed, epochs) for name, recipe_name in RECIPES.items()}
    require_folder(out)
    _clear(out)
    torch.set_num_threads(1)  # networks as small as these are slower on several
    for name, chosen in recipes.items():
        print(f"training {name} ({chosen.name})", flush=True)
        train_recipe(chosen, out / chosen.name)
    runs = {name: [out / chosen.name] for name, chosen in recipes.items()}
    study = Study(runs, Protocol(samples=0, seed=seed), out)
    return _report(study, seed, epochs).write(out / REPORT)


def _recipe(name: str, seed: int, epochs: int | None) -> Recipe:
    chosen = recipe(name)
    epochs = chosen.training.epochs if epochs is None else epochs
    training = dataclasses.replace(chosen.training, seed=seed, epochs=epochs)
    return dataclasses.replace(chosen, training=training)


def _clear(out: Path) -> None:
    """Makes an empty directory of `out`, which may hold an earlier demo but nothing else."""
    marker = out / MARKER
    ours = {MARKER, REPORT, *RECIPES.values()}
    held = sorted(entry.name for entry in out.iterdir()) if out.is_dir() else []
    if held and (MARKER not in held or set(held) - ours):
        what = next((name for name in held if name not in ours), "what no demo made")
        raise InputError(f"{out} holds {what}: choose another --out")
    shutil.rmtree(out, ignore_errors=True)
    write_atomically(marker, "This directory was made by `fisherae demo`, which replaces it.\n")


def _report(study: Study, seed: int, epochs: int | None) -> Report:
    report = Report("Fisher auto-encoder, VAE and WAE-GAN on 8x8 digits")
    report.text(_summary(study.points("noise"))).command(_command(seed, epochs))
    return comparison(report, study)


def _command(seed: int, epochs: int | None) -> str:
    return f"fisherae demo --seed {seed}" + ("" if epochs is None else f" --epochs {epochs}")


def _summary(results: dict[str, list[list[RobustnessPoint]]]) -> str:
    (first, *_, last) = zip(*(over_runs(runs, "mse") for runs in results.values()), strict=True)
    errors = "; ".join(
        f"{name} {clean[1]:.3f} and {noisy[1]:.3f}"
        for name, clean, noisy in zip(results, first, last, strict=True)
    )
    return (
        "Three auto-encoders with the same networks were trained on clean digits, then asked to "
        "reconstruct digits with Gaussian noise they had never seen. Squared error per pixel to "
        f"the clean digit, without noise and at noise variance {last[0][0]:g}: {errors}."
    )
