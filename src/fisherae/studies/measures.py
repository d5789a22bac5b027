"""What one run is measured on; each measurement is kept in its directory and made once."""

import dataclasses
import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Generator, Tensor

from fisherae.autoencoder import Autoencoder, evaluating
from fisherae.data.corruptions import Corruption, corruption_levels
from fisherae.data.images import ImageDataset, to_float
from fisherae.evaluation.clustering import tsne
from fisherae.evaluation.extractors import Extractor, extractor
from fisherae.evaluation.generation import GenerationScore, generation_scores
from fisherae.evaluation.probe import LinearProbe
from fisherae.evaluation.robustness import (
    RobustnessPoint,
    latents_under,
    robustness,
)
from fisherae.files import read_json, write_atomically, write_json
from fisherae.priors import FactorablePolynomial
from fisherae.recipes.build import load_data
from fisherae.recipes.config import Recipe
from fisherae.recipes.evaluate import PROBE_IMAGES, linear_probe
from fisherae.recipes.latent_prior import with_prior
from fisherae.recipes.run import MODEL, latents_of, load_run
from fisherae.samplers import sample

__all__ = ["Measures", "Protocol"]

MEASURES = "measures"
# SVGD costs the square of its particles: as many as a user would draw at once, several times.
SVGD_PARTICLES = 256


@dataclass(frozen=True)
class Protocol:
    """How a run is measured.

    Attributes:
        test_images: a random subset of so many, the same for every run; None: all.
        map_images: so many of them are mapped by t-SNE; 0: none.
        samples: drawn for FID and KID.
        noise: variances of the Gaussian noise; None: the standard ones.
        svgd_steps: of SVGD, where it draws samples.
        extractor: of the features of FID and KID; None: a classifier of the data where there are
            labels, else random weights.
        seed: of corruptions, k-means, t-SNE and samples.
    """

    test_images: int | None = None
    map_images: int = 0
    noise: tuple[float, ...] | None = None
    samples: int = 2_048
    svgd_steps: int = 15_000
    extractor: str | None = None
    seed: int = 0


