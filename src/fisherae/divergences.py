r"""Score functions, the Fisher divergence and the Hyvärinen score of anything with a log-density.

Everything here is automatic differentiation: slow in many dimensions, but exact, and needing no
closed form. The training objectives use closed forms where there are any; these are their oracle.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = [
    "HasLogDensity",
    "HasLogProb",
    "LogDensity",
    "derivative",
    "differentiating",
    "fisher_divergence",
    "hyvarinen_score",
    "laplacian",
    "point",
    "score",
]


@runtime_checkable
class HasLogProb(Protocol):
    """Anything with `log_prob`, such as the distributions of `torch.distributions`."""

    def log_prob(self, value: Tensor, /) -> Tensor: ...


@runtime_checkable
class HasLogDensity(Protocol):
    """Anything with an unnormalised `log_density`, such as a prior."""

    def log_density(self, z: Tensor, /) -> Tensor: ...


LogDensity = HasLogProb | HasLogDensity | Callable[[Tensor], Tensor]


def score(
    p: LogDensity, x: Float[Tensor, "*batch dim"], *, create_graph: bool | None = None
) -> Float[Tensor, "*batch dim"]:
    r"""The score ∇_x log p(x) of each point.

    Arguments:
        p: a log-density, known up to a constant: a callable, or an object with `log_prob` or
            `log_density`. Its value at a point may depend on that point only.
        x: the points. The result is differentiable in them and in the parameters of p.
        create_graph: whether the result can be differentiated (default: whether gradients are on).

    Example:
        >>> score(torch.distributions.Normal(1.0, 2.0), torch.tensor([[3.0]])).item()
        -0.5
    """
    keep = torch.is_grad_enabled() if create_graph is None else create_graph
    with differentiating():
        x = point(x)
        return derivative(_log_density(p)(x), x, keep)


def hyvarinen_score(p: LogDensity, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
    r"""The Hyvärinen score s_∇[p(x)] = ½ ‖∇_x log p(x)‖² + Δ_x log p(x), eq. (6).

    Costs as many gradients as x has dimensions.

    Arguments:
        p: a log-density as in `score`.
        x: the points.

    References:
        Hyvärinen (2005), Estimation of Non-Normalized Statistical Models by Score Matching,
        https://jmlr.org/papers/v6/hyvarinen05a.html

    Example:
        >>> normal = torch.distributions.Normal(0.0, 1.0)
        >>> hyvarinen_score(normal, torch.tensor([[2.0]])).item()  # 2² / 2 − 1
        1.0
    """
    keep = torch.is_grad_enabled()
    with differentiating():
        x = point(x)
        gradient = score(p, x, create_graph=True)
        result = gradient.square().sum(-1) / 2 + _divergence(gradient, x, keep)
    return result if keep else result.detach()


def laplacian(p: LogDensity, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
    r"""The Laplacian Δ_x log p(x) = Σ_j ∂² log p / ∂x_j². Costs as many gradients as x has
    dimensions.

    Arguments:
        p: a log-density as in `score`.
        x: the points.

    Example:
        >>> laplacian(lambda x: x.pow(3).sum(-1), torch.tensor([[1.0, 2.0]])).item()  # 6 + 12
        18.0
    """
    keep = torch.is_grad_enabled()
    with differentiating():
        x = point(x)
        result = _divergence(score(p, x, create_graph=True), x, keep)
    return result if keep else result.detach()


def fisher_divergence(
    p: LogDensity, q: LogDensity, x: Float[Tensor, "*batch dim"]
) -> Float[Tensor, ""]:
    r"""D_∇[p ‖ q] = E_p ½ ‖∇_x log p(x) − ∇_x log q(x)‖², eq. (4), over samples x of p.

    Arguments:
        p: the log-density that x was drawn from.
        q: the log-density to compare it with. Neither needs a normalising constant.
        x: samples of p.

    Example:
        >>> p, q = torch.distributions.Normal(0.0, 1.0), torch.distributions.Normal(3.0, 1.0)
        >>> fisher_divergence(p, q, torch.zeros(10, 1)).item()  # 3² / 2, the same at every point
        4.5
    """
    return (score(p, x) - score(q, x)).square().sum(-1).mean() / 2


@contextmanager
def differentiating() -> Iterator[None]:
    """Gradients are on inside, whatever was turned off outside: in inference mode autograd would
    say without a word that all of them are zero.

    Example:
        >>> with torch.inference_mode(), differentiating():
        ...     torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        (True, False)
    """
    with torch.inference_mode(False), torch.enable_grad():
        yield


def point(x: Tensor) -> Tensor:
    """x to differentiate by: itself where it requires a gradient, else a leaf of its own."""
    if x.requires_grad:
        return x
    return (x.clone() if x.is_inference() else x.detach()).requires_grad_()


def _log_density(p: LogDensity) -> Callable[[Tensor], Tensor]:
    if isinstance(p, HasLogProb):
        return p.log_prob
    if isinstance(p, HasLogDensity):
        return p.log_density
    return p


def _divergence(field: Tensor, x: Tensor, create_graph: bool) -> Tensor:
    """Σ_j ∂ field_j / ∂x_j."""
    total = torch.zeros_like(field[..., 0])
    for j in range(x.shape[-1]):
        total = total + derivative(field[..., j], x, create_graph)[..., j]
    return total


def derivative(y: Tensor, x: Tensor, create_graph: bool) -> Tensor:
    """∇_x y, zero where y does not depend on x (a constant density or score)."""
    if not y.requires_grad:
        return torch.zeros_like(x)
    (gradient,) = torch.autograd.grad(
        y.sum(), x, create_graph=create_graph, retain_graph=True, allow_unused=True
    )
    return torch.zeros_like(x) if gradient is None else gradient
