"""A Gaussian posterior against a polynomial one of order 4, which may be skew or have two modes.

(a) Where the truth is known: x = z² + noise with z ~ N(0, 1). The decoder is given, only the
encoder is trained. The true posterior, ∝ exp(−z²/2 − (x − z²)² / (2 s²)), has two modes where
x > s² / 2; its logarithm is a polynomial of order 4. (b) On images: the default Fisher AE with
either posterior, under noise. What was trained before is taken as it is.

    python results/posterior.py OUT [--steps N] [--seeds 0 1 2]
                                             (a): writes OUT/known-answer.md, .csv, .png, .svg, in
                                             minutes
    python results/posterior.py OUT --runs RUNS [--data digits|mnist] [--budget cpu] [--seeds 0 1 2]
                                             (b): RUNS holds the runs on images, or gets them;
                                             writes OUT/DATA.md, …: digits in minutes, MNIST at the
                                             cpu budget in hours
"""

import dataclasses
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import fisherae as fae
from fisherae.cli import exit_code
from fisherae.evaluation.figures import error_curves, save_figure, write_csv
from fisherae.evaluation.figures.style import plain_axes
from fisherae.evaluation.report import Cell, robustness_table, spread
from fisherae.evaluation.robustness import Measure, RobustnessPoint
from fisherae.files import write_atomically
from fisherae.networks import mlp
from fisherae.recipes.build import build_objective
from fisherae.recipes.config import Recipe
from fisherae.studies.config import Budget
from fisherae.studies.measures import Measures, Protocol
from fisherae.studies.models import run_of, train_once
from fisherae.studies.options import add_trainings, budget_of, study_command, study_parser
from fisherae.studies.pages import add_figure, begun

ORDERS = {"Gaussian": 2, "polynomial": 4}
STYLES = {
    "Gaussian": {"color": "#D55E00", "linestyle": "--"},
    "polynomial": {"color": "#0072B2", "linestyle": "-"},
}
OBJECTIVES: dict[str, Callable[[fae.Autoencoder], nn.Module]] = {
    "Fisher": fae.FisherObjective,
    "ELBO": fae.ElboObjective,
}
VARIANCE = 0.5  # s²
SHOWN = (-0.5, 0.5, 1.5, 3.0)  # x
GRID = torch.linspace(-6, 6, 1_201, dtype=torch.float64)
STEPS, BATCH = 1_000, 128
MEASURES: tuple[Measure, ...] = ("bce", "nmi")


class Square(nn.Module):
    """The decoder of (a)."""

    def forward(self, z: Tensor) -> Tensor:
        return z.square()


def data(n: int) -> Tensor:
    return torch.randn(n, 1).square() + math.sqrt(VARIANCE) * torch.randn(n, 1)


def trained(order: int, objective: str, seed: int, steps: int = STEPS) -> fae.Autoencoder:
    """An encoder for the decoder of (a)."""
    torch.manual_seed(seed)
    encoder = mlp.encoder((1,), 1, outputs_per_dim=order, hidden=(64, 64))
    likelihood = fae.GaussianLikelihood(VARIANCE)
    posterior: Literal["gaussian", "polynomial"] = "gaussian" if order == 2 else "polynomial"
    model = fae.Autoencoder(encoder, Square(), fae.StandardNormal(1), likelihood, posterior)
    loss = OBJECTIVES[objective](model)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(data(BATCH)).total.backward()
        nn.utils.clip_grad_norm_(encoder.parameters(), 10.0)
        optimizer.step()
        schedule.step()
    return model


def log_truth(x: Tensor) -> Tensor:
    """log p(z|x) on the grid, (n, points)."""
    log_p = -GRID.square() / 2 - (x.double() - GRID.square()).square() / (2 * VARIANCE)
    return log_p - log_p.logsumexp(1, keepdim=True) - (GRID[1] - GRID[0]).log()


@torch.no_grad()
def log_posterior(model: fae.Autoencoder, x: Tensor) -> Tensor:
    """log q(z|x) on the grid, (n, points)."""
    q = model.encode(x)
    assert not isinstance(q, fae.distributions.Delta)
    return torch.stack([q.log_prob(z.float().expand(len(x), 1)) for z in GRID], dim=1).double()


def divergence(model: fae.Autoencoder, x: Tensor) -> Tensor:
    """KL[q(z|x) ‖ p(z|x)] of each x, in nats."""
    log_q = log_posterior(model, x)
    return (log_q.exp() * (log_q - log_truth(x))).sum(1) * (GRID[1] - GRID[0])


def known_answer(
    seeds: Sequence[int], steps: int = STEPS
) -> tuple[list[dict[str, object]], Figure]:
    """(a): a row per objective, posterior and seed, and the densities of every seed."""
    shown = torch.tensor(SHOWN)[:, None]
    torch.manual_seed(1_000)
    held_out = data(400)
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    axes = figure.subplots(len(OBJECTIVES), len(SHOWN), sharex=True, sharey="col")
    rows: list[dict[str, object]] = []
    for i, objective in enumerate(OBJECTIVES):
        for axis, log_p in zip(axes[i], log_truth(shown), strict=True):
            axis.fill_between(GRID, log_p.exp(), color="0.85", label="truth")
        for name, order in ORDERS.items():
            for seed in seeds:
                model = trained(order, objective, seed, steps)
                at = divergence(model, shown).tolist()
                mean = divergence(model, held_out).mean().item()
                rows.append(
                    {"objective": objective, "posterior": name, "seed": seed, "kl": mean}
                    | {f"kl at x = {x:g}": value for x, value in zip(SHOWN, at, strict=True)}
                )
                print(rows[-1], flush=True)
                for axis, log_q in zip(axes[i], log_posterior(model, shown), strict=True):
                    label = name if seed == seeds[0] else None
                    axis.plot(GRID, log_q.exp(), **STYLES[name], lw=1.3, label=label)
    for column, x in enumerate(SHOWN):
        axes[0, column].set_title(f"x = {x:g}", fontsize=10)
        axes[-1, column].set_xlabel("z")
        top = log_truth(torch.tensor([[x]])).exp().max().item()
        axes[0, column].set(xlim=(-3, 3), ylim=(0, 2.2 * top))
    for i, objective in enumerate(OBJECTIVES):
        axes[i, 0].set_ylabel(f"{objective}\ndensity")
    for axis in axes.flat:
        plain_axes(axis)
    axes[0, 0].legend(fontsize=8, frameon=False)
    return rows, figure


