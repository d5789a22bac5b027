r"""What decoder and prior still know of a noisy image when the encoder has answered.

Every model is measured twice: the encoder alone, and followed by a search for the posterior's mode
from where the encoder ended (`fisherae.refined`), the prior fitted anew to the latents. Whether a
good decoder makes up for an encoder that noise confuses, how many steps it takes, and what noise of
other kinds does. What was trained or measured before is taken as it is.

    python results/inference.py RUNS OUT [--data mnist|digits] [--network small|mlp|mnist]
                                [--epochs 20] [--images 1000] [--budget cpu] [--seeds 0 1 2]
                                             RUNS gets the runs; writes OUT/DATA-NETWORK.md, its
                                             figures and its numbers; on MNIST an hour a seed
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from torch import Tensor

from fisherae.autoencoder import Autoencoder, decoded
from fisherae.cli import exit_code
from fisherae.errors import InputError
from fisherae.evaluation.figures import (
    error_curves,
    pareto_front,
    tradeoff,
    write_csv,
)
from fisherae.evaluation.figures.style import line_styles, log_axis, plain_axes
from fisherae.evaluation.report import Cell, Report, spread
from fisherae.evaluation.robustness import Measure, RobustnessPoint, posterior_means
from fisherae.files import write_atomically
from fisherae.inference import STEPS, refined
from fisherae.studies.config import Budget
from fisherae.studies.measures import Measures, Protocol
from fisherae.studies.models import LABELS, run_of, train_once
from fisherae.studies.options import (
    NETWORKS,
    add_places,
    add_trainings,
    budget_of,
    study_command,
    study_parser,
)
from fisherae.studies.pages import add_figure, begun

GRADED = "Denoising AE, σ² ≤ 1"  # has seen the noise that the denoising Fisher AE has
# Noise hardly shifts the latents of these encoders: results/encoders.
ASINH, VAE_ASINH = "Fisher AE, asinh", "VAE, asinh"
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    **{LABELS[model]: (model, {}) for model in ("fisher-denoising", "fisher", "vae")},
    ASINH: ("fisher", {"encoder_activation": "asinh", "learn_variance": False}),
    VAE_ASINH: ("vae", {"encoder_activation": "asinh"}),
    **{LABELS[model]: (model, {}) for model in ("gaussian-vae", "wae-gan", "wae-mmd", "ae")},
    GRADED: ("dae", {"noise": 1.0, "graded": True}),
    **{LABELS[model]: (model, {}) for model in ("cae", "rae")},
}
NOISE = (0.0, 0.2, 1.0)
# What only some are measured by: the length of the search, and other corruptions.
CLOSER = (*(LABELS[model] for model in ("fisher-denoising", "fisher", "vae")), ASINH, GRADED)
OTHER_STEPS = (1, 3, 6, 24)
OTHERS = {"shot-noise": 0.1, "salt-and-pepper": 0.1, "mask": 0.4, "blur": 1.0, "stripes": 0.6}
PROBE_IMAGES = 2_000

NAMES: dict[Measure, str] = {"bce": "BCE", "nmi": "NMI", "probe": "probe"}

Points = dict[str, RobustnessPoint]  # by what the images went through: clean, noise, another


def _noise(level: float) -> str:
    return f"σ² = {level:g}"


CLEAN, NOISY = _noise(NOISE[0]), _noise(NOISE[-1])


class Trained(NamedTuple):
    """One training, measured by its encoder alone and with refined latents, and under the largest
    noise by the steps of the search."""

    encoded: Points
    refined: Points
    by_steps: list[RobustnessPoint]


Found = dict[str, list[Trained]]  # by model; a training for every seed


def points_of(run: Path, protocol: Protocol, others: Mapping[str, float], cache: Path) -> Points:
    own = Measures(run, protocol, cache)
    points = {_noise(point.level): point for point in own.points("noise")}
    return points | {name: own.points(name, [level])[0] for name, level in others.items()}


def measured(data: str, network: str, label: str, budget: Budget, seed: int, root: Path) -> Trained:
    """One training, which is made unless it has been."""
    model, fields = MODELS[label]
    chosen = {"network": network, "encoder_activation": "silu", **fields}
    run = train_once(*run_of(data, model, "default", budget, seed, root, **chosen))
    cache, closer = root / "extractors", label in CLOSER
    protocol = Protocol.of(budget, map_images=0, probe_images=PROBE_IMAGES)
    alone, searched = (
        points_of(run, replace(protocol, refine=steps), OTHERS if closer else {}, cache)
        for steps in (0, STEPS)
    )
    by_steps = {0: alone[NOISY], STEPS: searched[NOISY]}
    for steps in OTHER_STEPS if closer else ():
        search = replace(protocol, refine=steps, probe_images=0)
        by_steps[steps] = Measures(run, search, cache).points("noise")[-1]
    return Trained(
        alone, searched, [replace(by_steps[n], level=float(n)) for n in sorted(by_steps)]
    )


def _mean(runs: list[Trained], kind: str, at: str, measure: Measure) -> float:
    return fmean(getattr(getattr(run, kind)[at], measure) for run in runs)


def bce(point: RobustnessPoint) -> float:
    assert point.bce is not None  # the pixels of MNIST and of the digits lie in [0, 1]
    return point.bce


def decoded_images(model: Autoencoder, x: Tensor) -> float:
    """How many decoded images a refined one costs, in CPU time."""
    z = posterior_means(model, x)

    def seconds(work: Callable[[], object]) -> float:
        work()  # the first time is not like the others
        start = time.process_time()
        for _ in range(3):
            work()
        return time.process_time() - start

    search = refined(model)
    return seconds(lambda: posterior_means(search, x)) / seconds(lambda: decoded(model, z))


def dumbbells(found: Found, at: str) -> Figure:
    """The BCE of each model, by its encoder alone (hollow) and refined (filled), best first."""
    figure = Figure(figsize=(6.8, 0.36 * len(found) + 1.3), layout="constrained")
    axes = figure.subplots()
    order = sorted(found, key=lambda label: -_mean(found[label], "refined", at, "bce"))
    styles = line_styles(found)
    for place, label in enumerate(order):
        colour = styles[label]["color"]
        ends = [_mean(found[label], kind, at, "bce") for kind in ("encoded", "refined")]
        axes.plot(ends, [place, place], color=colour, linewidth=2.5, alpha=0.5)
        axes.plot(ends[0], place, "o", color=colour, markerfacecolor="white", markersize=8)
        axes.plot(ends[1], place, "o", color=colour, markersize=8)
    axes.set_yticks(range(len(order)), order)
    log_axis(axes, "x")
    axes.set_xlabel(f"BCE to the clean image (nats per pixel), {at}")
    axes.set_title("hollow: the encoder alone; filled: refined", fontsize=9, color="0.35")
    plain_axes(axes)
    return figure


def front(found: Found) -> Figure:
    """Clean against noisy errors, refined."""
    points = {
        label: [(bce(run.refined[NOISY]), bce(run.refined[CLEAN])) for run in runs]
        for label, runs in found.items()
    }
    ours = [label for label in found if "Fisher" in label]
    x, y = (f"BCE to the clean image, refined, {at}" for at in (NOISY, CLEAN))
    return tradeoff(points, x, y, ours)


def conclusions(found: Found) -> list[str]:
    """Of each model what the search takes away; who is on the front, by encoders and refined."""
    said = []
    for label, runs in found.items():
        before, after = (_mean(runs, kind, NOISY, "bce") for kind in ("encoded", "refined"))
        clean = [_mean(runs, kind, CLEAN, "bce") for kind in ("encoded", "refined")]
        nmi = [_mean(runs, kind, NOISY, "nmi") for kind in ("encoded", "refined")]
        said.append(
            f"- {label}: BCE at {NOISY} {before:.3f} → {after:.3f} ({after / before - 1:+.0%}), on "
            f"clean images {clean[0]:.3f} → {clean[1]:.3f}; NMI at {NOISY} {nmi[0]:.2f} → "
            f"{nmi[1]:.2f}."
        )
    for kind, words in (("encoded", "the encoders alone"), ("refined", "refined latents")):
        means = {
            label: (_mean(runs, kind, NOISY, "bce"), _mean(runs, kind, CLEAN, "bce"))
            for label, runs in found.items()
        }
        said.append(
            f"- On the Pareto front of BCE under noise and on clean images, by {words}: "
            f"{'; '.join(pareto_front(means))}."
        )
    return said


def table(
    found: Found, columns: Sequence[tuple[str, Measure]]
) -> tuple[list[str], list[list[Cell]]]:
    """Models down, twice each; what their images went through, and a measure of it, across."""
    header = ["model", "latents", *(f"{NAMES[measure]}, {at}" for at, measure in columns)]
    rows: list[list[Cell]] = [
        [
            label,
            words,
            *(
                spread([getattr(getattr(run, kind)[at], measure) for run in runs])
                for at, measure in columns
            ),
        ]
        for label, runs in found.items()
        for kind, words in (("encoded", "encoder"), ("refined", "refined"))
    ]
    return header, rows


def page(data: str, network: str, budget: Budget, found: Found, cost: float, out: Path) -> Report:
    report = begun(f"Beyond the encoder: refined latents, on {data}", study_command())
    report.text(
        f"{budget.in_words()}, {NETWORKS[network]}, {budget.means_in_words()}; measured on "
        f"{found[GRADED][0].encoded[CLEAN].images:,} test images. The "
        f"{LABELS['fisher-denoising']} and the {GRADED} have seen noise of variances up to 1, most "
        "of them small, all others clean images only. Encoders have SiLU for an activation, or, "
        f"called so, asinh; the decoder of the {ASINH} has a fixed s², 0.1. Refined: "
        f"`fisherae.refined`, {STEPS} steps, the level of the noise unknown to it, the prior "
        "fitted anew to the latents of clean "
        f"training images, for all alike; that takes the CPU time of {cost:.0f} decoded images."
    )
    report.text("\n".join(conclusions(found)))

    def draw(figure: Figure, name: str, alt: str) -> None:
        add_figure(report, figure, out / f"{data}-{network}-{name}", alt)

    some = {label: found[label] for label in CLOSER}
    draw(dumbbells(found, NOISY), "refined", f"BCE at {NOISY} by encoder alone and refined")
    draw(front(found), "front", "refined: BCE on clean images against BCE under noise")
    measures: tuple[Measure, ...] = ("bce", "nmi")
    columns = [(_noise(level), measure) for measure in measures for level in NOISE]
    columns.append((NOISY, "probe"))
    report.table(*table(found, columns))
    report.heading("The length of the search")
    lengths = {label: [run.by_steps for run in runs] for label, runs in some.items()}
    steps = f"steps of the search, {NOISY}"
    draw(error_curves(lengths, "bce", steps), "steps", f"BCE against {steps}")
    report.table(
        ["BCE by steps", *(f"{point.level:g}" for point in found[GRADED][0].by_steps)],
        [
            [
                label,
                *(spread([bce(point) for point in of_all]) for of_all in zip(*own, strict=True)),
            ]
            for label, own in lengths.items()
        ],
    )
    report.heading("Other corruptions")
    report.text(
        "The search takes what the decoder does not explain for noise that is white. "
        f"BCE under {', '.join(f'{name} ({level:g})' for name, level in OTHERS.items())}:"
    )
    return report.table(*table(some, [(name, "bce") for name in OTHERS]))


def main() -> None:
    parser = study_parser(__doc__)
    add_places(parser)
    parser.add_argument("--network", choices=NETWORKS, default="small")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--images", type=int, default=1_000)
    add_trainings(parser)
    options = parser.parse_args()
    data, network = options.data, options.network
    if options.images < 1:
        raise InputError(f"--images {options.images}: measure at least one test image")
    budget = replace(
        budget_of(options, data), epochs=options.epochs, test_images=options.images, noise=NOISE
    )
    root = options.runs / f"epochs-{budget.epochs}"
    found: Found = {label: [] for label in MODELS}
    for seed in budget.seeds:
        for label in MODELS:
            found[label].append(measured(data, network, label, budget, seed, root))
    vae = run_of(data, "vae", "default", budget, budget.seeds[0], root, network=network)[0]
    measures = Measures(vae, Protocol.of(budget), root / "extractors")
    cost = decoded_images(measures.model, measures.images[:200])
    report = page(data, network, budget, found, cost, options.out)
    write_atomically(options.out / f"{data}-{network}.md", report.markdown())
    rows = [
        {"model": label, "latents": kind, "seed": seed, "shown": at} | asdict(point)
        for label, runs in found.items()
        for seed, run in zip(budget.seeds, runs, strict=True)
        for kind, points in (("encoded", run.encoded), ("refined", run.refined))
        for at, point in points.items()
    ]
    write_csv(options.out / f"{data}-{network}.csv", rows)
    by_steps = [
        {"model": label, "seed": seed, "steps": int(point.level), "bce": point.bce}
        for label in CLOSER
        for seed, run in zip(budget.seeds, found[label], strict=True)
        for point in run.by_steps
    ]
    write_csv(options.out / f"{data}-{network}-steps.csv", by_steps)


if __name__ == "__main__":
    sys.exit(exit_code(main))
