"""Commands and their help page."""

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tyro

from fisherae import __version__
from fisherae.cli.options import Attack, Compare, Demo, Evaluate, ReportPage, Reproduce, Sample
from fisherae.cli.outcome import exit_code
from fisherae.cli.training import default_out, parse_training, recipes_page
from fisherae.errors import InputError
from fisherae.files import require_folder
from fisherae.recipes import named

__all__ = ["COMMANDS", "main"]

HELP = f"""\
fisherae {__version__}: Fisher auto-encoders, and the baselines that they are compared with

usage: fisherae COMMAND [options]        fisherae COMMAND --help

  demo       train all three on embedded digits and write a report (a minute or two)
  train      train a recipe:      fisherae train mnist-fisher --data path/to/mnist
  evaluate   error under noise:   fisherae evaluate runs/mnist-fisher
  attack     worst-case error:    fisherae attack runs/mnist-fisher
  sample     draw images:         fisherae sample runs/mnist-fisher --n 64
  compare    runs side by side:   fisherae compare runs/mnist-fisher runs/mnist-vae
  report     one page of runs:    fisherae report runs/mnist-fisher
  reproduce  the paper's figures: fisherae reproduce figure-1 --budget smoke

first steps

  fisherae demo                                    no data needed
  fisherae train --help                            the recipes
  fisherae train digits-fisher                     a model in half a minute
  fisherae train digits-fisher --preset paper      the same, to the paper's letter
  fisherae evaluate runs/digits-fisher --corruption blur
  fisherae reproduce --help                        every figure and table of the paper

options

  -h, --help      this page
  --version       the version

Exit codes: 0 done, 1 training or sampling failed, 2 something you gave is wrong, 130 stopped,
141 nobody reads what is printed.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns the exit code; errors that users make are one clear message."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        return exit_code(lambda: print(HELP, end=""))
    if words[0] == "--version":
        return exit_code(lambda: print(__version__))
    return exit_code(lambda: _known(words[0])(words[1:]))


def _known(name: str) -> Callable[[list[str]], None]:
    if name not in COMMANDS:
        known = ", ".join(COMMANDS)
        raise InputError(f"unknown command {name!r}; known: {known} (fisherae --help)")
    return COMMANDS[name]


def demo(words: list[str]) -> None:
    options = _parse(Demo, words, "demo")
    from fisherae.studies.demo import run_demo

    try:
        report = run_demo(options.out, options.seed, options.epochs)
    except KeyboardInterrupt:  # training's own advice, --resume, does not suit here
        raise KeyboardInterrupt("stopped; run the demo again to start it anew") from None
    print(f"report: {report.resolve()}")


def train(words: list[str]) -> None:
    if not words or words[0] in ("-h", "--help"):
        print(recipes_page())
        return
    name, options = words[0], words[1:]
    run, recipe = parse_training(name, options)
    from fisherae.recipes.run import epochs_done, train_recipe

    out, epochs = run.out or default_out(name, run.preset), recipe.training.epochs
    had_all = run.resume and epochs_done(out) == epochs
    train_recipe(recipe, out, run.resume)
    if had_all:
        print(f"{out} had all of its {epochs} epochs: it goes on with more, --epochs {2 * epochs}")
    print(f"run: {out}\nnext: fisherae evaluate {out}\n      fisherae sample {out}")


def sample(words: list[str]) -> None:
    options = _parse(Sample, words, "sample")
    from fisherae.recipes.evaluate import sample_run, save_samples

    out = options.out or options.run
    require_folder(out)
    images, value_range = sample_run(
        options.run, options.n, options.prior, options.method, options.seed, progress=True
    )
    stem = out / "samples"
    save_samples(images, value_range, stem)
    print(f"{len(images)} samples: {stem}.png  {stem}.svg  {stem}.npy")
    if options.prior == "refit":
        print("mostly nearer to the images: --prior mixture")


def evaluate(words: list[str]) -> None:
    options = _parse(Evaluate, words, "evaluate")
    from fisherae.recipes.evaluate import evaluate_run, evaluate_suite

    if options.corruption == "suite":
        if options.levels is not None:
            raise InputError("the suite has its own levels: give --levels with one corruption")
        by_name, stem = evaluate_suite(
            options.run, options.images, options.data, options.seed, options.refine
        )
        _print_suite(by_name)
        print(f"written: {stem}.json .csv .png .svg")
        return
    points, stem = evaluate_run(
        options.run,
        options.corruption,
        options.levels,
        options.images,
        options.data,
        options.seed,
        options.refine,
    )
    from fisherae.data.corruptions import CORRUPTIONS

    _print_points(points, CORRUPTIONS[options.corruption].label)
    print(f"written: {stem}.json .csv .png .svg")


def attack(words: list[str]) -> None:
    options = _parse(Attack, words, "attack")
    from fisherae.recipes.evaluate import attack_run

    points, stem = attack_run(
        options.run,
        options.norm,
        options.target,
        options.radii,
        options.steps,
        options.restarts,
        options.images,
        options.seed,
    )
    _print_points(points, f"{options.norm} radius")
    print(f"written: {stem}.json .csv .png .svg")


def compare(words: list[str]) -> None:
    options = _parse(Compare, words, "compare")
    from fisherae.studies.compare import compare_runs

    report = compare_runs(
        options.runs,
        options.out,
        options.images,
        options.samples,
        options.extractor,
        options.suite,
        options.seed,
        _command("compare", words),
        options.priors,
    )
    print(f"report: {report.resolve()}")


def report(words: list[str]) -> None:
    options = _parse(ReportPage, words, "report")
    from fisherae.studies.compare import report_runs

    if not options.runs:
        raise InputError("no runs: name at least one run directory")
    out = options.out or options.runs[0]
    out = out / "report.html" if out.is_dir() else out
    page = report_runs(options.runs, out, options.images, options.seed, _command("report", words))
    print(f"report: {page.resolve()}")


def reproduce(words: list[str]) -> None:
    options = _parse(Reproduce, words, "reproduce")
    from fisherae.studies.reproduce import reproduce as reproduce_items

    presets: tuple[named.Preset, ...] = ("default", "paper")
    reports = reproduce_items(
        options.items,
        options.budget,
        presets if options.preset == "both" else (options.preset,),
        options.runs or Path("runs/reproduce") / options.budget,
        options.out or Path("reproduce") / options.budget,
        options.seeds,
        options.extractor,
        _command("reproduce", words),
    )
    for page in reports:
        print(f"report: {page.resolve()}")


def _command(name: str, words: list[str]) -> str:
    return shlex.join(["fisherae", name, *words])


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "demo": demo,
    "train": train,
    "evaluate": evaluate,
    "attack": attack,
    "sample": sample,
    "compare": compare,
    "report": report,
    "reproduce": reproduce,
}


def _parse(options: type[Any], words: list[str], command: str) -> Any:
    return tyro.cli(options, args=words, prog=f"fisherae {command}")


def _print_points(points: Sequence[Any], label: str) -> None:
    _print_table(
        (label, "BCE", "MSE", "NMI", "probe", "shift"),
        [
            (f"{p.level:.4g}", *map(_number, (p.bce, p.mse, p.nmi, p.probe, p.shift)))
            for p in points
        ],
        "error to the clean image, mean per pixel; shift of the latents relative to their spread",
    )


def _print_suite(by_name: Mapping[str, Sequence[Any]]) -> None:
    """Errors by severity, in 80 columns."""
    rows = []
    for name, points in by_name.items():
        errors = [point.mse if point.bce is None else point.bce for point in points]
        rows.append((name, *(_number(value, 3) for value in (*errors, points[-1].probe))))
    severities = ["clean", *map(str, range(1, len(rows[0]) - 2))]
    _print_table(
        ("severity", *severities, "probe"),
        rows,
        "error to the clean image, mean per pixel (BCE, or MSE of pixels in [-1, 1]); probe: "
        "accuracy on the latents at the last severity",
    )


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(caption=caption, caption_justify="left")
    for column in header:
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
