r"""The figures of the paper and of a run, each a function that returns a matplotlib `Figure`."""

from fisherae.evaluation.figures.curves import error_curves, training_curves
from fisherae.evaluation.figures.files import save_figure, write_csv
from fisherae.evaluation.figures.images import image_grid, reconstructions, samples

__all__ = [
    "error_curves",
    "image_grid",
    "reconstructions",
    "samples",
    "save_figure",
    "training_curves",
    "write_csv",
]
