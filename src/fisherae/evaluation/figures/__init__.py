r"""The figures of the paper and of a run, each a function that returns a matplotlib `Figure`."""

from fisherae.evaluation.figures.bars import generation_bars
from fisherae.evaluation.figures.curves import error_curves, training_curves
from fisherae.evaluation.figures.files import save_figure, write_csv
from fisherae.evaluation.figures.images import (
    image_grid,
    interleaved,
    paper_panels,
    reconstructions,
    samples,
)
from fisherae.evaluation.figures.maps import tsne_maps
from fisherae.evaluation.figures.suite import suite_curves, suite_map
from fisherae.evaluation.figures.tradeoff import pareto_front, tradeoff

__all__ = [
    "error_curves",
    "generation_bars",
    "image_grid",
    "interleaved",
    "paper_panels",
    "pareto_front",
    "reconstructions",
    "samples",
    "save_figure",
    "suite_curves",
    "suite_map",
    "tradeoff",
    "training_curves",
    "tsne_maps",
    "write_csv",
]
