"""What a trained run does: robustness to corrupted and attacked input, and samples."""

import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Generator, Tensor

from fisherae import __version__
from fisherae.autoencoder import Autoencoder, decoded, device_of
from fisherae.data.corruptions import SUITE, Corruption, corruption_levels
from fisherae.data.images import ImageDataset, to_float
from fisherae.errors import InputError
from fisherae.evaluation import figures
from fisherae.evaluation.adversarial import LatentAttack, Norm, Target
from fisherae.evaluation.probe import LinearProbe
from fisherae.evaluation.robustness import RobustnessPoint, posterior_means, robustness
from fisherae.files import require_folder, write_atomically, write_json
from fisherae.inference import STEPS, refined
from fisherae.recipes.build import load_data
from fisherae.recipes.config import Recipe
from fisherae.recipes.latent_prior import PriorKind, with_prior
from fisherae.recipes.run import latents_of, load_run
from fisherae.training.config import SEEDS

__all__ = [
    "attack_run",
    "evaluate_run",
    "evaluate_suite",
    "linear_probe",
    "refined_run",
    "sample_run",
    "save_samples",
]

PROBE_IMAGES = 10_000


@dataclass(frozen=True)
class _Subject:
    """A trained run and the test images that it is measured on."""

    path: Path
    model: Autoencoder
    recipe: Recipe
    images: int | None
    seed: int
    other: bool  # data than the run's
    refine: bool = False

    @cached_property
    def test(self) -> ImageDataset:
        """Read only now, for it may take minutes."""
        test = load_data(self.recipe, "test", progress=True, limit=self.images)
        own = tuple(decoded(self.model, torch.zeros(1, self.model.dim)).shape[1:])
        if tuple(test.shape) != own:
            raise InputError(
                f"{self.path} was trained on images of shape {own}, those of {test.name} are of "
                f"shape {tuple(test.shape)}: give --data whose images have that shape"
            )
        return test

    def points(
        self, by_name: Mapping[str, Sequence[Corruption]]
    ) -> dict[str, list[RobustnessPoint]]:
        """Those of each corruption at its levels."""
        value_range = self.recipe.model.value_range
        x = to_float(self.test.images, value_range)
        probe = None
        if self.test.labels is not None and not self.other:
            probe = linear_probe(self.model, self.recipe)
        return {
            name: robustness(
                self.model,
                x,
                levels,
                self.test.labels,
                value_range,
                self.seed,
                probe=probe,
                progress=True,
            )
            for name, levels in by_name.items()
        }

    def write(self, name: str, rows: Sequence[Mapping[str, object]], **protocol: object) -> Path:
        """NAME.json and NAME.csv, the name with what is not as usual."""
        other = [self.test.name.replace("/", "-")] if self.other else []
        stem = self.path / "-".join([name, *(["refined"] if self.refine else []), *other])
        head = {
            "data": dataclasses.asdict(self.recipe.data),
            "split": "test",
            "images": len(self.test),
            "refined": self.refine,
            **protocol,
            "seed": self.seed,
            "versions": {"fisherae": __version__, "torch": torch.__version__},
        }
        write_json(f"{stem}.json", {**head, "points": list(rows)})
        figures.write_csv(Path(f"{stem}.csv"), rows)
        return stem


def _subject(
    path: Path | str, images: int | None, data: str | None, seed: int, refine: bool = False
) -> _Subject:
    if seed not in SEEDS or (images is not None and images < 1):
        raise InputError(
            f"images {images}, seed {seed}: give at least one image, a seed ≥ 0 and < 2³²"
        )
    model, recipe = load_run(path)
    require_folder(path)
    if data is not None:
        recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, data=data))
    model = refined_run(path, model) if refine else model
    return _Subject(Path(path), model, recipe, images, seed, data is not None, refine)


def refined_run(path: Path | str, model: Autoencoder, steps: int = STEPS) -> Autoencoder:
    """The model of a run with a search for the posterior's mode behind its encoder, the prior
    fitted anew to the latents: see `fisherae.refined`."""
    fitted = with_prior(model, "refit", latents_of(path))
    fitted.prior.to(device_of(model.decoder))
    return refined(fitted, steps)


def evaluate_run(
    path: Path | str,
    corruption: str = "noise",
    levels: Sequence[float] | None = None,
    images: int | None = None,
    data: str | None = None,
    seed: int = 0,
    refine: bool = False,
) -> tuple[list[RobustnessPoint], Path]:
    """Measures a run on its test images, and writes `robustness-CORRUPTION.{json,csv,png,svg}`
    into its directory (`robustness-CORRUPTION-DATA` for other data than its own, and
    `robustness-CORRUPTION-refined` where the latents are refined).

    Arguments:
        path: the run directory.
        corruption: one of `fisherae.data.corruptions.CORRUPTIONS`.
        levels: of the corruption, in its own unit; None: a standard set.
        images: use so many test images, a random subset; None: all.
        data: another data set than the run's; no linear probe then.
        seed: of the corruption and of k-means.
        refine: search on from the encoder's latents, see `fisherae.refined`.

    Returns:
        The points, and what the names of the files begin with.

    Raises:
        InputError: if the run is not finished, or an argument or the data is not usable.
    """
    subject = _subject(path, images, data, seed, refine)
    chosen = corruption_levels(corruption, levels, subject.recipe.model.value_range)
    points = subject.points({corruption: chosen})[corruption]
    return points, _curves(subject, f"robustness-{corruption}", points, chosen, chosen[0].label)


