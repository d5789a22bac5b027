r"""Samplers of a prior: `sample` for the whole job; `init` and `step` for a loop of one's own."""

from fisherae.samplers.base import Sampler, reflect
from fisherae.samplers.diagnostics import Diagnostics
from fisherae.samplers.draw import METHODS, sample
from fisherae.samplers.exact import Exact
from fisherae.samplers.inverse_cdf import InverseCDF
from fisherae.samplers.kernels import inverse_multiquadric, median_bandwidth, rbf
from fisherae.samplers.langevin import MALA, ULA, tune
from fisherae.samplers.stein import kernel_stein_discrepancy
from fisherae.samplers.svgd import SVGD, AdaGrad

__all__ = [
    "METHODS",
    "MALA",
    "SVGD",
    "ULA",
    "AdaGrad",
    "Diagnostics",
    "Exact",
    "InverseCDF",
    "Sampler",
    "inverse_multiquadric",
    "kernel_stein_discrepancy",
    "median_bandwidth",
    "rbf",
    "reflect",
    "sample",
    "tune",
]
