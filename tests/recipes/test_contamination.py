"""Training on contaminated data: what is corrupted stays so, and what is clean as well."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fisherae as fae
from fisherae.data.images import to_float
from fisherae.errors import InputError
from fisherae.recipes import named
from fisherae.recipes.build import build_objective, load_data, training_images
from fisherae.recipes.config import Recipe, from_dict, to_dict
from fisherae.recipes.run import latents_of, load_run, train_recipe
from fisherae.training.run import RunDirectory

NOISE = {"corruption": "noise", "corruption_level": 0.2, "corrupted_share": 0.5}
MASK = {"corruption": "mask", "corruption_level": 0.75}


def contaminated(name: str, epochs: int = 2, **fields: Any) -> Recipe:
    """96 digits, three steps per epoch."""
    chosen = named.recipe(name)
    training = dataclasses.replace(
        chosen.training, epochs=epochs, batch_size=32, device="cpu", log_every=2
    )
    data = dataclasses.replace(chosen.data, limit=96, **fields)
    return dataclasses.replace(chosen, data=data, training=training)


def train(recipe: Recipe, out: Path, resume: bool = False) -> fae.Autoencoder:
    torch.manual_seed(100)  # what was drawn before must not matter
    return train_recipe(recipe, out, resume=resume, progress=False)


def test_share_and_level_against_numpy() -> None:
    recipe = contaminated("digits-fisher", **NOISE)
    clean = load_data(recipe, "train").images.numpy() / 255
    noise = (training_images(recipe).numpy() - clean).reshape(96, -1)
    noisy = np.abs(noise).max(axis=1) > 1e-6
    assert noisy.sum() == 48
    # The variance of 48 · 64 draws has a relative standard deviation of 2.6 %.
    assert noise[noisy].var() == pytest.approx(0.2, rel=0.13)


def test_the_seed_says_which() -> None:
    recipe = contaminated("digits-fisher", **NOISE)
    other = dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, seed=1))
    assert torch.equal(training_images(recipe), training_images(recipe))
    assert not torch.equal(training_images(recipe), training_images(other))


def test_without_corruption_images_stay_bytes() -> None:
    recipe = contaminated("digits-fisher")
    assert torch.equal(training_images(recipe), load_data(recipe, "train").images)


def test_the_range_of_the_recipe_is_that_of_the_corruption() -> None:
    """The decoder for CelebA draws pixels in [-1, 1]."""
    recipe = contaminated("digits-vae", corruption="salt-and-pepper", corruption_level=1.0)
    celeba = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, network="celeba"))
    for chosen, ends in ((recipe, [0, 1]), (celeba, [-1, 1])):
        assert training_images(chosen).unique().tolist() == ends


def test_every_epoch_shows_the_same_images(tmp_path: Path) -> None:
    seen: list[Tensor] = []

    def look(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if isinstance(module, fae.FisherObjective):
            seen.append(inputs[0].clone())

    recipe = contaminated("digits-fisher", epochs=3, **NOISE)
    hook = nn.modules.module.register_module_forward_pre_hook(look)
    try:
        train(recipe, tmp_path / "run")
    finally:
        hook.remove()
    assert len(seen) == 9
    expected = training_images(recipe).unique(dim=0)
    for epoch in range(3):
        shown = torch.cat(seen[3 * epoch : 3 * epoch + 3])
        assert len(shown) == 96
        assert torch.equal(shown.unique(dim=0), expected)


@pytest.mark.parametrize("name", ["digits-fisher", "digits-wae-gan"])
def test_resuming_is_bit_identical(name: str, tmp_path: Path) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    train(contaminated(name, epochs=3, **NOISE), whole)
    train(contaminated(name, epochs=1, **NOISE), part)
    train(contaminated(name, epochs=3, **NOISE), part, resume=True)
    one, other = load_run(whole)[0].state_dict(), load_run(part)[0].state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert torch.equal(latents_of(whole), latents_of(part))
    metrics = [
        [{key: v for key, v in line.items() if key != "seconds"} for line in run.metrics()]
        for run in map(RunDirectory.open, (whole, part))
    ]
    assert metrics[0] == metrics[1]


def test_latents_are_those_of_what_was_trained_on(tmp_path: Path) -> None:
    """WAE-GAN's posterior is a point: the latents are a function of the images."""
    recipe = contaminated("digits-wae-gan", **MASK)
    model = train(recipe, tmp_path / "run")
    with torch.no_grad():
        dirty = model.encode(training_images(recipe)).mean
        clean = model.encode(to_float(load_data(recipe, "train").images, (0.0, 1.0))).mean
    torch.testing.assert_close(latents_of(tmp_path / "run"), dirty)
    assert (dirty - clean).abs().max() > 0.01


def test_validation_and_test_images_stay_clean(tmp_path: Path) -> None:
    recipe = contaminated("digits-fisher", **MASK)
    # As many as there are training images, at most.
    images = load_data(recipe, "test", limit=recipe.data.limit).images
    clean = load_data(contaminated("digits-fisher"), "test", limit=recipe.data.limit).images
    assert torch.equal(images, clean)
    model = train(recipe, tmp_path / "run")
    x = to_float(images, (0.0, 1.0))
    with torch.no_grad():
        error = (model.reconstruct(x) - x).square().mean().item()
    measured = RunDirectory.open(tmp_path / "run").metrics()[-1]["validation/mse"]
    assert measured == pytest.approx(error, rel=1e-5)


def test_runs_from_before_contamination_can_be_read() -> None:
    recipe = contaminated("digits-fisher")
    config = to_dict(recipe)
    for field in NOISE:
        del config["data"][field]
    assert from_dict(config) == recipe
    dirty = contaminated("digits-fisher", **NOISE)
    assert from_dict(to_dict(dirty)) == dirty


def test_a_level_out_of_range_is_found_before_the_images_are_read() -> None:
    recipe = contaminated("digits-fisher", corruption="mask", corruption_level=1.5)
    nowhere = dataclasses.replace(recipe.data, data="no/such-data")
    with pytest.raises(InputError, match=r"masked fraction is 1\.5"):
        training_images(dataclasses.replace(recipe, data=nowhere))


def test_a_bernoulli_decoder_refuses_noisy_images_only() -> None:
    with pytest.raises(InputError, match="noisy training images"):
        build_objective(contaminated("digits-vae", **NOISE), (1, 8, 8))
    build_objective(contaminated("digits-vae", **MASK), (1, 8, 8))
