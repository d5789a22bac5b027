"""A picture of every corruption: clean images, and beside each its levels in growing order.

    python results/corruptions.py DATA OUT [--images 2]
                                             DATA: digits, mnist, or a folder of images; writes
                                             OUT/DATA.png

What each of them does: docs/robustness.md.
"""

import sys
from pathlib import Path

import torch

from fisherae.cli import exit_code
from fisherae.data import sources
from fisherae.data.corruptions import CORRUPTIONS, LEVELS, corruption_levels
from fisherae.data.images import to_float
from fisherae.evaluation.figures import image_grid
from fisherae.evaluation.figures.files import render
from fisherae.evaluation.robustness import corrupt
from fisherae.files import write_atomically
from fisherae.studies.options import study_parser


def main() -> None:
    parser = study_parser(__doc__)
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=2)
    options = parser.parse_args()
    x = to_float(sources.load(options.data, "test", limit=options.images).images, (0.0, 1.0))
    columns = max(map(len, LEVELS.values())) + 1  # the last one stays white
    rows = []
    for name in CORRUPTIONS:
        shown = [corrupt(x, corruption) for corruption in corruption_levels(name)]
        shown += [torch.ones_like(x)] * (columns - len(shown))
        rows.append(torch.stack(shown, dim=1).flatten(0, 1)[:-1])
    picture = render(image_grid(rows, list(CORRUPTIONS)), "png")
    write_atomically(options.out / f"{Path(options.data).name}.png", picture)


if __name__ == "__main__":
    sys.exit(exit_code(main))
