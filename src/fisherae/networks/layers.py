"""The layers that every network draws on, and their names."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from fisherae.errors import InputError
from fisherae.networks.twice import Asinh, BatchNorm1d, BatchNorm2d, SiLU

__all__ = [
    "InputSize",
    "activation",
    "activations",
    "full_precision",
    "lookup",
    "normalization",
    "output",
]

T = TypeVar("T")

CHANNELS_PER_GROUP = 16


def full_precision(x: Tensor) -> Tensor:
    """At least float32: what autocast has made shorter is made longer again.

    Example:
        >>> full_precision(torch.ones(2, dtype=torch.bfloat16)).dtype
        torch.float32
    """
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


class Sigmoid(nn.Sigmoid):
    """In float32 also under autocast: bfloat16 has no number between 0.9961 and 1."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(full_precision(x))


class Tanh(nn.Tanh):
    """In float32 also under autocast."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(full_precision(x))


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "silu": SiLU,
    "gelu": nn.GELU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
    "asinh": Asinh,
}

OUTPUTS: dict[str, Callable[[], nn.Module]] = {
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "linear": nn.Identity,
}


class InputSize(nn.Module):
    r"""The first line of the paper's tables: lets through what has the right shape.

    Arguments:
        size: The shape of one input, without the batch dimension.

    Raises:
        InputError: From the call, when the input is not `(batch, *size)`.

    Example:
        >>> import torch
        >>> InputSize(1, 28, 28)(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 1, 28, 28])
    """

    def __init__(self, *size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != self.size:
            expected = ", ".join(map(str, ("batch", *self.size)))
            raise InputError(
                f"The network takes inputs of shape ({expected}), got {tuple(x.shape)}: "
                "reshape the input, or build a network for its shape."
            )
        return x

    def extra_repr(self) -> str:
        return str(self.size)


def lookup(argument: str, name: object, known: Mapping[str, T]) -> T:
    """What `name` stands for among the `known`; the error says which argument is wrong.

    Raises:
        InputError: When the name is not known; the message lists those that are.

    Example:
        >>> lookup("activation", "silu", ACTIVATIONS)()
        SiLU()
    """
    if not isinstance(name, str) or name not in known:
        raise InputError(f"{argument} {name!r} is not known; choose one of: {', '.join(known)}.")
    return known[name]


def activation(name: str) -> Callable[[], nn.Module]:
    """The activation of that name; `silu`, `gelu`, `softplus`, `tanh` and `asinh` are smooth.

    A smooth one suits the encoder of a Fisher auto-encoder: the stability term differentiates
    the encoder twice, and the second derivative of a piecewise linear activation is zero.

    Raises:
        InputError: When the name is not known.

    Example:
        >>> activation("leaky_relu")()
        LeakyReLU(negative_slope=0.01)
    """
    return lookup("activation", name, ACTIVATIONS)


def activations(name: str, count: int) -> list[Callable[[], nn.Module]]:
    """The activations of `count` layers in a row: all of that name, or of two names with a hyphen
    between them, the first in the first half of the layers, and the second in the others.

    Noise shifts what follows an activation that is curved where its input lies, and it is strongest
    where it comes in: `asinh-silu` keeps it from that. It errs less than `asinh` in all layers
    (results/encoders), unless trained for long (results/length).

    Raises:
        InputError: When a name is not known.

    Example:
        >>> [make() for make in activations("asinh-silu", 3)]
        [Asinh(), Asinh(), SiLU()]
    """
    front, hyphen, back = name.partition("-") if isinstance(name, str) else (name, "", "")
    first = (count + 1) // 2
    second = activation(back) if hyphen else activation(front)
    return [activation(front)] * first + [second] * (count - first)


def output(name: str) -> Callable[[], nn.Module]:
    """The last layer of a decoder: `sigmoid` (0, 1), `tanh` (-1, 1) or `linear`.

    Raises:
        InputError: When the name is not known.

    Example:
        >>> output("sigmoid")()
        Sigmoid()
    """
    return lookup("output", name, OUTPUTS)


def normalization(name: str, spatial: bool = True) -> Callable[[int], nn.Module]:
    """The normalisation of that name (`none`, `batch`, `group`), a function of the channels.

    Arguments:
        name: `batch` couples the images of a batch while it trains; `group` acts on each
            image alone (groups of 16 channels as in the reference, or one group where 16 does not
            divide the channels).
        spatial: Whether the channels are maps (batch, channels, height, width) or single
            numbers (batch, channels).

    Raises:
        InputError: When the name is not known.

    References:
        Wu and He (2018), Group Normalization, https://arxiv.org/abs/1803.08494

    Example:
        >>> normalization("group")(64).num_groups
        4
    """
    known: dict[str, Callable[[int], nn.Module]] = {
        "none": lambda _: nn.Identity(),
        "batch": BatchNorm2d if spatial else BatchNorm1d,
        "group": _group_norm,
    }
    return lookup("normalization", name, known)


def _group_norm(channels: int) -> nn.Module:
    groups, rest = divmod(channels, CHANNELS_PER_GROUP)
    return nn.GroupNorm(1 if rest else groups, channels)
