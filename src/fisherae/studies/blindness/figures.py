"""The figures of the study. Blue is score matching, vermilion likelihood, throughout."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from torch import Tensor

from fisherae.evaluation.figures.style import plain_axes
from fisherae.studies.blindness.autoencoders import HALF_WIDTH, Fit
from fisherae.studies.blindness.encoders import Encoded, Inferred
from fisherae.studies.blindness.gaps import CORE, CoreMass, IslandError
from fisherae.studies.blindness.truths import TRUTHS
from fisherae.studies.blindness.weights import WEIGHT, Divergences, Errors, Needed, far_apart

__all__ = ["density_figure", "encoder_figure", "gap_figure", "method_figure", "weight_figure"]

BLUE, VERMILION, GREEN, BLACK = "#0072B2", "#D55E00", "#009E73", "0.1"
LINES = ("-", "--", ":")


def weight_figure(
    curves: Sequence[Divergences],
    growing: Sequence[Divergences],
    samples: Sequence[Needed],
    errors: Sequence[Errors],
) -> Figure:
    """How much a wrong weight costs, and how many samples the right one does."""
    figure = Figure(figsize=(9.6, 6.6), layout="constrained")
    first, second, third, fourth = figure.subplots(2, 2).flat
    for line, separation in zip(LINES, sorted({c.separation for c in curves}), strict=True):
        own = [c for c in curves if c.separation == separation]
        weights = [c.weight for c in own]
        for colour, values in ((BLUE, [c.fisher for c in own]), (VERMILION, [c.kl for c in own])):
            label = f"{'Fisher' if colour == BLUE else 'KL'}, Δ = {separation:g}"
            first.plot(weights, values, line, color=colour, label=label)
    first.set(xlabel="weight w of the model (π = 0.25)", ylabel="divergence from the truth")
    first.set(yscale="log", ylim=(1e-7, 10))
    distance = [c.separation for c in growing]
    leading = [far_apart(c.separation, c.weight) for c in growing]
    second.plot(distance, [c.fisher for c in growing], "-", color=BLUE, label="Fisher")
    second.plot(distance, leading, ":", color=BLACK, label="Fisher, leading order Δ φ(Δ/2) C")
    second.plot(distance, [c.kl for c in growing], "--", color=VERMILION, label="KL")
    second.set(xlabel="separation Δ", ylabel="divergence at w = 0.75", yscale="log")
    distance = [s.separation for s in samples]
    for name, style in _THREE.items():
        third.plot(distance, [getattr(s, name) for s in samples], **style)
    third.set(xlabel="separation Δ", ylabel="samples for a standard error of 0.05", yscale="log")
    for name in ("score_matching", "likelihood"):
        _over_seeds(fourth, errors, name)
    fourth.set(xlabel="separation Δ", ylabel="root mean square error of the weight")
    _finish(figure)
    return figure


def gap_figure(cores: Sequence[CoreMass], islands: Sequence[IslandError]) -> Figure:
    """Mass per component of priors that were refitted."""
    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, shift in (("score_matching", -0.12), ("likelihood", 0.12)):
        points = [(c.barrier + shift, getattr(c, name)) for c in cores]
        barriers, masses = zip(*[p for p in points if p[1] is not None], strict=True)
        style = {"color": _THREE[name]["color"], "marker": _THREE[name]["marker"]}
        label = _THREE[name]["label"]
        left.plot(barriers, masses, linestyle="", markersize=4, alpha=0.5, label=label, **style)
    left.axhline(CORE, color=BLACK, linewidth=0.8, linestyle=":")
    left.set(xlabel="barrier b between core and ring (nats)", ylabel="mass of the core")
    for name in _THREE:
        _over_seeds(right, islands, name)
    right.set(xlabel="separation Δ of the islands", ylabel="misplaced mass")
    _finish(figure)
    return figure


def encoder_figure(encoded: Sequence[Encoded], posteriors: Sequence[Inferred]) -> Figure:
    """The divergence of joints beside that of marginals; the Fisher divergence in inference."""
    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    variance = [e.variance for e in encoded]
    left.plot(variance, [e.marginal for e in encoded], "-", color=BLACK, label="Fisher, marginals")
    best = [e.joint for e in encoded]
    left.plot(variance, best, "--", color=BLUE, label="Fisher, joints, best encoder")
    both = "KL, marginals; joints, best encoder"
    left.plot(variance, [e.kl for e in encoded], "-.", color=VERMILION, label=both)
    left.set(xlabel="variance of the model (of the data: 1)", ylabel="divergence")
    left.set(yscale="log", ylim=(1e-4, 100))
    means = [p.mean for p in posteriors]
    right.plot(means, [p.fisher for p in posteriors], "-", color=BLUE, label="Fisher")
    right.plot(means, [p.kl for p in posteriors], "--", color=VERMILION, label="KL")
    right.set(xlabel="mean of q(z|x)", ylabel="divergence of q(z|x) from p(z|x)", ylim=(0, None))
    _finish(figure)
    return figure


def density_figure(pictures: Mapping[str, Mapping[str, Tensor]], fits: Sequence[Fit]) -> Figure:
    """A row for each truth, a column for it and for each method; the first seed's."""
    figure = Figure(figsize=(2.0 * len(pictures), 2.15 * len(TRUTHS)), layout="constrained")
    axes = figure.subplots(len(TRUTHS), len(pictures), squeeze=False)
    by_name = {(f.truth, f.method): f for f in reversed(fits)}
    for index, truth in enumerate(TRUTHS):
        norm = PowerNorm(0.5, 0, float(next(iter(pictures.values()))[truth].max()))
        for one, (method, own) in zip(axes[index], pictures.items(), strict=True):
            extent = (-HALF_WIDTH, HALF_WIDTH, -HALF_WIDTH, HALF_WIDTH)
            one.imshow(own[truth].numpy(), cmap="cividis", norm=norm, extent=extent)
            reach = 4.2 if truth == "far" else 2.8
            one.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[])
            fit = by_name.get((truth, method))
            caption = f"KL {fit.kl:.2f}, mass {fit.minor:.2f}" if fit else f"mass {WEIGHT}"
            one.set_xlabel(caption, fontsize=8)
            if index == 0:
                one.set_title(method.replace(", ", ",\n"), fontsize=9)
        axes[index, 0].set_ylabel(truth, fontsize=10)
    return figure


