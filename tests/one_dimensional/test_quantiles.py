"""Inverse distribution functions in pieces, against closed forms and NumPy's search."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from fisherae.one_dimensional.grid import counts_up_to, spread
from fisherae.one_dimensional.quantiles import QuantileTable


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def exponential(cells: int, rate: Tensor) -> QuantileTable:
    """1 − e^(−rate z) up to z = 30 / rate, of each rate."""
    grid = torch.linspace(0, 30, cells + 1, dtype=torch.float64) / rate[:, None]
    f = -torch.expm1(-rate[:, None] * grid)
    return QuantileTable.of(grid, f.diff(), rate[:, None] * (1 - f), torch.float64)


def random_table(n: int, cells: int) -> tuple[QuantileTable, Tensor, Tensor]:
    """Masses from 1e-18 to 1 and none, and the cells' ends and F there."""
    exponent = -18 * torch.rand(n, cells, generator=seeded(), dtype=torch.float64)
    mass = 10**exponent * (torch.rand(n, cells, generator=seeded(1)) > 0.2)
    mass[:, 0], mass[:, -1] = 1e-3, 0.0
    grid = torch.randn(n, cells + 1, generator=seeded(2), dtype=torch.float64).sort(-1).values
    density = torch.rand(n, cells + 1, generator=seeded(3), dtype=torch.float64).pow(4)
    f = torch.cat([torch.zeros(n, 1).double(), mass.cumsum(-1)], -1)
    return QuantileTable.of(grid, mass, density, torch.float64), grid, f / f[:, -1:]


def test_counts_are_those_of_a_search() -> None:
    values = torch.rand(3, 500, generator=seeded(), dtype=torch.float64) * 90
    values[:, ::3] = values[:, ::3].round()
    expected = [
        np.searchsorted(np.sort(row.numpy()), np.arange(70), side="right") for row in values
    ]
    assert counts_up_to(values, 70).tolist() == np.stack(expected).tolist()


def test_values_that_are_not_numbers_are_not_counted() -> None:
    values = torch.tensor([[math.nan, 0.0, math.inf, 1.0], [0.0, 0.0, 0.0, 2.0]])
    assert counts_up_to(values, 3).tolist() == [[1, 2, 2], [3, 3, 4]]


def test_points_are_spread_as_by_interpolation() -> None:
    grid = torch.randn(4, 60, generator=seeded(), dtype=torch.float64).sort(-1).values
    share = torch.rand(4, 59, generator=seeded(1), dtype=torch.float64)
    for found, points, part in zip(spread(share, grid, 333), grid, share, strict=True):
        cdf = np.concatenate([[0.0], part.cumsum(0).numpy()])
        expected = np.interp(np.linspace(0, 1, 333), cdf / cdf[-1], points.numpy())
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-9)


def test_no_point_lies_where_there_is_no_share() -> None:
    grid = torch.randn(4, 60, generator=seeded(), dtype=torch.float64).sort(-1).values
    share = torch.ones(4, 59, dtype=torch.float64)
    share[:, :5] = share[:, 20:30] = share[:, -5:] = 0.0
    found = spread(share, grid, 333)
    assert not bool(((found > grid[:, 20:21]) & (found < grid[:, 30:31])).any())
    torch.testing.assert_close(found[:, 0], grid[:, 5])
    torch.testing.assert_close(found[:, -1], grid[:, -6])


def test_the_error_falls_with_the_fourth_power_of_the_width() -> None:
    rate = torch.tensor([0.01, 1.0, 70.0], dtype=torch.float64)
    u = torch.linspace(0.001, 0.999, 4_001, dtype=torch.float64)[:, None].expand(-1, 3)
    errors = []
    for cells in (100, 200, 400):
        z = exponential(cells, rate).quantile(u)
        errors.append(float((-torch.expm1(-rate * z) - u).abs().max()))
    assert errors[2] < 5e-7
    assert all(13 < before / after < 20 for before, after in itertools.pairwise(errors))


def test_far_in_the_tail_the_error_is_small_beside_what_is_beyond() -> None:
    rate = torch.ones(1, dtype=torch.float64)
    beyond = torch.logspace(-9, -1, 300, dtype=torch.float64)[:, None]
    z = exponential(1_000, rate).quantile(1 - beyond)
    torch.testing.assert_close((-z).exp(), beyond, rtol=1e-3, atol=0)


@pytest.mark.parametrize("cells", [1, 7, 300, 5_000])
def test_every_value_lies_in_its_cell(cells: int) -> None:
    """Whether its bucket is empty, crowded, or begins with cells of no mass."""
    table, grid, f = random_table(3, cells + 1)
    u = torch.rand(2_000, 3, generator=seeded(4), dtype=torch.float64)
    u[:1_000] = u[:1_000].pow(20)
    z = table.quantile(u)
    for j in range(3):
        cell = np.searchsorted(f[j].numpy(), u[:, j].numpy(), side="right") - 1
        assert bool((z[:, j] >= grid[j][cell]).all())
        assert bool((z[:, j] <= grid[j][cell + 1]).all())


def test_values_rise_with_u() -> None:
    table, *_ = random_table(5, 40)
    u = torch.linspace(0, 1, 20_000, dtype=torch.float64)[:, None].expand(-1, 5)
    assert bool((table.quantile(u).diff(dim=0) >= -1e-12).all())


def test_the_ends_are_those_of_the_grid() -> None:
    table = exponential(50, torch.tensor([2.0], dtype=torch.float64))
    z = table.quantile(torch.tensor([[0.0], [1.0]], dtype=torch.float64))
    assert z[:, 0].tolist() == [0.0, 15.0]


def test_many_at_a_time_are_as_one_by_one() -> None:
    table, *_ = random_table(40, 30)
    u = torch.rand(9_000, 40, generator=seeded(5))
    assert len(list(table._parts(len(u)))) > 1
    whole = table.quantile(u)
    for j in (0, 17, 39):
        alone = QuantileTable(*(getattr(table, name)[j : j + 1] for name in table.__annotations__))
        assert torch.equal(alone.quantile(u[:, j : j + 1])[:, 0], whole[:, j])


def test_draws_are_quantiles_of_uniform_numbers() -> None:
    rate = torch.full((40,), 3.0, dtype=torch.float64)
    z = exponential(100, rate).draw(9_000, seeded(6))
    assert torch.equal(z, exponential(100, rate).draw(9_000, seeded(6)))
    u = (-torch.expm1(-rate * z)).sort(0).values
    even = torch.arange(1, 9_001)[:, None] / 9_000
    assert float((u - even).abs().max()) < 1.95 / math.sqrt(9_000) * 1.3  # Kolmogorov, 40 times
    assert float(torch.corrcoef(z.mT).triu(1).abs().max()) < 5 / math.sqrt(9_000)
