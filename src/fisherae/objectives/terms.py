r"""What objectives have in common, and what they return: the named terms of a loss."""

from dataclasses import dataclass, fields
from typing import Self

from torch import Tensor, nn

from fisherae.autoencoder import Autoencoder
from fisherae.errors import InputError
from fisherae.inference import RefinedAutoencoder

__all__ = ["LossTerms", "Objective"]


@dataclass(frozen=True)
class LossTerms:
    r"""The terms of an objective by name; a family adds one field per term.

    Every objective is trained alike:

        objective = FisherObjective(model)
        optimizer = torch.optim.Adam(objective.parameters())
        for x in batches:
            optimizer.zero_grad()
            objective(x).total.backward()
            optimizer.step()
    """

    @property
    def total(self) -> Tensor:
        r"""The sum of the terms, whose gradient trains everything."""
        first, *rest = self.by_name().values()
        return sum(rest, start=first)

    def by_name(self) -> dict[str, Tensor]:
        r"""The terms by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def mean(self) -> Self:
        r"""The mean of each term over the batch."""
        return type(self)(**{name: term.mean() for name, term in self.by_name().items()})

    def detach(self) -> Self:
        r"""The terms without their graph."""
        return type(self)(**{name: term.detach() for name, term in self.by_name().items()})


class Objective(nn.Module):
    r"""An objective: a module around the model that it trains, whose `forward(x)` returns terms.

    Arguments:
        model: the auto-encoder, a part of the module and of its parameters.

    Raises:
        InputError: if the model is a refined one, through whose search no gradient passes.

    Example:
        >>> import fisherae as fae
        >>> encoder, decoder = fae.networks.mnist.encoder(8), fae.networks.mnist.decoder(8)
        >>> model = fae.Autoencoder(encoder, decoder, fae.FactorablePolynomial(8, order=4))
        >>> objective = fae.FisherObjective(model)
        >>> isinstance(objective, Objective), objective.model is model
        (True, True)
    """

    model: Autoencoder

    def __init__(self, model: Autoencoder):
        if isinstance(model, RefinedAutoencoder):
            raise InputError(
                "the model is refined, and a search trains no encoder: train the model first, and "
                "refine it afterwards, fisherae.refined(model)"
            )
        super().__init__()
        self.model = model

    def seen(self, x: Tensor) -> Tensor:
        r"""What the encoder sees of the images x in training: x, or x with noise on it."""
        return x
