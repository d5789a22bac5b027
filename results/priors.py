"""How well samples of priors resemble real images: trained along, and fitted afterwards.

For every run, its prior as trained and five that are fitted to its latents afterwards: the
factorable polynomial, a full Gaussian, the polynomial with pairwise terms, a mixture of ten
Gaussians, and the energy with learned statistics. Where no exact sampler exists, MALA draws, from
chains that start at the Gaussian of the fit.

    python results/priors.py [RUN ...] OUT [--runs DIR] [--budget cpu] [--seeds 0 1 2]
                                             [--samples 2048] [--extractor NAME]
                                             finished runs of one data set; without any, the Fisher
                                             AE with each prior, polynomial ones following the
                                             latents or not, and the VAE are trained on digits and
                                             kept in DIR; writes OUT/summary.md, its numbers,
                                             and figures of scores, samples and latents
"""

import dataclasses
import statistics
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Generator, Tensor

from fisherae.autoencoder import decoded
from fisherae.cli import exit_code
from fisherae.data.images import to_unit
from fisherae.evaluation import figures
from fisherae.evaluation.generation import generation_scores
from fisherae.evaluation.report import Cell
from fisherae.files import write_atomically
from fisherae.priors import GaussianMixture, Prior
from fisherae.recipes.config import FisherRecipe, Recipe
from fisherae.recipes.latent_prior import with_prior
from fisherae.recipes.run import latents_of, recipe_of
from fisherae.samplers import sample
from fisherae.samplers.exact import EXACT
from fisherae.studies.compare import grouped
from fisherae.studies.config import Budget
from fisherae.studies.measures import Measures, Protocol
from fisherae.studies.models import run_of, train_once
from fisherae.studies.options import add_trainings, budget_of, study_command, study_parser
from fisherae.studies.pages import begun
from fisherae.studies.study import Study

PRIORS = {
    "trained": "as trained",
    "refit": "polynomial",
    "gaussian": "full Gaussian",
    "pairwise": "pairwise",
    "mixture": "mixture",
    "energy": "energy",
}
INSIDE = {
    "polynomial": "",
    "pairwise": ", pairwise",
    "energy": ", energy",
}
TRAINED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("fisher", {}),
    ("fisher", {"standardize_prior": False}),
    ("fisher", {"prior": "pairwise"}),
    ("fisher", {"prior": "pairwise", "standardize_prior": False}),
    ("fisher", {"prior": "energy"}),
    ("vae", {}),
)
MALA_STEPS = 400
SHOWN = 24
POINTS = 700  # of the latents and of the samples, in the plane


def trained(runs: Path, budget: Budget) -> list[Path]:
    """The digits' runs, trained unless they have been."""
    return [
        train_once(*run_of("digits", model, "default", budget, seed, runs, **fields))
        for model, fields in TRAINED
        for seed in budget.seeds
    ]


def labelled(runs: Sequence[Path]) -> dict[str, list[Path]]:
    """Models by recipe and prior, or, where that names several, as in `fisherae compare`."""
    models = grouped(runs)
    labels = [label(recipe_of(own[0])) for own in models.values()]
    unique = len(set(labels)) == len(labels)
    return dict(zip(labels, models.values(), strict=True)) if unique else models


def label(one: Recipe) -> str:
    if not isinstance(one, FisherRecipe):
        return one.name
    fixed = one.objective.prior != "energy" and not one.objective.standardize_prior
    return one.name + INSIDE[one.objective.prior] + (", not standardised" if fixed else "")


def fitted(measures: Measures, kind: str) -> Prior:
    z = latents_of(measures.run)
    if kind == "gaussian":
        return GaussianMixture(z.shape[1], components=1).fit(z)
    return with_prior(measures.model, kind, z, measures.protocol.seed).prior


def draws(model: str, measures: Measures) -> tuple[dict[str, Tensor], list[dict[str, object]]]:
    """Latents from each prior, and what they score as images."""
    drawn, rows = {}, []
    extractor, reference = measures.yardstick
    real = to_unit(measures.images, measures.value_range)
    for kind in PRIORS:
        prior, generator = fitted(measures, kind), Generator().manual_seed(measures.protocol.seed)
        options: dict[str, Any] = {} if isinstance(prior, EXACT) else {"steps": MALA_STEPS}
        z, diagnostics = sample(
            prior,
            measures.protocol.samples,
            generator=generator,
            **options,
            return_diagnostics=True,
        )
        drawn[kind] = z
        images = to_unit(decoded(measures.model, z), measures.value_range)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a bias, which the scores carry
            scores = generation_scores(images, real, extractor, reference=reference)
        rows += [
            {"model": model, "seed": measures.seed, "prior": kind}
            | {"sampler": diagnostics.method, "acceptance": diagnostics.acceptance}
            | dataclasses.asdict(score)
            for score in scores
        ]
    return drawn, rows


def table(rows: Sequence[dict[str, object]], metric: str) -> tuple[list[str], list[list[Cell]]]:
    """Means and standard deviations over the seeds."""
    lines: list[list[Cell]] = []
    for model in dict.fromkeys(str(row["model"]) for row in rows):
        values = [over_seeds(rows, model, prior, metric) for prior in PRIORS]
        cells = [f"{mean:.3g}" + ("" if std is None else f" ± {std:.2g}") for mean, std in values]
        lines.append([model, *cells])
    return [metric, *PRIORS.values()], lines


