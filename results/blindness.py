"""Where score matching is blind, and what helps: small problems with known answers.

    python results/blindness.py OUT [--budget smoke|cpu] [--runs DIR]
                                             writes OUT/summary.md, its figures and its numbers;
                                             what was trained or measured before is taken from DIR

The cpu budget takes some ten minutes of one core. What it means: docs/blindness.md.
"""

import sys
from pathlib import Path

import torch

from fisherae.cli import exit_code
from fisherae.studies.blindness.study import BUDGETS, run
from fisherae.studies.options import study_command, study_parser


def main() -> None:
    parser = study_parser(__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--budget", choices=list(BUDGETS), default="cpu")
    parser.add_argument("--runs", type=Path, default=Path("runs/blindness"))
    options = parser.parse_args()
    torch.set_num_threads(1)  # the same numbers again; the networks are too small for more
    run(options.out, options.budget, options.runs, study_command())


if __name__ == "__main__":
    sys.exit(exit_code(main))