def method_figure(fits: Sequence[Fit], truths: Sequence[str]) -> Figure:
    """KL and the mass of the minor part, a line for each method and a point for each seed."""
    methods = list(dict.fromkeys(f.method for f in fits))
    figure = Figure(figsize=(10.4, 0.3 * len(methods) + 1.2), layout="constrained")
    axes = figure.subplots(1, 2 * len(truths), sharey=True)
    for index, truth in enumerate(truths):
        for one, measure in zip(axes[2 * index : 2 * index + 2], ("kl", "minor"), strict=True):
            for row, method in enumerate(methods):
                own = [f for f in fits if (f.truth, f.method) == (truth, method)]
                values = [getattr(f, measure) for f in own]
                colour, marker = _family(method)
                one.plot(values, [row] * len(values), marker, color=colour, alpha=0.45, ms=5)
                if values:
                    one.plot(mean(values), row, "|", color=colour, ms=13, mew=2)
            plain_axes(one)
            one.set_title(truth, fontsize=10)
        axes[2 * index].set(xlabel="KL (nats)", xscale="log", xlim=(0.02, 40))
        axes[2 * index].set_xticks([0.1, 1, 10], ["0.1", "1", "10"])
        axes[2 * index + 1].set(xlabel=f"mass, {TRUTHS[truth].minor}", xlim=(-0.03, 1.0))
        axes[2 * index + 1].axvline(WEIGHT, color=BLACK, linewidth=0.8, linestyle=":")
    axes[0].set_yticks(range(len(methods)), methods, fontsize=9)
    axes[0].invert_yaxis()
    return figure


_THREE: dict[str, dict[str, Any]] = {
    "score_matching": {"color": BLUE, "linestyle": "-", "marker": "o", "label": "score matching"},
    "with_noise": {
        "color": GREEN,
        "linestyle": "-.",
        "marker": "^",
        "label": "score matching with noise",
    },
    "likelihood": {
        "color": VERMILION,
        "linestyle": "--",
        "marker": "s",
        "label": "maximum likelihood",
    },
}


def _over_seeds(axes: Axes, rows: Sequence[Errors] | Sequence[IslandError], name: str) -> None:
    """Mean and standard deviation over the seeds, against the separation."""
    separations = sorted({row.separation for row in rows})
    groups = [[getattr(r, name) for r in rows if r.separation == s] for s in separations]
    means = np.array([mean(group) for group in groups])
    spread = np.array([stdev(group) if len(group) > 1 else 0.0 for group in groups])
    style = _THREE[name]
    axes.plot(separations, means, markersize=5, **style)
    axes.fill_between(
        separations, means - spread, means + spread, color=style["color"], alpha=0.15, linewidth=0
    )


def _family(method: str) -> tuple[str, str]:
    if method.startswith(("VAE", "Likelihood")):
        return VERMILION, "s"
    return BLUE, "o"


def _finish(figure: Figure) -> None:
    for axes in figure.axes:
        plain_axes(axes)
        axes.legend(frameon=False, fontsize=8)
