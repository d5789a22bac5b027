r"""Training objectives: modules whose `forward(x)` returns named loss terms."""

from fisherae.objectives.deterministic import (
    ContractiveObjective,
    ContractiveTerms,
    DenoisingObjective,
    DenoisingTerms,
    RegularizedObjective,
    RegularizedTerms,
)
from fisherae.objectives.elbo import ElboObjective, ElboTerms
from fisherae.objectives.fisher import FisherObjective, FisherTerms
from fisherae.objectives.terms import LossTerms, Objective
from fisherae.objectives.wae import (
    WaeGanObjective,
    WaeGanTerms,
    WaeMmdObjective,
    WaeMmdTerms,
)

__all__ = [
    "ContractiveObjective",
    "ContractiveTerms",
    "DenoisingObjective",
    "DenoisingTerms",
    "ElboObjective",
    "ElboTerms",
    "FisherObjective",
    "FisherTerms",
    "LossTerms",
    "Objective",
    "RegularizedObjective",
    "RegularizedTerms",
    "WaeGanObjective",
    "WaeGanTerms",
    "WaeMmdObjective",
    "WaeMmdTerms",
]