def evaluate_suite(
    path: Path | str,
    images: int | None = None,
    data: str | None = None,
    seed: int = 0,
    refine: bool = False,
) -> tuple[dict[str, list[RobustnessPoint]], Path]:
    """Measures a run under all corruptions of `fisherae.data.corruptions.SUITE`, at every severity,
    and writes `robustness-suite.{json,csv,png,svg}`; otherwise as `evaluate_run`.

    Returns:
        The points of each corruption, and what the names of the files begin with.
    """
    subject = _subject(path, images, data, seed, refine)
    value_range = subject.recipe.model.value_range
    points = subject.points({name: corruption_levels(name, None, value_range) for name in SUITE})
    rows = [
        {"corruption": name, "severity": severity, **dataclasses.asdict(point)}
        for name, own in points.items()
        for severity, point in enumerate(own)
    ]
    stem = subject.write("robustness-suite", rows, corruption="suite")
    curves = figures.suite_curves({subject.path.name: [points]}, _measure(rows))
    figures.save_figure(curves, stem)
    return points, stem


def attack_run(
    path: Path | str,
    norm: Norm = "l2",
    target: Target = "latent",
    radii: Sequence[float] | None = None,
    steps: int = 100,
    restarts: int = 2,
    images: int | None = None,
    seed: int = 0,
) -> tuple[list[RobustnessPoint], Path]:
    """Attacks a run on its test images, and writes `attack-NORM-TARGET.{json,csv,png,svg}` into its
    directory.

    Arguments:
        path: the run directory.
        norm: "l2" or "linf", see `fisherae.evaluation.adversarial.LatentAttack`.
        target: "latent" or "reconstruction".
        radii: of the perturbations, in units of the pixels; None: 0 and 0.025, 0.05, 0.1 and 0.2 of
            the pixel range for each component, for "l2" times the root of their number.
        steps: of each restart.
        restarts: of which the best counts.
        images: use so many test images, a random subset; None: all.
        seed: of the restarts and of k-means.

    Returns:
        The points, and what the names of the files begin with.

    Raises:
        InputError: if the run is not finished, or an argument or the data is not usable.
    """
    subject = _subject(path, images, None, seed)
    if radii is None:
        low, high = subject.recipe.model.value_range
        unit = math.sqrt(math.prod(subject.test.shape)) if norm == "l2" else 1.0
        radii = [share * (high - low) * unit for share in (0.0, 0.025, 0.05, 0.1, 0.2)]
    if not radii:
        raise InputError("no radii: give at least one")
    attacks = [
        LatentAttack(
            radius, subject.model, norm=norm, target=target, steps=steps, restarts=restarts
        )
        for radius in radii
    ]
    points = subject.points({"attack": attacks})["attack"]
    protocol = {"norm": norm, "target": target, "steps": steps, "restarts": restarts}
    label = f"{norm} radius of the perturbation, against the {target}"
    return points, _curves(subject, f"attack-{norm}-{target}", points, attacks, label, protocol)


def _curves(
    subject: _Subject,
    name: str,
    points: Sequence[RobustnessPoint],
    levels: Sequence[Corruption],
    label: str,
    protocol: Mapping[str, object] | None = None,
) -> Path:
    """Writes the points at the levels of one corruption, and a picture of the error."""
    rows = [dataclasses.asdict(point) for point in points]
    stem = subject.write(name, rows, corruption=levels[0].name, **(protocol or {}))
    runs = {subject.path.name: [points]}
    figures.save_figure(figures.error_curves(runs, _measure(rows), label), stem)
    return stem


def _measure(rows: Sequence[Mapping[str, object]]) -> Literal["bce", "mse"]:
    return "mse" if rows[0]["bce"] is None else "bce"


def linear_probe(
    model: Autoencoder, recipe: Recipe, images: int = PROBE_IMAGES
) -> LinearProbe | None:
    """Fitted to the latents of so many clean training images; None if they have no labels."""
    limit = min(recipe.data.limit or images, images)
    data = dataclasses.replace(recipe.data, limit=limit)
    train = load_data(dataclasses.replace(recipe, data=data), "train", progress=True)
    if train.labels is None:
        return None
    x = to_float(train.images, recipe.model.value_range)
    return LinearProbe(posterior_means(model, x, progress=True), train.labels)


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
