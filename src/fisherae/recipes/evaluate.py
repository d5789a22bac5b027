"""What a trained run does: robustness to corrupted input, and samples."""

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Generator, Tensor

from fisherae import __version__
from fisherae.autoencoder import Autoencoder
from fisherae.data.corruptions import corruption_levels
from fisherae.data.images import to_float
from fisherae.errors import InputError
from fisherae.evaluation import figures
from fisherae.evaluation.probe import LinearProbe
from fisherae.evaluation.robustness import RobustnessPoint, posterior_means, robustness
from fisherae.files import require_folder, write_atomically, write_json
from fisherae.recipes.build import load_data
from fisherae.recipes.config import Recipe
from fisherae.recipes.latent_prior import PriorKind, with_prior
from fisherae.recipes.run import latents_of, load_run
from fisherae.training.config import SEEDS

__all__ = ["evaluate_run", "linear_probe", "sample_run", "save_samples"]

PROBE_IMAGES = 10_000


def evaluate_run(
    path: Path | str,
    corruption: str = "noise",
    levels: Sequence[float] | None = None,
    images: int | None = None,
    data: str | None = None,
    seed: int = 0,
) -> tuple[list[RobustnessPoint], Path]:
    """Measures a run on its test images, and writes `robustness-CORRUPTION.{json,csv,png,svg}`
    into its directory (`robustness-CORRUPTION-DATA` for other data than its own).

    Arguments:
        path: the run directory.
        corruption: one of `fisherae.data.corruptions.CORRUPTIONS`.
        levels: of the corruption, in its own unit; None: a standard set.
        images: use so many test images, a random subset; None: all.
        data: another data set than the run's; no linear probe then.
        seed: of the corruption and of k-means.

    Returns:
        The points, and what the names of the files begin with.

    Raises:
        InputError: if the run is not finished, or an argument or the data is not usable.
    """
    corruption_levels(corruption, levels)  # before the images, which may take minutes
    if seed not in SEEDS or (images is not None and images < 1):
        raise InputError(
            f"images {images}, seed {seed}: give at least one image, a seed ≥ 0 and < 2³²"
        )
    model, recipe = load_run(path)
    require_folder(path)
    if data is not None:
        recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, data=data))
    value_range = recipe.model.value_range
    chosen = corruption_levels(corruption, levels, value_range)
    test = load_data(recipe, "test", progress=True, limit=images)
    points = robustness(
        model,
        to_float(test.images, value_range),
        chosen,
        test.labels,
        value_range,
        seed,
        probe=None if test.labels is None or data is not None else linear_probe(model, recipe),
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
    curves = figures.error_curves({Path(path).name: [points]}, measure, chosen[0].label)
    figures.save_figure(curves, stem)
    return points, stem


def linear_probe(model: Autoencoder, recipe: Recipe) -> LinearProbe | None:
    """Fitted to the latents of up to 10,000 clean training images; None if they have no labels."""
    limit = min(recipe.data.limit or PROBE_IMAGES, PROBE_IMAGES)
    data = dataclasses.replace(recipe.data, limit=limit)
    train = load_data(dataclasses.replace(recipe, data=data), "train", progress=True)
    if train.labels is None:
        return None
    x = to_float(train.images, recipe.model.value_range)
    return LinearProbe(posterior_means(model, x), train.labels)


def sample_run(
    path: Path | str,
    n: int = 64,
    prior: PriorKind = "refit",
    method: str = "auto",
    seed: int = 0,
    progress: bool = False,
) -> tuple[Tensor, tuple[float, float]]:
    """Images decoded from samples of a run's prior, shape (n, C, H, W), and their value range.

    Arguments:
        path: the run directory.
        n: how many.
        prior: one of `PRIOR_KINDS` of `fisherae.recipes.latent_prior`.
        method: how the prior is sampled, see `fisherae.sample`.
        seed: of the samples.
        progress: show a progress bar.
    """
    if n < 1 or seed not in SEEDS:
        raise InputError(f"n {n}, seed {seed}: give at least one image, and a seed ≥ 0 and < 2³²")
    model, recipe = load_run(path)
    chosen = with_prior(model, prior, latents_of(path), seed)
    images = chosen.sample(n, method, Generator().manual_seed(seed), progress)
    return images, recipe.model.value_range


def save_samples(images: Tensor, value_range: tuple[float, float], stem: Path) -> None:
    """Writes a picture `STEM.png` (and `.svg`) of the samples, and their numbers, `STEM.npy`."""
    figures.save_figure(figures.samples({"": images}, value_range), stem)
    numbers = io.BytesIO()
    np.save(numbers, images.numpy())
    write_atomically(f"{stem}.npy", numbers.getvalue())
