r"""Samplers of a prior: `sample` for the whole job; `init` and `step` for a loop of one's own."""

from fisherae.samplers.base import Sampler, reflect
from fisherae.samplers.diagnostics import Diagnostics
from fisherae.samplers.draw import METHODS, sample
from fisherae.samplers.exact import Exact
from fisherae.samplers.langevin import MALA, ULA, tune
from fisherae.samplers.svgd import SVGD, AdaGrad, median_bandwidth, rbf

__all__ = [
    "METHODS",
    "MALA",
    "SVGD",
    "ULA",
    "AdaGrad",
    "Diagnostics",
    "Exact",
    "Sampler",
    "median_bandwidth",
    "rbf",
    "reflect",
    "sample",
    "tune",
]
