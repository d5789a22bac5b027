r"""Training objectives: modules whose `forward(x)` returns named loss terms."""

from fisherae.objectives.elbo import ElboObjective, ElboTerms
from fisherae.objectives.fisher import FisherObjective, FisherTerms
from fisherae.objectives.terms import LossTerms
from fisherae.objectives.wae import WaeGanObjective, WaeGanTerms

__all__ = [
    "ElboObjective",
    "ElboTerms",
    "FisherObjective",
    "FisherTerms",
    "LossTerms",
    "WaeGanObjective",
    "WaeGanTerms",
]
