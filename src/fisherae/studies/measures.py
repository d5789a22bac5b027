"""What one run is measured on; each measurement is kept in its directory and made once."""

import dataclasses
import hashlib
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from fisherae import __version__
from fisherae.autoencoder import Autoencoder, decoded
from fisherae.data.config import DataConfig
from fisherae.data.corruptions import Corruption, corruption_levels
from fisherae.data.images import ImageDataset, to_float, to_unit
from fisherae.evaluation.clustering import tsne
from fisherae.evaluation.extractors import Extractor, extractor
from fisherae.evaluation.generation import GenerationScore, features_of, generation_scores
from fisherae.evaluation.probe import LinearProbe
from fisherae.evaluation.robustness import RobustnessPoint, latents_under, robustness
from fisherae.priors import FactorablePolynomial, Prior
from fisherae.recipes.build import load_data
from fisherae.recipes.config import Recipe
from fisherae.recipes.evaluate import PROBE_IMAGES, linear_probe, refined_run
from fisherae.recipes.latent_prior import PriorKind, with_prior
from fisherae.recipes.run import MODEL, latents_of, load_run
from fisherae.samplers import sample
from fisherae.studies.config import Budget
from fisherae.studies.kept import Kept

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
        further_priors: kinds to measure beside refit, mixture and trained.
        probe_images: clean training images, to whose latents a linear probe is fitted; 0: no probe.
        refine: steps of a search that the encoder is followed by, see `fisherae.refined`; 0: none.
    """

    test_images: int | None = None
    map_images: int = 0
    noise: tuple[float, ...] | None = None
    samples: int = 2_048
    svgd_steps: int = 15_000
    extractor: str | None = None
    seed: int = 0
    further_priors: tuple[PriorKind, ...] = ()
    probe_images: int = PROBE_IMAGES
    refine: int = 0

    @classmethod
    def of(cls, budget: Budget, **changes: Any) -> "Protocol":
        """That of a study at a budget."""
        own = cls(
            test_images=budget.test_images,
            map_images=budget.map_images,
            noise=budget.noise,
            samples=budget.samples,
            svgd_steps=budget.svgd_steps,
            extractor=budget.extractor,
        )
        return dataclasses.replace(own, **changes)


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
        self._fitted_prior = lru_cache(self._fit_prior)

    @property
    def value_range(self) -> tuple[float, float]:
        return self.recipe.model.value_range

    @cached_property
    def test(self) -> ImageDataset:
        return _images(self.recipe.data, "test", self.protocol.test_images)

    @property
    def images(self) -> Tensor:
        """The clean test images."""
        return _floats(self.recipe.data, self.protocol.test_images, self.value_range)

    @property
    def seed(self) -> int:
        """Of the training."""
        return self.recipe.training.seed

    def points(self, corruption: str, only: Sequence[float] | None = None) -> list[RobustnessPoint]:
        """Errors, clusters and classes at every standard level of a corruption, or only some."""
        levels = self.levels(corruption, only)
        maps = [] if corruption != "noise" or only else list(self.maps().values())
        return self._kept.rows(
            f"robustness-{corruption}",
            {
                "levels": [one.level for one in levels],
                "map_images": self.protocol.map_images if maps else 0,
                "probe_images": self.protocol.probe_images,
                **self._search,
            },
            RobustnessPoint,
            lambda: robustness(
                self._encoding,
                self.images,
                levels,
                self.test.labels,
                self.value_range,
                self.protocol.seed,
                probe=self._probe,
                maps=maps or None,
                progress=True,
            ),
        )

    def levels(self, corruption: str, only: Sequence[float] | None = None) -> list[Corruption]:
        """The levels of a corruption, for these pixels: the standard ones, or only some."""
        noise = self.protocol.noise if corruption == "noise" else None
        return corruption_levels(corruption, only or noise, self.value_range)

    def maps(self) -> dict[float, Tensor]:
        """t-SNE maps of the latents at each noise variance; none without labels."""
        if self.test.labels is None or not self.protocol.map_images:
            return {}
        levels = self.levels("noise")
        protocol = {
            "levels": [level.level for level in levels],
            "map_images": self.protocol.map_images,
            **self._search,
        }
        kept = self._kept.tensors("maps", protocol, lambda: self._maps(levels))
        return {level.level: kept[str(level.level)] for level in levels}

    def _maps(self, levels: Sequence[Corruption]) -> dict[str, Tensor]:
        latents = latents_under(self._encoding, self.images, levels, self.protocol.seed)
        return {
            str(level.level): tsne(z[: self.protocol.map_images], self.protocol.seed)
            for level, z in zip(levels, latents, strict=True)
        }

    def generation(self, only: str | None = None) -> dict[str, list[GenerationScore]]:
        """FID and KID of the samples of each prior that the model can have after training, or of
        one of them only."""
        scores = {}
        for label, draw in self.priors().items():
            if only not in (None, label):
                continue
            scores[label] = self._kept.rows(
                f"generation-{label}",
                {
                    "samples": self.protocol.samples,
                    "extractor": self.extractor_name,
                    "svgd": [self.protocol.svgd_steps, SVGD_PARTICLES] if label == "svgd" else None,
                },
                GenerationScore,
                partial(self._scores, draw),
            )
        return scores

    def priors(self) -> dict[str, Callable[[int], Tensor]]:
        """What draws latents from each prior, by name: `trained` (exactly where that is possible,
        else by MALA), `svgd` (the trained one as the paper samples it), `refit`, `mixture`, and
        those that the protocol adds."""
        kinds = ("refit", "mixture", "trained", *self.protocol.further_priors)
        draws: dict[str, Callable[[int], Tensor]] = {
            kind: partial(self._drawn, kind) for kind in kinds
        }
        if isinstance(self.model.prior, FactorablePolynomial):
            draws["svgd"] = self._svgd
        return draws

    def _drawn(self, kind: str, n: int) -> Tensor:
        prior = self._fitted_prior(kind)
        return sample(prior, n, generator=Generator().manual_seed(self.protocol.seed))

    def _fit_prior(self, kind: str) -> Prior:
        return with_prior(self.model, kind, latents_of(self.run), self.protocol.seed).prior

    def _svgd(self, n: int) -> Tensor:
        """Kept, for it takes minutes. In whole sets, for how far they collapse depends on their
        number of particles."""
        sets = math.ceil(max(n, self.protocol.samples) / SVGD_PARTICLES)
        protocol = {"steps": self.protocol.svgd_steps, "particles": SVGD_PARTICLES, "sets": sets}
        return self._kept.tensors("svgd", protocol, lambda: self._svgd_sets(sets))["z"][:n]

    def _svgd_sets(self, sets: int) -> dict[str, Tensor]:
        generator = Generator().manual_seed(self.protocol.seed)
        with warnings.catch_warnings():
            # Of a collapse or an improper prior: what comes of them is measured here.
            warnings.simplefilter("ignore", UserWarning)
            return {"z": torch.cat([self._particles(generator) for _ in range(sets)])}

    def svgd_spread(self) -> float | None:
        """Standard deviation of SVGD's samples over that of exact ones, the median dimension's;
        None where the prior is not sampled by SVGD."""
        if "svgd" not in self.priors():
            return None
        n = max(self.protocol.samples, SVGD_PARTICLES)
        drawn, exact = self._svgd(n), self._drawn("trained", n)
        return (drawn.std(0) / exact.std(0)).median().item()

    def _particles(self, generator: Generator) -> Tensor:
        steps = self.protocol.svgd_steps
        prior = self.model.prior
        return sample(prior, SVGD_PARTICLES, "svgd", generator, progress=True, steps=steps)

    def _scores(self, draw: Callable[[int], Tensor]) -> list[GenerationScore]:
        extractor, reference = self.yardstick
        generated = decoded(self.model, draw(self.protocol.samples))
        with warnings.catch_warnings():
            # Of a bias, which the scores carry with them.
            warnings.simplefilter("ignore", UserWarning)
            return generation_scores(
                to_unit(generated, self.value_range),
                to_unit(self.images, self.value_range),
                extractor,
                self.protocol.seed,
                reference=reference,
            )

    @property
    def extractor_name(self) -> str:
        """Of the features of FID and KID."""
        own = "random-cnn" if self.test.labels is None else f"{self.test.name}-cnn"
        return self.protocol.extractor or own

    @property
    def yardstick(self) -> tuple[Extractor, Tensor]:
        """What FID and KID are measured with: the extractor, and its features of the test images.
        A classifier is trained, unless it has been."""
        limit = self.protocol.test_images
        return _yardstick(
            self.extractor_name, self.recipe.data, limit, self.value_range, self.cache
        )

    @cached_property
    def _probe(self) -> LinearProbe | None:
        images = self.protocol.probe_images
        if self.test.labels is None or not images:
            return None
        return linear_probe(self._encoding, self.recipe, images)

    @cached_property
    def _encoding(self) -> Autoencoder:
        """The model, its encoder followed by a search where the protocol says so."""
        steps = self.protocol.refine
        return refined_run(self.run, self.model, steps) if steps else self.model

    @property
    def _search(self) -> dict[str, int]:
        """What depends on it is kept apart."""
        return {"refine": self.protocol.refine} if self.protocol.refine else {}

    @cached_property
    def _kept(self) -> Kept:
        """What was measured of this very model before."""
        weights = (self.run / MODEL / "model.safetensors").read_bytes()
        return Kept(
            self.run / MEASURES,
            {
                "seed": self.protocol.seed,
                "model": hashlib.sha256(weights).hexdigest(),
                "test_images": hashlib.sha256(self.test.images.numpy().tobytes()).hexdigest(),
                "fisherae": __version__,
            },
        )


def _images(data: DataConfig, split: str, limit: int | None) -> ImageDataset:
    """Images of a recipe's data, loaded once for all recipes that share it."""
    own = limit if split == "train" else None
    return _load(dataclasses.replace(data, limit=own), split, limit)


@lru_cache(maxsize=4)
def _load(data: DataConfig, split: str, limit: int | None) -> ImageDataset:
    return load_data(Recipe(data=data), split, progress=True, limit=limit)


@lru_cache(maxsize=1)
def _floats(data: DataConfig, limit: int | None, value_range: tuple[float, float]) -> Tensor:
    return to_float(_images(data, "test", limit).images, value_range)


@lru_cache(maxsize=1)
def _yardstick(
    name: str,
    data: DataConfig,
    limit: int | None,
    value_range: tuple[float, float],
    cache: Path,
) -> tuple[Extractor, Tensor]:
    test = _images(data, "test", None)
    # Only a classifier looks at the training images, which take long to decode.
    train = _images(data, "train", None) if name == f"{test.name}-cnn" else test
    chosen = extractor(name, train, test, cache, progress=True)
    return chosen, features_of(to_unit(_floats(data, limit, value_range), value_range), chosen)
