"""What a trained run does: robustness to corrupted input, and samples."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Generator, Tensor

from fisherae import __version__
from fisherae.autoencoder import Autoencoder
from fisherae.data.corruptions import Corruption, GaussianNoise, Mask
from fisherae.data.images import to_float
from fisherae.errors import InputError
from fisherae.evaluation import figures
from fisherae.evaluation.robustness import RobustnessPoint, robustness
from fisherae.files import write_json
from fisherae.priors import FactorablePolynomial
from fisherae.recipes.build import load_data
from fisherae.recipes.run import latents_of, load_run

__all__ = ["CORRUPTIONS", "evaluate_run", "levels_of", "refit", "sample_run", "save_samples"]

CORRUPTIONS: dict[str, type[GaussianNoise] | type[Mask]] = {
    corruption.name: corruption for corruption in (GaussianNoise, Mask)
}
LEVELS = {"noise": (0.0, 0.1, 0.2, 0.5, 1.0), "mask": (0.0, 0.2, 0.4, 0.6, 0.8)}


def evaluate_run(
    path: Path | str,
    corruption: Literal["noise", "mask"] = "noise",
    levels: Sequence[float] | None = None,
    images: int | None = None,
    data: str | None = None,
    seed: int = 0,
) -> tuple[list[RobustnessPoint], Path]:
    """Measures a run on its test images, and writes `robustness-CORRUPTION.{json,csv,png,svg}`
    into its directory (`robustness-CORRUPTION-DATA` for other data than its own).

    Arguments:
        path: the run directory.
        corruption: "noise" (levels are variances) or "mask" (levels are fractions).
        levels: of the corruption; None: a standard set.
        images: use so many test images, a random subset; None: all.
        data: another data set than the run's.
        seed: of the corruption and of k-means.

    Returns:
        The points, and what the names of the files begin with.

    Raises:
        InputError: if the run is not finished, or an argument or the data is not usable.
    """
    chosen = levels_of(corruption, levels)
    if seed < 0 or (images is not None and images < 1):
        raise InputError(f"images {images}, seed {seed}: give at least one image, a seed ≥ 0")
    model, recipe = load_run(path)
    if data is not None:
        recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, data=data))
    test = load_data(recipe, "test", progress=True, limit=images)
    points = robustness(
        model,
        to_float(test.images, recipe.model.value_range),
        chosen,
        test.labels,
        recipe.model.value_range,
        seed,
    )
    other = [test.name.replace("/", "-")] if data is not None else []
    stem = Path(path) / "-".join(["robustness", corruption, *other])
    rows = [dataclasses.asdict(point) for point in points]
    protocol = {
        "data": dataclasses.asdict(recipe.data),
        "split": "test",
        "images": len(test),
        "corruption": corruption,
        "seed": seed,
        "versions": {"fisherae": __version__, "torch": torch.__version__},
    }
    write_json(f"{stem}.json", {**protocol, "points": rows})
    figures.write_csv(Path(f"{stem}.csv"), rows)
    measure: Literal["bce", "mse"] = "mse" if points[0].bce is None else "bce"
    curves = figures.error_curves({Path(path).name: points}, measure, chosen[0].label)
    figures.save_figure(curves, stem)
    return points, stem


def levels_of(corruption: str, levels: Sequence[float] | None = None) -> list[Corruption]:
    """The corruption of that name at each level.

    Raises:
        InputError: if there is no such corruption, or a level is out of its range.

    Example:
        >>> [noise.level for noise in levels_of("noise", (0.0, 0.5))]
        [0.0, 0.5]
    """
    if corruption not in CORRUPTIONS:
        raise InputError(f"unknown corruption {corruption!r}; known: {', '.join(CORRUPTIONS)}")
    chosen = LEVELS[corruption] if levels is None else levels
    if not chosen:
        raise InputError("no levels: give at least one")
    return [CORRUPTIONS[corruption](level) for level in chosen]


def sample_run(
    path: Path | str,
    n: int = 64,
    prior: Literal["refit", "trained"] = "refit",
    method: str = "auto",
    seed: int = 0,
    progress: bool = False,
) -> tuple[Tensor, tuple[float, float]]:
    """Images decoded from samples of a run's prior, shape (n, C, H, W), and their value range.

    Arguments:
        path: the run directory.
        n: how many.
        prior: "trained", or "refit": a polynomial prior fitted anew, in closed form, to the
            aggregated posterior (a standard normal prior stays as it is).
        method: how the prior is sampled, see `fisherae.sample`.
        seed: of the samples.
        progress: show a progress bar.
    """
    if n < 1 or seed < 0:
        raise InputError(f"n {n}, seed {seed}: give at least one image, and a seed ≥ 0")
    model, recipe = load_run(path)
    if prior == "refit":
        refit(model, latents_of(path))
    images = model.sample(n, method, Generator().manual_seed(seed), progress)
    return images, recipe.model.value_range


def refit(model: Autoencoder, latents: Tensor) -> Autoencoder:
    """Fits a polynomial prior to latents in closed form, in place; other priors stay.

    An odd order is never a density on the whole line: it is refitted one order lower.
    """
    if isinstance(model.prior, FactorablePolynomial):
        even = model.prior.order - model.prior.order % 2
        latents = latents.to(model.prior.weight)
        model.prior = FactorablePolynomial(model.dim, even).to(latents).fit(latents)
    return model


def save_samples(images: Tensor, value_range: tuple[float, float], stem: Path) -> None:
    """Writes a picture `STEM.png` (and `.svg`) of the samples."""
    figures.save_figure(figures.samples({"": images}, value_range), stem)
