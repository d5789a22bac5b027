"""What the command lines of the studies in results/ share."""

import argparse
import shlex
import sys
from pathlib import Path

from fisherae.studies.config import BUDGETS

__all__ = ["add_trainings", "study_command", "study_parser"]


def study_parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser whose help is what the study says of itself, the docstring of its module."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_trainings(parser: argparse.ArgumentParser) -> None:
    """How large the trainings are that a study compares, and how many of each."""
    parser.add_argument(
        "--budget", choices=BUDGETS, default="cpu", help="how much is trained (default: cpu)"
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", help="a training of each for every seed (default: 0 1 2)"
    )


def study_command() -> str:
    """The command that is running, as it is given in the repository's root."""
    return shlex.join(["python", f"results/{Path(sys.argv[0]).name}", *sys.argv[1:]])