class Measures:
    """The measurements of one run, by a protocol.

    Arguments:
        run: directory of a finished training.
        protocol: how it is measured.
        cache: directory of the classifiers that extract features.

    Raises:
        InputError: if the run has no trained model.
    """

    def __init__(self, run: Path, protocol: Protocol, cache: Path):
        self.run = run
        self.protocol = protocol
        self.cache = cache
        self.model, self.recipe = load_run(run)

    @property
    def value_range(self) -> tuple[float, float]:
        return self.recipe.model.value_range

    @cached_property
    def test(self) -> ImageDataset:
        return _images(self.recipe, "test", self.protocol.test_images)

    @cached_property
    def images(self) -> Tensor:
        """The clean test images."""
        return to_float(self.test.images, self.value_range)

    def points(self, corruption: str) -> list[RobustnessPoint]:
        """Errors, clusters and classes at every standard level of a corruption."""
        levels = self.levels(corruption)
        maps = list(self.maps().values()) if corruption == "noise" and self.maps() else None
        rows = self._once(
            f"robustness-{corruption}",
            {
                "levels": [one.level for one in levels],
                "test_images": len(self.test),
                "map_images": self.protocol.map_images if maps else 0,
                "probe_images": PROBE_IMAGES,
            },
            lambda: [
                dataclasses.asdict(point)
                for point in robustness(
                    self.model,
                    self.images,
                    levels,
                    self.test.labels,
                    self.value_range,
                    self.protocol.seed,
                    probe=self._probe,
                    maps=maps,
                )
            ],
        )
        return [RobustnessPoint(**row) for row in rows]

    def levels(self, corruption: str) -> list[Corruption]:
        """The levels of a corruption, for these pixels."""
        levels = self.protocol.noise if corruption == "noise" else None
        return corruption_levels(corruption, levels, self.value_range)

    def maps(self) -> dict[float, Tensor]:
        """t-SNE maps of the latents at each noise variance; none without labels."""
        if self.test.labels is None or not self.protocol.map_images:
            return {}
        levels = self.levels("noise")
        file = self.run / MEASURES / "maps.safetensors"

        def draw() -> list[float]:
            latents = latents_under(self.model, self.images, levels, self.protocol.seed)
            shown = self.protocol.map_images
            maps = {
                str(level.level): tsne(z[:shown], self.protocol.seed)
                for level, z in zip(levels, latents, strict=True)
            }
            write_atomically(file, safetensors.torch.save(maps))
            return [level.level for level in levels]

        drawn = self._once(
            "maps",
            {
                "levels": [level.level for level in levels],
                "test_images": len(self.test),
                "map_images": self.protocol.map_images,
            },
            draw,
        )
        maps = safetensors.torch.load_file(file)
        return {level: maps[str(level)] for level in drawn}

    def generation(self) -> dict[str, list[GenerationScore]]:
        """FID and KID of the samples of each prior that the model can have after training."""
        scores = {}
        for label, draw in self.priors().items():
            rows = self._once(
                f"generation-{label}",
                {
                    "samples": self.protocol.samples,
                    "test_images": len(self.test),
                    "extractor": self.extractor_name,
                    "svgd": [self.protocol.svgd_steps, SVGD_PARTICLES] if label == "svgd" else None,
                },
                partial(self._scores, draw),
            )
            scores[label] = [GenerationScore(**row) for row in rows]
        return scores

    def priors(self) -> dict[str, Callable[[int], Tensor]]:
        """What draws images from each prior, by name: `trained` (exactly), `svgd` (the trained one
        as the paper samples it), `refit` and `mixture`."""
        draws = {kind: self._exact(kind) for kind in ("refit", "mixture", "trained")}
        if isinstance(self.model.prior, FactorablePolynomial):
            draws["svgd"] = self._svgd
        return draws

    def _exact(self, kind: str) -> Callable[[int], Tensor]:
        def draw(n: int) -> Tensor:
            model = with_prior(self.model, kind, latents_of(self.run), self.protocol.seed)
            return model.sample(n, generator=Generator().manual_seed(self.protocol.seed))

        return draw

    def _svgd(self, n: int) -> Tensor:
        generator = Generator().manual_seed(self.protocol.seed)
        sizes = [SVGD_PARTICLES] * (n // SVGD_PARTICLES) + [n % SVGD_PARTICLES]
        with warnings.catch_warnings():
            # Of a collapse or an improper prior: what comes of them is measured here.
            warnings.simplefilter("ignore", UserWarning)
            z = [self._particles(size, generator) for size in sizes if size]
        return _decoded(self.model, torch.cat(z))

    def _particles(self, n: int, generator: Generator) -> Tensor:
        steps = self.protocol.svgd_steps
        return sample(self.model.prior, n, "svgd", generator, progress=True, steps=steps)

    def _scores(self, draw: Callable[[int], Tensor]) -> list[dict[str, Any]]:
        with warnings.catch_warnings():
            # Of a bias, which the scores carry with them.
            warnings.simplefilter("ignore", UserWarning)
            scores = generation_scores(
                _unit(draw(self.protocol.samples), self.value_range),
                _unit(self.images, self.value_range),
                self._extractor,
                self.protocol.seed,
            )
        return [dataclasses.asdict(score) for score in scores]

    @property
    def extractor_name(self) -> str:
        """Of the features of FID and KID."""
        own = "random-cnn" if self.test.labels is None else f"{self.test.name}-cnn"
        return self.protocol.extractor or own

    @cached_property
    def _extractor(self) -> Extractor:
        name = self.extractor_name
        test = _images(self.recipe, "test", None)
        # Only a classifier looks at the training images, which take long to decode.
        train = _images(self.recipe, "train", None) if name == f"{test.name}-cnn" else test
        return extractor(name, train, test, self.cache, progress=True)

    @cached_property
    def _probe(self) -> LinearProbe | None:
        return None if self.test.labels is None else linear_probe(self.model, self.recipe)

    def _once(self, name: str, protocol: dict[str, Any], compute: Callable[[], Any]) -> Any:
        """The values of a measurement: read, if this model was measured so before."""
        file = self.run / MEASURES / f"{name}.json"
        asked = {**protocol, "seed": self.protocol.seed, "model": self._fingerprint}
        if file.is_file():
            kept = read_json(file)
            if kept.get("protocol") == asked:
                return kept["values"]
        values = compute()
        write_json(file, {"protocol": asked, "values": values})
        return values

    @cached_property
    def _fingerprint(self) -> str:
        weights = (self.run / MODEL / "model.safetensors").read_bytes()
        return hashlib.sha256(weights).hexdigest()[:16]


@lru_cache(maxsize=4)
def _load(recipe: Recipe, split: str, limit: int | None) -> ImageDataset:
    return load_data(recipe, split, progress=True, limit=limit)


def _images(recipe: Recipe, split: str, limit: int | None) -> ImageDataset:
    """Images of a recipe's data, loaded once for all recipes that share it."""
    data = dataclasses.replace(recipe.data, limit=limit if split == "train" else None)
    training = dataclasses.replace(recipe.training, seed=0)
    return _load(Recipe(data=data, training=training), split, limit)


@torch.no_grad()
def _decoded(model: Autoencoder, z: Tensor) -> Tensor:
    with evaluating(model):
        return torch.cat([model.decode(part).mean for part in torch.split(z, 512)])


def _unit(images: Tensor, value_range: tuple[float, float]) -> Tensor:
    """Pixels of a value range, in [0, 1] as extractors take them."""
    low, high = value_range
    return ((images - low) / (high - low)).clamp(0, 1)
