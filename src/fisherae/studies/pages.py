"""The parts that every report has: the runs, and how they were measured."""

from collections.abc import Mapping
from typing import Any

from fisherae.distributions import GaussianLikelihood
from fisherae.evaluation.report import Cell, Report
from fisherae.files import read_json
from fisherae.recipes.evaluate import PROBE_IMAGES
from fisherae.studies.measures import SVGD_PARTICLES, Measures
from fisherae.studies.study import Study
from fisherae.training.run import RunDirectory

__all__ = ["add_protocol", "add_runs"]


def add_runs(report: Report, studies: Mapping[Any, Study]) -> None:
    """A table of every run: its command, cost and decoder variance."""
    header = ["model", "seed", "command", "seconds", "images per second", "s²"]
    rows = [
        _run_row(label, one)
        for study in studies.values()
        for label, runs in study.models.items()
        for one in runs
    ]
    environments = [
        read_json(one.run / "environment.json")
        for study in studies.values()
        for runs in study.models.values()
        for one in runs
    ]
    machines = dict.fromkeys(_machine(environment) for environment in environments)
    report.heading("Runs").table(
        header, rows, "Seconds are those of the training, on a machine with other work."
    )
    report.text("\n\n".join(machines))


def _run_row(label: str, measures: Measures) -> list[Cell]:
    run = RunDirectory.open(measures.run)
    last = run.metrics()[-1]
    images = max(line.get("images", 0) for line in run.metrics())
    command = " ".join(read_json(run.path / "environment.json")["command"][1:])
    likelihood = measures.model.likelihood
    variance = likelihood.variance if isinstance(likelihood, GaussianLikelihood) else None
    seed = measures.recipe.training.seed
    speed = images / last["seconds"] if last["seconds"] else None
    return [
        label,
        seed,
        f"fisherae {command}",
        round(last["seconds"]),
        speed,
        None if variance is None else variance.item(),
    ]


def _machine(environment: Mapping[str, object]) -> str:
    versions = environment["versions"]
    assert isinstance(versions, dict)
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    where = environment["gpu"] or environment["processor"]
    return f"{listed}; {environment['platform']}, {where}, {environment['threads']} threads."


def add_protocol(report: Report, study: Study) -> None:
    """How the runs were measured."""
    protocol, test = study.protocol, study.first.test
    classes = (
        f" NMI is 2 I / (H + H) of k-means with one cluster for each class, on the latents, and on "
        f"t-SNE maps of the first {protocol.map_images:,} images; the linear probe is fitted to "
        f"the latents of {PROBE_IMAGES:,} clean training images, or of all where there are fewer."
        if test.labels is not None
        else ""
    )
    report.heading("Protocol").text(
        f"{len(test):,} test images of {test.name}, pixels in {list(study.first.value_range)}. "
        "Errors are means per pixel, of the decoded posterior mean against the clean image, with "
        "the networks in eval mode. Noise is named by its variance and not clipped; masking sets "
        "a random fraction of the components to zero; every model sees the same corrupted images. "
        f"The seed of all measurements is {protocol.seed}.{classes}"
    )
    report.text(
        "Priors after training: refitted is the exponential family of eq. (13), fitted in closed "
        "form to samples of the aggregated posterior (order 4 for models with another prior); "
        "mixture is a mixture of ten Gaussians fitted to them; trained is the model's own, sampled "
        "exactly, its improper dimensions confined to the range of those samples; with SVGD it is "
        f"sampled as in the paper, {protocol.svgd_steps:,} iterations of step 0.001 from N(0, I), "
        f"in sets of {SVGD_PARTICLES} particles."
    )
