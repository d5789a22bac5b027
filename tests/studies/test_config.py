"""What is reproduced, and at what expense."""

import subprocess
import sys

import pytest

from fisherae.errors import InputError
from fisherae.recipes.named import recipe
from fisherae.studies.config import BUDGETS, DATA, ITEMS, budgeted, items_of

PAPER = [*(f"figure-{number}" for number in range(1, 11)), "table-1"]


def test_every_figure_and_table_of_the_paper_is_there() -> None:
    assert set(PAPER) <= set(ITEMS)
    assert items_of(("all",)) == list(ITEMS)
    assert items_of(("celeba", "mnist")) == list(ITEMS)
    assert {ITEMS[name].data for name in items_of(("celeba",))} == {"celeba"}
    assert {item.data for item in ITEMS.values()} == set(DATA)


@pytest.mark.parametrize("name", ["figure-11", "", "Figure-1"])
def test_unknown_items_are_named(name: str) -> None:
    with pytest.raises(InputError, match=r"unknown item .*figure-1.*table-1"):
        items_of((name,))


@pytest.mark.parametrize("preset", ["default", "paper"])
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("model", ["fisher", "fisher-gaussian", "vae", "wae-gan"])
def test_the_paper_budget_trains_the_recipes_as_they_are(data: str, model: str, preset) -> None:
    name = f"{data}-{model}"
    assert budgeted(name, preset, BUDGETS["paper"][data], seed=0) == recipe(name, preset)


def test_a_budget_shortens_the_schedule_in_proportion() -> None:
    chosen = budgeted("mnist-wae-gan", "paper", BUDGETS["cpu"]["mnist"], seed=3)
    full = recipe("mnist-wae-gan", "paper").training
    assert chosen.training.seed == 3
    for (epoch, factor), (milestone, expected) in zip(
        chosen.training.schedule, full.schedule, strict=True
    ):
        assert factor == expected
        share = milestone / full.epochs
        assert abs(epoch - share * chosen.training.epochs) <= 0.5  # to the nearest epoch


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("data", DATA)
def test_every_budget_gives_valid_recipes(budget, data: str) -> None:
    for seed in BUDGETS[budget][data].seeds:
        assert budgeted(f"{data}-wae-gan", "default", BUDGETS[budget][data], seed).training


def test_the_configuration_does_not_import_torch() -> None:
    code = "import sys, fisherae.studies.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
