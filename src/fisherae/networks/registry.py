"""Networks that know their recipe, and the way back from the recipe to the network."""

import functools
import inspect
from collections.abc import Callable, Mapping
from math import prod
from typing import Any, ParamSpec

from torch import Tensor, nn

from fisherae.counts import LARGEST, is_count
from fisherae.errors import InputError
from fisherae.networks.layers import lookup

__all__ = ["Network", "build", "register"]

P = ParamSpec("P")

_BUILDERS: dict[str, Callable[..., "Network"]] = {}


class Network(nn.Sequential):
    """A `torch.nn.Sequential` with its recipe, which says so where it is fed other numbers.

    Attributes:
        spec: The builder's name and all its arguments, ready for JSON; `build` makes the
            network again, with fresh weights.
    """

    spec: dict[str, Any]

    def forward(self, x: Tensor) -> Tensor:
        weight = next(self.parameters(), x)
        if x.dtype != weight.dtype:
            raise InputError(
                f"The network computes in {weight.dtype}, got {x.dtype}: convert the input with "
                f"x.to({weight.dtype}), bytes in 0..255 divided by 255."
            )
        output: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return output


def register(name: str) -> Callable[[Callable[P, Network]], Callable[P, Network]]:
    """Makes a builder known to `build`, and has it write its arguments on the network.

    The arguments that the networks share (`dim`, `outputs_per_dim`, `shape`, `hidden`)
    are checked before the builder runs.

    Raises:
        InputError: From the builder, when one of these arguments is not usable.

    Example:
        >>> @register("example.linear")
        ... def linear(dim: int, bias: bool = False) -> Network:
        ...     return Network(nn.Linear(dim, dim, bias))
        >>> linear(3).spec
        {'network': 'example.linear', 'dim': 3, 'bias': False}
        >>> build({"network": "example.linear", "dim": 2})
        Network(
          (0): Linear(in_features=2, out_features=2, bias=False)
        )
    """

    def decorate(builder: Callable[P, Network]) -> Callable[P, Network]:
        signature = inspect.signature(builder)

        @functools.wraps(builder)
        def described(*args: P.args, **kwargs: P.kwargs) -> Network:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            for argument, value in bound.arguments.items():
                if argument in _CHECKS:
                    _CHECKS[argument](f"{name}: {argument}", value)
            network = builder(*args, **kwargs)
            # JSON knows lists only, and a recipe must be equal to itself after the round trip.
            network.spec = {"network": name} | {
                argument: list(value) if isinstance(value, tuple | list) else value
                for argument, value in bound.arguments.items()
            }
            return network

        _BUILDERS[name] = described
        return described

    return decorate


def build(spec: Mapping[str, Any]) -> Network:
    """The network of a recipe, with fresh weights.

    Arguments:
        spec: `{"network": name}` with the builder's arguments; what is left out takes its
            default. The `spec` of a network, before or after JSON, is such a recipe.

    Raises:
        InputError: When the network or an argument is not known, an argument is missing, or its
            value is not usable.

    Example:
        >>> build({"network": "mlp.decoder", "shape": [1, 8, 8], "dim": 4}).spec["hidden"]
        [256, 512]
    """
    arguments = dict(spec)
    name = arguments.pop("network", None)
    builder = lookup("network", name, _BUILDERS)
    signature = inspect.signature(builder)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        known = ", ".join(signature.parameters)
        raise InputError(f"{name}: {error}; its arguments are: {known}.") from error
    return builder(**arguments)


def _check_size(where: str, value: object) -> None:
    if not is_count(value):
        raise InputError(
            f"{where} must be a positive integer, got {value!r} (at most {LARGEST} is possible)."
        )


def _check_sizes(where: str, value: object) -> None:
    if not isinstance(value, tuple | list) or not all(map(is_count, value)):
        raise InputError(f"{where} must be a tuple of positive integers, got {value!r}.")


def _check_shape(where: str, value: object) -> None:
    if not isinstance(value, tuple | list) or len(value) not in (1, 3):
        raise InputError(
            f"{where} must be (channels, height, width) or (features,), got {value!r}."
        )
    _check_sizes(where, value)
    if prod(value) > LARGEST:
        raise InputError(f"{where} must be of at most {LARGEST} numbers, got {value!r}.")


_CHECKS: dict[str, Callable[[str, object], None]] = {
    "dim": _check_size,
    "outputs_per_dim": _check_size,
    "shape": _check_shape,
    "hidden": _check_sizes,
}
