"""The corruptions by name, each with the levels at which models are compared."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from fisherae.data.corruptions.base import Corruption
from fisherae.data.corruptions.components import GaussianNoise, Mask, SaltAndPepper, ShotNoise
from fisherae.data.corruptions.edges import CannyEdges
from fisherae.data.corruptions.geometric import (
    GlassBlur,
    MotionBlur,
    Rotation,
    Scale,
    Shear,
    Translation,
)
from fisherae.data.corruptions.overlays import Brightness, Fog, Spatter, Stripes
from fisherae.data.corruptions.strokes import DottedLine, Zigzag
from fisherae.data.corruptions.whole import Blur, Contrast, Occlusion
from fisherae.errors import InputError

__all__ = ["CORRUPTIONS", "LEVELS", "SUITE", "corruption_levels"]

_OF_THE_SUITE: tuple[type[Corruption], ...] = (
    ShotNoise,
    SaltAndPepper,
    GlassBlur,
    MotionBlur,
    Shear,
    Scale,
    Rotation,
    Brightness,
    Translation,
    Stripes,
    Fog,
    Spatter,
    DottedLine,
    Zigzag,
    CannyEdges,
)
SUITE: tuple[str, ...] = tuple(kind.name for kind in _OF_THE_SUITE)
"""The fifteen corruptions of MNIST-C, in its order, for grey and colour images of any size; each at
the five severities that follow the 0 in `LEVELS`."""
_OTHERS: tuple[type[Corruption], ...] = (
    GaussianNoise,
    Mask,
    SaltAndPepper,
    Occlusion,
    Blur,
    Contrast,
)
CORRUPTIONS: dict[str, type[Corruption]] = {kind.name: kind for kind in (*_OTHERS, *_OF_THE_SUITE)}
# Noise and mask: the range of the paper's figures.
LEVELS: dict[str, tuple[float, ...]] = {
    "noise": (0.0, 0.1, 0.2, 0.5, 1.0),
    "mask": (0.0, 0.2, 0.4, 0.6, 0.8),
    "salt-and-pepper": (0.0, 0.025, 0.05, 0.1, 0.2, 0.4),
    "occlusion": (0.0, 0.1, 0.2, 0.4, 0.6),
    "blur": (0.0, 0.5, 1.0, 2.0, 3.0),
    "contrast": (0.0, 0.2, 0.4, 0.6, 0.8),
    "shot-noise": (0.0, 0.02, 0.05, 0.1, 0.2, 0.4),
    "glass-blur": (0.0, 0.02, 0.04, 0.06, 0.08, 0.1),
    "motion-blur": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
    "shear": (0.0, 0.2, 0.3, 0.4, 0.5, 0.6),
    "scale": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
    "rotation": (0.0, 10.0, 20.0, 30.0, 40.0, 50.0),
    "brightness": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
    "translation": (0.0, 0.05, 0.1, 0.15, 0.2, 0.25),
    "stripes": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
    "fog": (0.0, 0.3, 0.45, 0.6, 0.75, 0.9),
    "spatter": (0.0, 0.05, 0.1, 0.15, 0.2, 0.3),
    "dotted-line": (0.0, 0.02, 0.04, 0.06, 0.08, 0.1),
    "zigzag": (0.0, 0.02, 0.04, 0.06, 0.08, 0.1),
    "canny-edges": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
}


def corruption_levels(
    name: str, levels: Sequence[float] | None = None, value_range: tuple[float, float] = (0.0, 1.0)
) -> list[Corruption]:
    """A corruption at several levels.

    Arguments:
        name: one of `CORRUPTIONS`.
        levels: in the corruption's own unit; None: those of `LEVELS`.
        value_range: of the pixels, for the corruptions that use its ends.

    Raises:
        InputError: an unknown name, no levels, or a level out of range.

    Example:
        >>> [corruption.level for corruption in corruption_levels("mask")]
        [0.0, 0.2, 0.4, 0.6, 0.8]
        >>> corruption_levels("salt-and-pepper", [0.3], value_range=(-1.0, 1.0))
        [SaltAndPepper(fraction=0.3, value_range=(-1.0, 1.0))]
    """
    if name not in CORRUPTIONS:
        raise InputError(f"unknown corruption {name!r}; known: {', '.join(CORRUPTIONS)}")
    chosen = LEVELS[name] if levels is None else levels
    if not len(chosen):
        raise InputError("no levels: give at least one")
    if len(set(chosen)) < len(chosen):
        raise InputError(f"levels {list(chosen)}: give each once")
    kind: Any = CORRUPTIONS[name]
    fields = {field.name for field in dataclasses.fields(kind)}
    ends = {"value_range": value_range} if "value_range" in fields else {}
    return [kind(level, **ends) for level in chosen]
