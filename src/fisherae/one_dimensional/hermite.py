r"""Polynomials in one variable, in orthonormal Hermite polynomials and in powers.

h_n is the n-th Hermite polynomial with E[h_m h_n] = δ_mn under N(0, 1); h_n′ = √n h_{n−1}, so that
t_n = h_n / √n is an antiderivative of h_{n−1}.
"""

import math
from collections.abc import Sequence
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = [
    "binomials",
    "combined",
    "constant",
    "hermite",
    "hermite_slopes",
    "in_powers",
    "natural",
    "series",
]


@cache
def constant(values: tuple[float, ...], device: torch.device) -> Float[Tensor, " n"]:
    """The values in float64 on the device, moved there at the first call: a training step that
    moves anything waits for the GPU, and cannot be recorded.

    Example:
        >>> constant((0.5, 2.0), torch.device("cpu"))
        tensor([0.5000, 2.0000], dtype=torch.float64)
    """
    with torch.inference_mode(False):  # or no gradient could be taken later on
        return torch.tensor(values, dtype=torch.float64, device=device)


def hermite(u: Float[Tensor, "*batch"], degree: int) -> list[Float[Tensor, "*batch"]]:
    r"""h_0(u) … h_degree(u): √(n+1) h_{n+1} = u h_n − √n h_{n−1}.

    Example:
        >>> hermite(torch.tensor(2.0), 2)  # 1, u, (u² − 1) / √2
        [tensor(1.), tensor(2.), tensor(2.1213)]
    """
    h = [torch.ones_like(u), u]
    for n in range(1, degree):
        before = h[n - 1] * -math.sqrt(n / (n + 1))
        h.append(torch.addcmul(before, u, h[n], value=1 / math.sqrt(n + 1)))
    return h[: degree + 1]


def hermite_slopes(h: Sequence[Float[Tensor, "*batch"]]) -> list[Float[Tensor, "*batch"]]:
    r"""The derivatives in u of h_0(u) … h_n(u), of which h consists: h_n′ = √n h_{n−1}.

    Example:
        >>> hermite_slopes(hermite(torch.tensor(2.0), 2))  # 0, 1, √2 u
        [tensor(0.), tensor(1.), tensor(2.8284)]
    """
    return [torch.zeros_like(h[0]), *(math.sqrt(n) * before for n, before in enumerate(h[:-1], 1))]


def combined(
    weight: Float[Tensor, "*own terms"], basis: Sequence[Float[Tensor, "*batch"]]
) -> Float[Tensor, "*both"]:
    r"""Σ_k w_k of the k-th function, to which w_k broadcasts, term by term: many times faster than
    a sum over an axis of few elements.

    Example:
        >>> combined(torch.tensor([1.0, 0.5]), hermite(torch.tensor(2.0), 1))
        tensor(2.)
    """
    first, *others = zip(_apart(weight), basis, strict=True)
    total = first[0] * first[1]
    for one, values in others:
        total = torch.addcmul(total, one, values)
    return total


def series(
    weight: Float[Tensor, "*own terms"], u: Float[Tensor, "*batch"]
) -> Float[Tensor, "*both"]:
    r"""Σ_k w_k h_k(u), to which w_k broadcasts, by the recurrence of Clenshaw: half the work of
    `combined(weight, hermite(u, …))`. At least two terms.

        b_k = w_k + u b_{k+1} / √(k+1) − √((k+1) / (k+2)) b_{k+2},    Σ_k w_k h_k = b_0

    References:
        Clenshaw (1955), A note on the summation of Chebyshev series,
        https://doi.org/10.1090/S0025-5718-1955-0071856-0

    Example:
        >>> series(torch.tensor([1.0, 0.5, 2.0]), torch.tensor(1.0))  # h_2(1) = 0
        tensor(1.5000)
    """
    *weights, total = _apart(weight)
    ahead = None
    for k, one in reversed(tuple(enumerate(weights))):
        beyond, ahead = ahead, total
        if beyond is not None:
            one = torch.sub(one, beyond, alpha=math.sqrt((k + 1) / (k + 2)))
        total = torch.addcmul(one, u, total, value=1 / math.sqrt(k + 1))
    return total


def _apart(weight: Float[Tensor, "*own terms"]) -> tuple[Tensor, ...]:
    """The terms, each by itself: strided, each product is slow."""
    return weight.movedim(-1, 0).contiguous().unbind()


def natural(
    weight: Float[Tensor, "*batch order"],
    location: Float[Tensor, "*batch"],
    scale: Float[Tensor, "*batch"],
) -> Float[Tensor, "*batch order"]:
    r"""η of Σ_k η_k z^k = Σ_k w_k t_k((z − location) / scale), up to a constant, in float64.

    Example:
        >>> natural(torch.tensor([0.0, -1.0]), torch.tensor(3.0), torch.tensor(2.0))  # N(3, 2²)
        tensor([ 0.7500, -0.1250], dtype=torch.float64)
    """
    order = weight.shape[-1]
    in_u = weight.double() @ in_powers(order, weight.device).mT
    in_z = binomials(-location / scale, 1 / scale, order)
    return (in_z @ in_u[..., None])[..., 1:, 0]


def in_powers(order: int, device: torch.device) -> Float[Tensor, "powers order"]:
    r"""Column k − 1: the coefficients of t_k(u) = h_k(u) / √k in powers of u, in float64.

    Example:
        >>> in_powers(2, torch.device("cpu"))  # u and (u² − 1) / 2
        tensor([[ 0.0000, -0.5000],
                [ 1.0000,  0.0000],
                [ 0.0000,  0.5000]], dtype=torch.float64)
    """
    return constant(_rows_in_powers(order), device).view(order, order + 1).mT


@cache
def _rows_in_powers(order: int) -> tuple[float, ...]:
    h = [[1.0] + [0.0] * order, [0.0, 1.0] + [0.0] * (order - 1)]
    for n in range(1, order):
        shifted = [0.0, *h[n][:-1]]
        before = zip(shifted, h[n - 1], strict=True)
        h.append([(one - math.sqrt(n) * other) / math.sqrt(n + 1) for one, other in before])
    return tuple(one / math.sqrt(k) for k in range(1, order + 1) for one in h[k])


def binomials(
    shift: Float[Tensor, "*batch"], slope: Float[Tensor, "*batch"], order: int
) -> Float[Tensor, "*batch powers powers"]:
    r"""The matrices that turn coefficients of powers of u = shift + slope·z into coefficients of
    powers of z: u^k = Σ_i C(k, i) shift^{k−i} slope^i z^i. In float64.

    Example:
        >>> u_squared = torch.tensor([0.0, 0.0, 1.0]).double()  # (3 + 2z)²
        >>> binomials(torch.tensor(3.0), torch.tensor(2.0), 2) @ u_squared
        tensor([ 9., 12.,  4.], dtype=torch.float64)
    """
    shift, slope = shift.double(), slope.double()
    rows = [
        [math.comb(k, i) * shift ** max(k - i, 0) * slope**i for k in range(order + 1)]
        for i in range(order + 1)
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
