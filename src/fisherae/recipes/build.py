"""From a recipe to the objects that it names."""

from typing import Any

import torch
from torch import Tensor, nn

from fisherae.autoencoder import Autoencoder
from fisherae.data import sources
from fisherae.data.contamination import contaminate
from fisherae.data.corruptions import corruption_levels
from fisherae.data.images import ImageDataset
from fisherae.distributions import BernoulliLikelihood, GaussianLikelihood
from fisherae.errors import InputError
from fisherae.networks import celeba, mlp, mnist, small
from fisherae.networks.layers import lookup
from fisherae.objectives import ElboObjective, FisherObjective, WaeGanObjective
from fisherae.priors import (
    EnergyPrior,
    FactorablePolynomial,
    PairwisePolynomial,
    Prior,
    StandardNormal,
)
from fisherae.recipes.config import (
    FisherConfig,
    FisherRecipe,
    ModelConfig,
    Recipe,
    VaeRecipe,
    WaeGanRecipe,
)

__all__ = ["build_objective", "build_optimizer", "load_data", "training_images"]

NETWORKS: dict[str, Any] = {"mnist": mnist, "celeba": celeba, "small": small, "mlp": mlp}
# Networks for images of one shape only; the others are built for the shape of the data.
SHAPES = {"mnist": (1, 28, 28), "celeba": (3, 64, 64)}


def load_data(
    recipe: Recipe, split: str, progress: bool = False, limit: int | None = None
) -> ImageDataset:
    """The clean images of a recipe, cut as it says: of its training images at most as many as its
    own limit, of another split a random subset of `limit` images, the same for every seed."""
    data, training = recipe.data, split == "train"
    return sources.load(
        data.data,
        split,
        size=data.size,
        channels=data.channels,
        crop=data.crop,
        limit=data.limit if training else limit,
        seed=recipe.training.seed if training else 0,
        progress=progress,
    )


def training_images(recipe: Recipe, progress: bool = False) -> Tensor:
    """What a recipe trains on, shape (N, C, H, W): uint8, or, where it names a corruption, float32
    in the units of its value range (see `fisherae.data.contamination`)."""
    data, value_range = recipe.data, recipe.model.value_range
    if data.corruption is None:
        return load_data(recipe, "train", progress).images
    # Before the images, which may take minutes: a level may be out of its range.
    (corruption,) = corruption_levels(data.corruption, [data.corruption_level], value_range)
    images = load_data(recipe, "train", progress).images
    return contaminate(images, corruption, data.corrupted_share, value_range, recipe.training.seed)


def build_objective(recipe: Recipe, shape: tuple[int, ...]) -> nn.Module:
    """The objective of a recipe with its model inside, for images of a shape (C, H, W).

    Raises:
        InputError: if the networks cannot take images of that shape.
    """
    dim = recipe.model.dim
    _check(recipe)
    if isinstance(recipe, FisherRecipe):
        fisher = recipe.objective
        model = _autoencoder(
            recipe.model,
            shape,
            _fisher_prior(fisher, dim),
            GaussianLikelihood(fisher.variance, fisher.learn_variance),
        )
        return FisherObjective(model, fisher.samples, fisher.score_fraction, fisher.variant)
    if isinstance(recipe, VaeRecipe):
        elbo = recipe.objective
        likelihood = (
            GaussianLikelihood(elbo.variance, elbo.learn_variance)
            if elbo.likelihood == "gaussian"
            else BernoulliLikelihood()
        )
        vae = _autoencoder(recipe.model, shape, StandardNormal(dim), likelihood)
        return ElboObjective(vae, elbo.samples)
    assert isinstance(recipe, WaeGanRecipe)
    wae = _autoencoder(
        recipe.model, shape, StandardNormal(dim), GaussianLikelihood(), posterior="delta"
    )
    # Tables 3 and 5 have the same discriminator, which any latents may use.
    return WaeGanObjective(wae, mnist.discriminator(dim), recipe.objective.weight)


def _fisher_prior(fisher: FisherConfig, dim: int) -> Prior:
    if fisher.prior == "energy":
        return EnergyPrior(dim)
    family = PairwisePolynomial if fisher.prior == "pairwise" else FactorablePolynomial
    return family(dim, fisher.order)


def build_optimizer(objective: nn.Module, recipe: Recipe) -> torch.optim.Adam:
    """Adam as the recipe says; WAE-GAN's adversary is a parameter group of its own."""
    training = recipe.training
    groups: list[dict[str, Any]] = [{"params": list(objective.parameters())}]
    if isinstance(recipe, WaeGanRecipe):
        assert isinstance(objective, WaeGanObjective)
        groups = [
            {"params": list(objective.model.parameters())},
            {
                "params": list(objective.discriminator.parameters()),
                "lr": recipe.objective.adversary_learning_rate,
            },
        ]
    return torch.optim.Adam(groups, lr=training.learning_rate, betas=training.betas)


def _check(recipe: Recipe) -> None:
    """What no single configuration can see."""
    if recipe.model.encoder_normalization == "batch" and recipe.training.batch_size < 2:
        raise InputError("batch normalisation needs a batch_size of at least 2")
    bernoulli = isinstance(recipe, VaeRecipe) and recipe.objective.likelihood == "bernoulli"
    if bernoulli and recipe.model.value_range != (0.0, 1.0):
        raise InputError(
            f"a Bernoulli decoder needs pixels in [0, 1], network '{recipe.model.network}' draws "
            f"them in {recipe.model.value_range}: give --likelihood gaussian"
        )
    if bernoulli and recipe.data.corruption == "noise":
        raise InputError(
            "a Bernoulli decoder needs pixels in [0, 1], which noisy training images leave: give "
            "--likelihood gaussian, or another corruption"
        )


def _autoencoder(
    config: ModelConfig,
    shape: tuple[int, ...],
    prior: Prior,
    likelihood: nn.Module,
    posterior: Any = "gaussian",
) -> Autoencoder:
    outputs_per_dim = 1 if posterior == "delta" else 2
    encoder = {
        "normalization": config.encoder_normalization,
        "activation": config.encoder_activation,
        "outputs_per_dim": outputs_per_dim,
    }
    expected = SHAPES.get(config.network, shape)
    if shape != expected:
        raise InputError(
            f"network '{config.network}' takes images of shape {expected}, the data has "
            f"{tuple(shape)}: choose another --network (small, mlp), or --size and --channels"
        )
    room = lookup("network", config.network, NETWORKS)
    sizes = (config.dim,) if config.network in SHAPES else (shape, config.dim)
    networks = room.encoder(*sizes, **encoder), room.decoder(*sizes)
    return Autoencoder(*networks, prior, likelihood, posterior)