def image_run(
    dataset: str, order: int, budget: Budget, seed: int, runs: Path
) -> tuple[Path, Recipe]:
    return run_of(dataset, "fisher", "default", budget, seed, runs, posterior_order=order)


def step_seconds(dataset: str, budget: Budget, repeats: int = 30) -> dict[str, float]:
    """CPU seconds of a forward and backward pass with either posterior, the least of so many."""
    least = dict.fromkeys(ORDERS, float("inf"))
    recipes = {
        name: image_run(dataset, order, budget, 0, Path())[1] for name, order in ORDERS.items()
    }
    shape = (1, 28, 28) if dataset == "mnist" else (1, 8, 8)
    objectives = {name: build_objective(chosen, shape) for name, chosen in recipes.items()}
    for _ in range(repeats):
        for name, objective in objectives.items():
            x = torch.rand(recipes[name].training.batch_size, *shape)
            start = time.process_time()
            objective(x).total.backward()
            least[name] = min(least[name], time.process_time() - start)
    return least


def known_answer_table(rows: list[dict[str, object]]) -> tuple[list[str], list[list[Cell]]]:
    keys = [key for key in rows[0] if key.startswith("kl")]
    heads = ["mean over x", *(key.removeprefix("kl at ") for key in keys[1:])]
    lines: list[list[Cell]] = []
    for objective in OBJECTIVES:
        for name in ORDERS:
            own = [row for row in rows if (row["objective"], row["posterior"]) == (objective, name)]
            cells = [spread([float(str(row[key])) for row in own]) for key in keys]
            lines.append([objective, name, *cells])
    return ["objective", "posterior", *heads], lines


def study_known_answer(out: Path, budget: Budget, steps: int) -> None:
    rows, figure = known_answer(budget.seeds, steps)
    save_figure(figure, out / "known-answer")
    write_csv(out / "known-answer.csv", rows)
    report = begun("A posterior with two modes, Gaussian and polynomial", study_command())
    report.text(
        f"x = z² + noise of variance {VARIANCE:g}, z ~ N(0, 1), the decoder given, the encoder "
        f"trained for {steps:,} steps of {BATCH}. KL[q(z|x) ‖ p(z|x)] to the true posterior in "
        "nats, over 400 values of x and at those of the figure. A mode left out costs log 2 = "
        f"0.69. Means ± standard deviations over {budget.seeds_in_words()}."
    )
    report.table(*known_answer_table(rows))
    report.text("![The densities](known-answer.png)")
    write_atomically(out / "known-answer.md", report.markdown())


def study_images(runs: Path, out: Path, dataset: str, budget: Budget) -> None:
    points: dict[str, list[list[RobustnessPoint]]] = {}
    for name, order in ORDERS.items():
        points[f"Fisher AE, {name} posterior"] = [
            Measures(
                train_once(*image_run(dataset, order, budget, seed, runs)),
                Protocol.of(budget, map_images=0),
                runs / "extractors",
            ).points("noise")
            for seed in budget.seeds
        ]
    rows = [
        {"model": name, "seed": seed, **dataclasses.asdict(point)}
        for name, own in points.items()
        for seed, run in zip(budget.seeds, own, strict=True)
        for point in run
    ]
    write_csv(out / f"{dataset}.csv", rows)
    seconds = step_seconds(dataset, budget)
    report = begun(f"Gaussian and polynomial posterior on {dataset}", study_command())
    report.text(
        f"The default recipe `{dataset}-fisher`, {budget.in_words()}, "
        "with `--posterior-order 2` and 4, against noise variance. A step costs "
        f"{seconds['polynomial'] / seconds['Gaussian']:.2f} times as much with order 4 "
        f"({1e3 * seconds['polynomial']:.1f} against {1e3 * seconds['Gaussian']:.1f} ms of CPU "
        "time, forward and backward). Means ± standard deviations over "
        f"{budget.seeds_in_words()}."
    )
    figure = error_curves(points, "bce", "noise variance σ²")
    add_figure(report, figure, out / dataset, "BCE under noise")
    for measure in MEASURES:
        report.table(*robustness_table(points, measure), measure.upper())
    write_atomically(out / f"{dataset}.md", report.markdown())


def main() -> None:
    parser = study_parser(__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--data", choices=("digits", "mnist"), help="(default: digits)")
    add_trainings(parser)
    parser.add_argument("--steps", type=int, help=f"(default: {STEPS})")
    given = parser.parse_args()
    torch.set_num_threads(1)
    budget = budget_of(given, given.data or "digits")
    if given.runs is None and given.data:
        parser.error("--data is of the study on images: give --runs too")
    if given.runs is not None and given.steps:
        parser.error("--steps is of the study of the known answer, which --runs leaves out")
    if given.runs is None:
        study_known_answer(given.out, budget, given.steps or STEPS)
    else:
        study_images(given.runs, given.out, given.data or "digits", budget)


if __name__ == "__main__":
    sys.exit(exit_code(main))
