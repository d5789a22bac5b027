"""The recipes: what the paper's values are, and what stays equal between the families."""

import dataclasses

import pytest
import torch

import fisherae as fae
from fisherae.recipes import named
from fisherae.recipes.build import load_data
from fisherae.recipes.config import (
    FisherRecipe,
    VaeRecipe,
    WaeGanRecipe,
    WaeMmdRecipe,
    from_dict,
    to_dict,
)

DATASETS = ("digits", "mnist", "celeba")


def test_names() -> None:
    assert len(named.NAMES) == len(set(named.NAMES)) == 3 * 12
    assert {"mnist-fisher", "celeba-fisher-denoising", "digits-vae", "mnist-wae-gan"} <= set(
        named.NAMES
    )


@pytest.mark.parametrize("name", named.NAMES)
@pytest.mark.parametrize("preset", ["default", "paper"])
def test_survives_the_way_through_a_file(name: str, preset: str) -> None:
    recipe = named.recipe(name, preset)
    assert from_dict(to_dict(recipe)) == recipe
    assert recipe.data.data == name.split("-")[0]


@pytest.mark.parametrize("data", ["mnist", "celeba"])
@pytest.mark.parametrize("model", ["fisher", "fisher-gaussian", "vae"])
def test_paper_preset_is_the_papers_setup(data: str, model: str) -> None:
    """Section 4, Setup, and Tables 2 and 4."""
    recipe = named.recipe(f"{data}-{model}", "paper")
    training = recipe.training
    assert (training.epochs, training.batch_size, training.learning_rate) == (100, 128, 2e-4)
    assert training.betas == (0.5, 0.999)
    assert training.clip is None
    assert training.schedule == ()
    assert recipe.model.dim == {"mnist": 8, "celeba": 64}[data]
    assert recipe.model.network == data
    assert recipe.model.encoder_normalization == "batch"
    assert recipe.model.encoder_activation == "leaky_relu"
    if isinstance(recipe, FisherRecipe):
        assert recipe.objective.order == (5 if model == "fisher" else 2)
        assert (recipe.objective.samples, recipe.objective.score_fraction) == (1, 1.0)
        assert (recipe.objective.variance, recipe.objective.learn_variance) == (1.0, False)
        assert recipe.objective.variant == "exact"
        assert not recipe.objective.standardize_prior
    else:
        assert isinstance(recipe, VaeRecipe)
        assert recipe.objective.likelihood == {"mnist": "bernoulli", "celeba": "gaussian"}[data]


@pytest.mark.parametrize(
    ("data", "weight", "rate", "adversary"), [("mnist", 10, 1e-3, 5e-4), ("celeba", 1, 3e-4, 1e-3)]
)
def test_wae_gan_follows_tolstikhin(
    data: str, weight: float, rate: float, adversary: float
) -> None:
    recipe = named.recipe(f"{data}-wae-gan", "paper")
    assert isinstance(recipe, WaeGanRecipe)
    assert recipe.objective.weight == weight
    assert recipe.training.learning_rate == rate
    assert recipe.objective.adversary_learning_rate == adversary
    factors = [recipe.training.learning_rate_factor(epoch) for epoch in (0, 29, 30, 49, 50, 99)]
    assert factors == [1.0, 1.0, 0.5, 0.5, 0.1, 0.1]


@pytest.mark.parametrize(("data", "weight"), [("mnist", 10), ("celeba", 100)])
def test_wae_mmd_follows_tolstikhin(data: str, weight: float) -> None:
    recipe = named.recipe(f"{data}-wae-mmd", "paper")
    assert isinstance(recipe, WaeMmdRecipe)
    assert recipe.objective.weight == weight
    assert recipe.training.learning_rate == 1e-3
    assert recipe.training.schedule == ((30, 0.5), (50, 0.1))


@pytest.mark.parametrize("data", DATASETS)
@pytest.mark.parametrize("preset", ["default", "paper"])
def test_all_families_share_networks_and_data(data: str, preset: str) -> None:
    recipes = [named.recipe(name, preset) for name in named.NAMES if name.startswith(data)]
    assert len({recipe.data for recipe in recipes}) == 1
    # Whether they see noise decides the activation, and nothing else.
    see_noise = [bool(getattr(recipe.objective, "noise", 0.0)) for recipe in recipes]
    assert sum(see_noise) == 2
    pairs = zip(recipes, see_noise, strict=True)
    assert len({(recipe.model.encoder_activation, sees) for recipe, sees in pairs}) == 2
    alike = [dataclasses.replace(recipe.model, encoder_activation="silu") for recipe in recipes]
    assert len(set(alike)) == 1


@pytest.mark.parametrize("data", DATASETS)
def test_default_preset_trains_soundly(data: str) -> None:
    recipe = named.recipe(f"{data}-fisher")
    assert recipe.model.encoder_normalization == "none"
    assert recipe.model.encoder_activation == ("asinh-silu" if data == "mnist" else "silu")
    assert recipe.objective.learn_variance
    assert recipe.objective.order % 2 == 0
    assert recipe.training.clip == 10.0


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"family": "flow"}, "unknown family 'flow'"),
        ({"family": "vae", "colour": 1}, "unknown field colour"),
        ({"family": "vae", "model": {"dims": 3}}, "unknown field model.dims"),
        ({"family": "vae", "training": {"epochs": 0}}, "training.epochs is 0"),
        ({"family": "vae", "training": 3}, "training must be an object"),
    ],
)
def test_refuses_a_damaged_configuration(config: dict[str, object], message: str) -> None:
    with pytest.raises(fae.InputError, match=message):
        from_dict(config)


def test_held_out_images_do_not_depend_on_the_seed() -> None:
    """Models of different seeds are compared on the same test images."""
    first, second = named.recipe("digits-fisher"), named.recipe("digits-vae")
    second = dataclasses.replace(second, training=dataclasses.replace(second.training, seed=7))
    subsets = [load_data(recipe, "test", limit=20).images for recipe in (first, second)]
    assert torch.equal(*subsets)


def test_refuses_unknown_names() -> None:
    with pytest.raises(fae.InputError, match="unknown recipe 'mnist-flow'; known: digits-fisher"):
        named.recipe("mnist-flow")
    with pytest.raises(fae.InputError, match="unknown preset"):
        named.recipe("mnist-vae", "best")
