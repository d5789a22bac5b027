"""The parts that reports share: what wrote them and where, the runs, how they were measured."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from fisherae.distributions import GaussianLikelihood
from fisherae.evaluation.figures import save_figure
from fisherae.evaluation.report import Cell, Report
from fisherae.files import read_json
from fisherae.recipes.evaluate import PROBE_IMAGES
from fisherae.studies.items import Drawn
from fisherae.studies.measures import SVGD_PARTICLES, Measures
from fisherae.studies.study import Study
from fisherae.training.run import RunDirectory, environment

__all__ = ["add_figure", "add_protocol", "add_runs", "add_tables", "begun", "machine"]


def begun(title: str, command: str) -> Report:
    """A page that says which command writes it, and on what machine."""
    return Report(title).command(command).text(f"Written on {machine(environment())}")


def add_figure(report: Report, figure: Figure, stem: Path, alt: str) -> None:
    """Writes a figure beside the page, as STEM.png and STEM.svg, and links to it."""
    saved = save_figure(figure, stem)
    report.figure(figure, alt=alt, link=saved[0].name, saved=saved)


def machine(of: Mapping[str, Any]) -> str:
    """An environment in words: versions, processor or GPU."""
    listed = ", ".join(f"{name} {version}" for name, version in of["versions"].items())
    where = of["gpu"] or of["processor"]
    return f"{where}, {of['threads']} thread(s), {of['platform']}; {listed}."


def add_tables(report: Report, drawn: Drawn) -> None:
    """The tables that are read beside a figure."""
    for table in drawn.tables:
        report.table(table.header, table.rows, table.caption)


def add_runs(report: Report, studies: Mapping[Any, Study]) -> None:
    """A table of every run: its command, cost and decoder variance; and the machines."""
    runs = [
        (f"{label}, {preset} preset" if preset else label, one)
        for preset, study in studies.items()
        for label, own in study.models.items()
        for one in own
    ]
    environments = [read_json(one.run / "environment.json") for _, one in runs]
    report.heading("Runs").table(
        ["model", "seed", "images", "epochs", "seconds", "images per second", "s²", "command"],
        [_row(label, one, where) for (label, one), where in zip(runs, environments, strict=True)],
        "Seconds are those of the training, on a machine with other work; s² is the (mean) "
        "variance of a Gaussian decoder.",
    )
    report.text("\n\n".join(dict.fromkeys(map(machine, environments))))


def _row(label: str, measures: Measures, where: Mapping[str, Any]) -> list[Cell]:
    metrics = RunDirectory.open(measures.run).metrics()
    images, seconds = max(line.get("images", 0) for line in metrics), metrics[-1]["seconds"]
    epochs = measures.recipe.training.epochs
    likelihood = measures.model.likelihood
    variance = likelihood.variance if isinstance(likelihood, GaussianLikelihood) else None
    return [
        label,
        measures.seed,
        round(images / epochs),
        epochs,
        round(seconds),
        images / seconds if seconds else None,
        None if variance is None else variance.mean().item(),
        "; ".join(dict.fromkeys(map(_command, [where, *where.get("resumed", [])]))),
    ]


def _command(environment: Mapping[str, Any]) -> str:
    program, *words = environment["command"]
    return shlex.join([*_program(program), *words])


def _program(path: str) -> list[str]:
    """What was called: `fisherae`, also as `python -m fisherae.cli`, or another program."""
    return ["fisherae"] if Path(path).name in ("fisherae", "__main__.py") else ["python", path]


def add_protocol(report: Report, study: Study) -> None:
    """How the runs were measured: what was measured is said, and nothing else."""
    protocol, test = study.protocol, study.first.test
    text = (
        f"{len(test):,} test images of {test.name}, pixels in {list(study.first.value_range)}. "
        "Errors are means per pixel, of the decoded posterior mean against the clean image, with "
        "the networks in eval mode. Noise is named by its variance and not clipped; masking sets "
        "a random fraction of the components to zero; every model sees the same corrupted images. "
        f"The seed of all measurements is {protocol.seed}."
    )
    if test.labels is not None:
        text += (
            " NMI is 2 I / (H + H) of k-means on the latents, one cluster for each class. The "
            f"linear probe is fitted to the latents of {PROBE_IMAGES:,} clean training images, or "
            "of all where there are fewer."
        )
        if protocol.map_images:
            text += f" t-SNE maps show {min(protocol.map_images, len(test)):,} of the test images."
    report.heading("Protocol").text(text)
    report.text(
        "The statistics of batch normalisation are averages over training images, taken after the "
        "training."
    )
    report.text(
        "Priors after training: refitted is the exponential family of eq. (13), fitted in closed "
        "form to samples of the aggregated posterior (order 4 for models with another prior)."
    )
    if protocol.samples:
        report.text(
            "Mixture is a mixture of ten Gaussians fitted to the same samples; trained is the "
            "model's own prior, sampled exactly, its improper dimensions confined to the range of "
            "those samples. With SVGD it is sampled as in the paper, but within those confines: "
            f"{protocol.svgd_steps:,} iterations of step 0.001, in sets of {SVGD_PARTICLES} "
            "particles, from N(0, I) or, of a prior that followed the latents, from their Gaussian."
        )
