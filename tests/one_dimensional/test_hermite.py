"""Hermite polynomials in powers, against NumPy's."""

import math

import numpy as np
import pytest
import torch
from numpy.polynomial import hermite_e

from fisherae.one_dimensional.hermite import constant, in_powers

CPU = torch.device("cpu")


@pytest.mark.parametrize("order", range(1, 9))
def test_in_powers(order: int) -> None:
    expected = np.zeros((order + 1, order))
    for k in range(1, order + 1):
        scale = math.sqrt(math.factorial(k) * k)
        expected[: k + 1, k - 1] = hermite_e.herme2poly([0.0] * k + [1.0]) / scale
    np.testing.assert_allclose(in_powers(order, CPU).numpy(), expected, rtol=1e-12, atol=1e-15)


def test_constants_are_made_once_and_can_be_differentiated_through() -> None:
    with torch.inference_mode():
        first = constant((0.25, 0.75), CPU)
    assert constant((0.25, 0.75), CPU) is first
    x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    (x * first).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.25, 0.75]
