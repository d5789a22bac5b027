r"""Corruptions of images, under which models are compared (Figures 1-10) or trained."""

from fisherae.data.corruptions.base import Corruption
from fisherae.data.corruptions.components import GaussianNoise, Mask, SaltAndPepper
from fisherae.data.corruptions.registry import CORRUPTIONS, LEVELS, corruption_levels
from fisherae.data.corruptions.whole import Blur, Contrast, Occlusion

__all__ = [
    "CORRUPTIONS",
    "LEVELS",
    "Blur",
    "Contrast",
    "Corruption",
    "GaussianNoise",
    "Mask",
    "Occlusion",
    "SaltAndPepper",
    "corruption_levels",
]
