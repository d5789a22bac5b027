"""A study: models, each trained with one or more seeds, under one protocol."""

from collections.abc import Collection, Mapping, Sequence
from copy import copy
from pathlib import Path

import torch
from torch import Tensor

from fisherae.autoencoder import decoded
from fisherae.data.corruptions import Corruption
from fisherae.errors import InputError
from fisherae.evaluation.generation import GenerationScore
from fisherae.evaluation.robustness import RobustnessPoint, corrupt, posterior_means
from fisherae.studies.measures import Measures, Protocol

__all__ = ["Study"]


class Study:
    """What is measured of several models, by the name that figures and tables give them.

    Everything is measured when it is first asked for, and kept in the run directories.

    Arguments:
        models: by label the run directories of one model, one for each seed.
        protocol: how they are measured, all alike.
        cache: directory of the classifiers that extract features.

    Raises:
        InputError: if a run has no trained model, or two have different test images.
    """

    def __init__(self, models: Mapping[str, Sequence[Path]], protocol: Protocol, cache: Path):
        self.protocol = protocol
        self.models = {
            label: [Measures(run, protocol, cache) for run in runs]
            for label, runs in models.items()
        }
        self.first = next(iter(self.models.values()))[0]
        for measures in (one for runs in self.models.values() for one in runs):
            _require_same_images(self.first, measures)

    def of(self, labels: Collection[str]) -> "Study":
        """The same study of some of its models."""
        part = copy(self)
        part.models = {label: self.models[label] for label in self.models if label in labels}
        return part

    def joined(self, models: Mapping[str, Sequence[Measures]]) -> "Study":
        """The same study with further models."""
        whole = copy(self)
        whole.models = {**self.models, **{label: list(runs) for label, runs in models.items()}}
        return whole

    @property
    def extractor(self) -> str:
        """Of the features of FID and KID."""
        return self.first.extractor_name

    def points(self, corruption: str) -> dict[str, list[list[RobustnessPoint]]]:
        """By model, for each seed the points of every level."""
        return {
            label: [one.points(corruption) for one in runs] for label, runs in self.models.items()
        }

    def maps(self) -> dict[str, dict[float, Tensor]]:
        """t-SNE maps by model and noise variance, of the first seed."""
        return {label: runs[0].maps() for label, runs in self.models.items()}

    def map_labels(self) -> Tensor:
        """The classes of the images on the maps."""
        labels = self.first.test.labels
        if labels is None:
            raise InputError(f"{self.first.test.name} has no labels, which maps of classes need")
        return labels[: self.protocol.map_images]

    def generation(self) -> dict[str, dict[str, list[list[GenerationScore]]]]:
        """FID and KID by model and prior, for each seed."""
        by_seed = {label: [one.generation() for one in runs] for label, runs in self.models.items()}
        return {
            label: {prior: [scores[prior] for scores in seeds] for prior in seeds[0]}
            for label, seeds in by_seed.items()
        }

    def fid(self) -> dict[str, dict[str, list[float]]]:
        """FID by model and prior, for each seed."""
        return {
            label: {prior: [scores[0].value for scores in seeds] for prior, seeds in own.items()}
            for label, own in self.generation().items()
        }

    def reconstructions(self, corruption: Corruption | None, count: int) -> dict[str, Tensor]:
        """By model the reconstructions of the first `count` test images, clean or under a
        corruption, the same for every model, of the first seed."""
        shown = self.first.images[:count] if corruption is None else self.shown(corruption, count)
        return {
            label: decoded(runs[0].model, posterior_means(runs[0].model, shown))
            for label, runs in self.models.items()
        }

    def shown(self, corruption: Corruption, count: int) -> Tensor:
        """The first `count` test images under a corruption."""
        return corrupt(self.first.images[:count], corruption, self.protocol.seed)

    def samples(self, count: int, prior: str = "refit") -> dict[str, Tensor]:
        """By model images drawn from a prior, of the first seed."""
        return {
            label: decoded(runs[0].model, runs[0].priors()[prior](count))
            for label, runs in self.models.items()
        }


def _require_same_images(first: Measures, other: Measures) -> None:
    if not torch.equal(first.test.images, other.test.images):
        raise InputError(
            f"{first.run} has test images {first.test.name} {first.test.shape}, {other.run} others "
            f"({other.test.name} {other.test.shape}): compare runs on the same data, size and crop"
        )
    if first.value_range != other.value_range:
        raise InputError(
            f"{first.run} has pixels in {first.value_range}, {other.run} in {other.value_range}: "
            "compare runs with the same networks"
        )
