"""From a recipe to the objects that it names."""

from typing import Any

import torch
from torch import Tensor, nn

from fisherae.autoencoder import Autoencoder, PosteriorName, posterior_of_order
from fisherae.data import sources
from fisherae.data.contamination import contaminate
from fisherae.data.corruptions import CORRUPTIONS, corruption_levels
from fisherae.data.images import ImageDataset
from fisherae.distributions import BernoulliLikelihood, GaussianLikelihood
from fisherae.errors import InputError
from fisherae.networks import celeba, mlp, mnist, small
from fisherae.networks.layers import lookup
from fisherae.objectives import (
    ContractiveObjective,
    DenoisingObjective,
    ElboObjective,
    FisherObjective,
    Objective,
    RegularizedObjective,
    WaeGanObjective,
    WaeMmdObjective,
)
from fisherae.priors import (
    EnergyPrior,
    FactorablePolynomial,
    PairwisePolynomial,
    PolynomialPrior,
    Prior,
    StandardNormal,
)
from fisherae.recipes.config import (
    ContractiveRecipe,
    DenoisingRecipe,
    ElboConfig,
    FisherConfig,
    FisherRecipe,
    ModelConfig,
    Recipe,
    RegularizedRecipe,
    VaeRecipe,
    WaeGanRecipe,
    WaeMmdRecipe,
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


def build_objective(recipe: Recipe, shape: tuple[int, ...]) -> Objective:
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
            _gaussian(fisher, shape),
            posterior_of_order(fisher.posterior_order),
            fisher.posterior_order,
        )
        return FisherObjective(
            model,
            fisher.samples,
            fisher.score_fraction,
            fisher.variant,
            fisher.noise,
            fisher.standardize_prior,
        )
    if isinstance(recipe, VaeRecipe):
        elbo = recipe.objective
        decoder = BernoulliLikelihood() if _is_bernoulli(recipe) else _gaussian(elbo, shape)
        order = elbo.posterior_order
        vae = _autoencoder(
            recipe.model, shape, StandardNormal(dim), decoder, posterior_of_order(order), order
        )
        return ElboObjective(vae, elbo.samples, elbo.beta)
    likelihood = BernoulliLikelihood() if _is_bernoulli(recipe) else GaussianLikelihood()
    model = _autoencoder(
        recipe.model, shape, StandardNormal(dim), likelihood, "delta", outputs_per_dim=1
    )
    return _deterministic(recipe, model)


def _gaussian(config: FisherConfig | ElboConfig, shape: tuple[int, ...]) -> GaussianLikelihood:
    shapes = {"shared": (), "channel": (shape[0], 1, 1), "pixel": shape}
    return GaussianLikelihood(config.variance, config.learn_variance, shapes[config.variances])


def _deterministic(recipe: Recipe, model: Autoencoder) -> Objective:
    """The objective of a model with a deterministic encoder."""
    if isinstance(recipe, DenoisingRecipe):
        return DenoisingObjective(model, recipe.objective.noise, recipe.objective.graded)
    if isinstance(recipe, ContractiveRecipe):
        return ContractiveObjective(model, recipe.objective.weight, recipe.objective.probes)
    if isinstance(recipe, RegularizedRecipe):
        rae = recipe.objective
        return RegularizedObjective(model, rae.latent_weight, rae.decoder_weight)
    if isinstance(recipe, WaeMmdRecipe):
        return WaeMmdObjective(model, recipe.objective.weight)
    assert isinstance(recipe, WaeGanRecipe)
    # Tables 3 and 5 have the same discriminator, which any latents may use.
    return WaeGanObjective(model, mnist.discriminator(model.dim), recipe.objective.weight)


def _fisher_prior(fisher: FisherConfig, dim: int) -> Prior:
    if fisher.prior == "energy":
        return EnergyPrior(dim)
    family = PairwisePolynomial if fisher.prior == "pairwise" else FactorablePolynomial
    return family(dim, fisher.order)


def build_optimizer(objective: nn.Module, recipe: Recipe) -> torch.optim.Adam:
    """Adam as the recipe says; what has a learning rate of its own is a second parameter group.

    Fused: one pass over the weights, where a dozen operations would each make one.
    """
    training = recipe.training
    part, rate = _apart(objective, recipe)
    own = [] if part is None else list(part.parameters())
    others = [one for one in objective.parameters() if all(one is not other for other in own)]
    groups: list[dict[str, Any]] = [{"params": others}]
    if own:
        groups.append({"params": own, "lr": rate})
    return torch.optim.Adam(groups, lr=training.learning_rate, betas=training.betas, fused=True)


def _apart(objective: nn.Module, recipe: Recipe) -> tuple[nn.Module | None, float]:
    """What has a learning rate of its own, if anything: WAE-GAN's adversary, and a prior that
    follows the latents."""
    if isinstance(objective, WaeGanObjective) and isinstance(recipe, WaeGanRecipe):
        return objective.discriminator, recipe.objective.adversary_learning_rate
    if isinstance(objective, FisherObjective) and isinstance(recipe, FisherRecipe):
        prior = objective.model.prior
        if objective.standardize_prior and isinstance(prior, PolynomialPrior):
            return prior, recipe.objective.prior_learning_rate
    return None, recipe.training.learning_rate


def _check(recipe: Recipe) -> None:
    """What no single configuration can see."""
    if recipe.model.encoder_normalization == "batch" and recipe.training.batch_size < 2:
        raise InputError("batch normalisation needs a batch_size of at least 2")
    if isinstance(recipe, WaeMmdRecipe) and recipe.training.batch_size < 2:
        raise InputError("WAE-MMD compares batches with the prior: it needs a batch_size ≥ 2")
    bernoulli = _is_bernoulli(recipe)
    if bernoulli and recipe.model.value_range != (0.0, 1.0):
        raise InputError(
            f"a Bernoulli decoder needs pixels in [0, 1], network '{recipe.model.network}' draws "
            f"them in {recipe.model.value_range}: give --likelihood gaussian"
        )
    corruption = recipe.data.corruption
    if bernoulli and corruption is not None and not CORRUPTIONS[corruption].keeps_range:
        raise InputError(
            "a Bernoulli decoder needs pixels in [0, 1], which noisy training images leave: give "
            "--likelihood gaussian, or another corruption"
        )


def _is_bernoulli(recipe: Recipe) -> bool:
    if not isinstance(recipe, VaeRecipe | DenoisingRecipe | ContractiveRecipe):
        return False
    return recipe.objective.likelihood == "bernoulli"


def _autoencoder(
    config: ModelConfig,
    shape: tuple[int, ...],
    prior: Prior,
    likelihood: nn.Module,
    posterior: PosteriorName,
    outputs_per_dim: int,
) -> Autoencoder:
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
