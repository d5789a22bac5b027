"""What the command lines of the studies in results/ share."""

import argparse
import shlex
import sys
from pathlib import Path

from fisherae.studies.config import BUDGETS, Budget

__all__ = ["NETWORKS", "add_places", "add_trainings", "budget_of", "study_command", "study_parser"]

NETWORKS = {
    "mlp": "fully connected networks",
    "small": "small convolutional networks",
    "mnist": "the networks of Table 2",
}
"""What a study may train instead of a recipe's own."""


def study_parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser whose help is what the study says of itself, the docstring of its module."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_places(parser: argparse.ArgumentParser) -> None:
    """Where the runs and what is found of them are written, and the images of both."""
    parser.add_argument("runs", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", choices=("mnist", "digits"), default="mnist")


def add_trainings(parser: argparse.ArgumentParser) -> None:
    """How large the trainings are that a study compares, and how many of each."""
    parser.add_argument(
        "--budget", choices=BUDGETS, default="cpu", help="how much is trained (default: cpu)"
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", help="a training of each for every seed (default: as many "
        "as the budget has)",
    )  # fmt: skip


def budget_of(options: argparse.Namespace, data: str) -> Budget:
    """The budget that was chosen by `add_trainings`, with the seeds.

    Raises:
        InputError: if the seeds are none.
    """
    return BUDGETS[options.budget][data].seeded(options.seeds)


def study_command() -> str:
    """The command that is running, as it is given in the repository's root."""
    return shlex.join(["python", f"results/{Path(sys.argv[0]).name}", *sys.argv[1:]])
