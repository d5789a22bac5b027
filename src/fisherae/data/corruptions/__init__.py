r"""Corruptions of images, under which models are compared (Figures 1-10, the suite) or trained."""

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
from fisherae.data.corruptions.registry import CORRUPTIONS, LEVELS, SUITE, corruption_levels
from fisherae.data.corruptions.strokes import DottedLine, Zigzag
from fisherae.data.corruptions.whole import Blur, Contrast, Occlusion

__all__ = [
    "CORRUPTIONS",
    "LEVELS",
    "SUITE",
    "Blur",
    "Brightness",
    "CannyEdges",
    "Contrast",
    "Corruption",
    "DottedLine",
    "Fog",
    "GaussianNoise",
    "GlassBlur",
    "Mask",
    "MotionBlur",
    "Occlusion",
    "Rotation",
    "SaltAndPepper",
    "Scale",
    "Shear",
    "ShotNoise",
    "Spatter",
    "Stripes",
    "Translation",
    "Zigzag",
    "corruption_levels",
]