def over_seeds(
    rows: Sequence[dict[str, object]], model: str, prior: str, metric: str
) -> tuple[float, float | None]:
    key = (model, prior, metric)
    values = [
        float(str(row["value"]))
        for row in rows
        if (row["model"], row["prior"], row["metric"]) == key
    ]
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def plane(latents: dict[str, Tensor], drawn: dict[str, dict[str, Tensor]]) -> Figure:
    """Latents (grey) and samples (blue) of the first seeds, on the latents' principal axes."""
    size = (1.6 * len(PRIORS), 1.7 * len(latents))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(latents), len(PRIORS), squeeze=False)
    for line, (model, z) in zip(grid, latents.items(), strict=True):
        mean = z.mean(0)
        axes_of = torch.linalg.svd(z - mean, full_matrices=False).Vh[:2]
        flat = ((z - mean) @ axes_of.mT)[:POINTS]
        reach = 1.15 * flat.abs().max().item()
        for axes, (kind, title) in zip(line, PRIORS.items(), strict=True):
            own = ((drawn[model][kind] - mean) @ axes_of.mT)[:POINTS]
            for points, colour in ((flat, "0.6"), (own, "#0072B2")):
                axes.scatter(*points.mT, s=2, c=colour, linewidths=0, alpha=0.6, rasterized=True)
            axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[])
            axes.spines[:].set_color("0.8")
            axes.set_title(title, fontsize=9)
        line[0].set_ylabel(model.replace(", ", "\n"), fontsize=8)
    return figure


def main() -> None:
    parser = study_parser(__doc__)
    parser.add_argument("run", type=Path, nargs="*")
    parser.add_argument("out", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/priors"))
    add_trainings(parser)
    parser.add_argument("--samples", type=int, default=2_048)
    parser.add_argument("--extractor", help="of the features, as in `fisherae compare`")
    options = parser.parse_args()
    budget = budget_of(options, "digits")
    if options.run and options.seeds:
        parser.error("--seeds is of the models that are trained here: name runs or seeds")
    runs = options.run or trained(options.runs, budget)
    protocol = Protocol(samples=options.samples, extractor=options.extractor)
    study = Study(labelled(runs), protocol, options.runs / "extractors")
    rows: list[dict[str, object]] = []
    latents, drawn, images = {}, {}, {}
    for model, own in study.models.items():
        by_seed = [draws(model, measures) for measures in own]
        rows += [score for _, scores in by_seed for score in scores]
        latents[model], drawn[model] = latents_of(own[0].run), by_seed[0][0]
        images[model] = {kind: decoded(own[0].model, z[:SHOWN]) for kind, z in drawn[model].items()}
    write(options.out, rows)
    panels = {
        title: {model: by_kind[kind] for model, by_kind in images.items()}
        for kind, title in PRIORS.items()
    }
    figures.save_figure(
        figures.paper_panels(panels, study.first.value_range), options.out / "samples"
    )
    figures.save_figure(plane(latents, drawn), options.out / "latents")


def write(out: Path, rows: Sequence[dict[str, object]]) -> None:
    """The tables, the numbers behind them, and the bars of the FID."""
    figures.write_csv(out / "scores.csv", rows)
    fid, kid = (str(row["metric"]) for row in rows[:2])
    first = rows[0]
    seeds = sorted({int(str(row["seed"])) for row in rows})
    floors = [float(str(row["floor"])) for row in rows[:2]]
    report = begun(
        "Samples of priors trained along, and of priors fitted afterwards", study_command()
    ).text(
        f"{first['images']:,} samples against {first['reference_images']:,} test images, mean and "
        f"standard deviation over the seeds ({', '.join(map(str, seeds))}); lower is better. Two "
        "disjoint parts of the test images, of at most half of them each, are "
        f"{floors[0]:.3g} ({fid}) and {floors[1]:.2g} ({kid}) apart. So few images make the FID "
        "too large, by what differs from model to model; the KID has no such bias."
    )
    report.text(f"![{fid}](fid.png)")
    for metric in (fid, kid):
        report.table(*table(rows, metric))
    report.text(
        "As trained: the prior that the model was trained with, a polynomial one of the Fisher AE "
        "unless its name says otherwise, N(0, I) of the VAE; not standardised: with weights of "
        "the latents themselves, whose mean and standard deviation it does not follow. All others "
        "were fitted to the latents after training. Where no exact sampler exists (pairwise, "
        f"energy), MALA drew, in {MALA_STEPS} steps of which half are warm-up. An energy that does "
        "not beat the Gaussian on held-out latents is the full Gaussian: what differs then is what "
        "drawing anew changes."
    )
    report.text("![samples](samples.png)")
    report.text("![latents and samples in the plane](latents.png)")
    report.text("Latents grey, samples blue, on the two principal axes of the latents; first seed.")
    write_atomically(out / "summary.md", report.markdown())
    bars = {
        model: {title: over_seeds(rows, model, kind, fid) for kind, title in PRIORS.items()}
        for model in dict.fromkeys(str(row["model"]) for row in rows)
    }
    figures.save_figure(figures.generation_bars(bars, fid, floors[0]), out / "fid")


if __name__ == "__main__":
    sys.exit(exit_code(main))
