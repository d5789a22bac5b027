"""The demo: three auto-encoders on embedded digits, compared in one report."""

import dataclasses
import platform
import shutil
from pathlib import Path
from typing import Literal

import torch
from torch import Generator

from fisherae import __version__
from fisherae.autoencoder import Autoencoder
from fisherae.data.corruptions import GaussianNoise
from fisherae.data.images import ImageDataset, to_float
from fisherae.errors import InputError
from fisherae.evaluation import figures
from fisherae.evaluation.report import Report, robustness_table
from fisherae.evaluation.robustness import RobustnessPoint, corrupt, robustness
from fisherae.files import write_atomically
from fisherae.recipes.build import load_data
from fisherae.recipes.config import Recipe
from fisherae.recipes.evaluate import levels_of, refit
from fisherae.recipes.named import recipe
from fisherae.recipes.run import latents_of, train_recipe
from fisherae.training.run import RunDirectory

__all__ = ["run_demo"]

MODELS = {"Fisher AE": "digits-fisher", "VAE": "digits-vae", "WAE-GAN": "digits-wae-gan"}
MEASURES: dict[Literal["bce", "mse", "nmi"], str] = {
    "bce": "Binary cross-entropy per pixel, by noise variance. Lower is better.",
    "mse": "Squared error per pixel, by noise variance. Lower is better.",
    "nmi": "Normalised mutual information of the clusters. Higher is better.",
}
REPORT, MARKER = "report.html", "demo.txt"
SHOWN_NOISE = 0.2


def run_demo(out: Path, seed: int = 0, epochs: int | None = None) -> Path:
    """Trains the three models, writes `out/report.html`, and returns its path.

    Arguments:
        out: directory; an earlier demo in it is replaced.
        seed: of everything.
        epochs: None: as the recipes say.

    Raises:
        InputError: if there is something else in `out`, or a number is out of range.
    """
    recipes = {name: _recipe(recipe_name, seed, epochs) for name, recipe_name in MODELS.items()}
    _clear(out)
    torch.set_num_threads(1)  # networks as small as these are slower on several
    models = {}
    for name, chosen in recipes.items():
        print(f"training {name} ({chosen.name})", flush=True)
        models[name] = train_recipe(chosen, out / chosen.name).cpu()
    test = load_data(recipes["Fisher AE"], "test")
    return _report(models, test, out, seed, epochs).write(out / REPORT)


def _recipe(name: str, seed: int, epochs: int | None) -> Recipe:
    chosen = recipe(name)
    epochs = chosen.training.epochs if epochs is None else epochs
    training = dataclasses.replace(chosen.training, seed=seed, epochs=epochs)
    return dataclasses.replace(chosen, training=training)


def _clear(out: Path) -> None:
    """Makes an empty directory of `out`, which may hold an earlier demo but nothing else."""
    marker = out / MARKER
    ours = {MARKER, REPORT, *MODELS.values()}
    held = sorted(entry.name for entry in out.iterdir()) if out.is_dir() else []
    if out.is_file() or (held and (MARKER not in held or set(held) - ours)):
        what = next((name for name in held if name not in ours), "what no demo made")
        raise InputError(f"{out} holds {what}: choose another --out")
    shutil.rmtree(out, ignore_errors=True)
    write_atomically(marker, "This directory was made by `fisherae demo`, which replaces it.\n")


def _report(
    models: dict[str, Autoencoder], test: ImageDataset, out: Path, seed: int, epochs: int | None
) -> Report:
    x = to_float(test.images, (0.0, 1.0))
    noise = levels_of("noise")
    results = {
        name: robustness(model, x, noise, test.labels, seed=seed) for name, model in models.items()
    }
    report = Report("Fisher auto-encoder, VAE and WAE-GAN on 8x8 digits")
    report.text(_summary(results)).command(_command(seed, epochs))
    _add_robustness(report, results)
    _add_reconstructions(report, models, x, seed)
    _add_samples(report, models, out, seed)
    _add_training(report, out)
    report.heading("Protocol").text(_protocol(models, test, seed))
    return report


def _command(seed: int, epochs: int | None) -> str:
    return f"fisherae demo --seed {seed}" + ("" if epochs is None else f" --epochs {epochs}")


def _summary(results: dict[str, list[RobustnessPoint]]) -> str:
    clean = {name: points[0].mse for name, points in results.items()}
    noisy = {name: points[-1].mse for name, points in results.items()}
    worst = next(iter(results.values()))[-1].level
    return (
        "Three auto-encoders with the same networks were trained on clean digits, then asked to "
        "reconstruct digits with Gaussian noise they had never seen. Squared error per pixel to "
        f"the clean digit, without noise and at noise variance {worst:g}: "
        + "; ".join(f"{name} {clean[name]:.3f} and {noisy[name]:.3f}" for name in results)
        + "."
    )


def _add_robustness(report: Report, results: dict[str, list[RobustnessPoint]]) -> None:
    report.heading("Error against noise").text(
        "The noisy digit is encoded, the posterior mean decoded, and the result compared with the "
        "clean digit. NMI is that of k-means on the latents with the true classes."
    )
    for measure, caption in MEASURES.items():
        curves = figures.error_curves(results, measure, GaussianNoise.label)
        report.figure(curves, caption).table(*robustness_table(results, measure))


def _add_reconstructions(
    report: Report, models: dict[str, Autoencoder], x: torch.Tensor, seed: int
) -> None:
    shown = x[:12]
    noisy = corrupt(x, GaussianNoise(SHOWN_NOISE), seed)[:12]
    report.heading("Reconstructions")
    for inputs, caption in (
        (shown, "Clean test digits."),
        (noisy, f"The same digits with noise of variance {SHOWN_NOISE:g}."),
    ):
        with torch.no_grad():
            answers = {name: model.reconstruct(inputs) for name, model in models.items()}
        corrupted = None if inputs is shown else inputs
        report.figure(figures.reconstructions(shown, answers, corrupted), caption)


def _add_samples(report: Report, models: dict[str, Autoencoder], out: Path, seed: int) -> None:
    images = {}
    for name, model in models.items():
        refit(model, latents_of(out / MODELS[name]))
        images[name] = model.sample(64, generator=Generator().manual_seed(seed))
    report.heading("Samples").text(
        "The Fisher auto-encoder's prior is the exponential family of eq. (13), fitted in closed "
        "form to the aggregated posterior and sampled exactly; the others draw from N(0, I)."
    ).figure(figures.samples(images), "Decoded samples of each prior.")


def _add_training(report: Report, out: Path) -> None:
    report.heading("Training").text(
        "Each loss term by itself. The three objectives have different terms, so only the curves "
        "within one model compare."
    )
    for name, recipe_name in MODELS.items():
        metrics = RunDirectory.open(out / recipe_name).metrics()
        report.figure(figures.training_curves({name: metrics}), f"Loss terms of {name}.")


def _protocol(models: dict[str, Autoencoder], test: ImageDataset, seed: int) -> str:
    parameters = sum(p.numel() for p in models["Fisher AE"].parameters())
    return (
        f"scikit-learn's digits, pixels in [0, 1]; errors on {len(test)} held-out images; noise is "
        f"not clipped. Fully connected networks, {models['Fisher AE'].dim} latent dimensions, "
        f"{parameters:,} parameters. Seed {seed}. fisherae {__version__}, torch "
        f"{torch.__version__}, Python {platform.python_version()}, {platform.machine()}. Every run "
        "directory beside this file holds its full configuration, versions and metrics."
    )
