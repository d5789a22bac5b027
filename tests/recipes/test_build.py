"""A recipe becomes the objects that it names: section 4 (Setup) and Tables 2 to 5 of the paper."""

import dataclasses
from collections.abc import Sequence
from fnmatch import fnmatch
from typing import Any, NamedTuple

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import fisherae as fae
from fisherae.data.config import DataConfig
from fisherae.distributions import (
    BernoulliLikelihood,
    Delta,
    DiagonalGaussian,
    GaussianLikelihood,
    PolynomialPosterior,
)
from fisherae.objectives import (
    ContractiveObjective,
    DenoisingObjective,
    ElboObjective,
    FisherObjective,
    RegularizedObjective,
    WaeGanObjective,
    WaeMmdObjective,
)
from fisherae.priors import (
    EnergyPrior,
    FactorablePolynomial,
    PairwisePolynomial,
    StandardNormal,
)
from fisherae.recipes import named
from fisherae.recipes.build import build_objective, build_optimizer, load_data
from fisherae.recipes.config import ModelConfig, Recipe

SHAPES = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "celeba": (3, 64, 64)}
TERMS = {
    FisherObjective: ["posterior", "reconstruction", "stability"],
    ElboObjective: ["reconstruction", "kl"],
    WaeGanObjective: ["reconstruction", "penalty", "adversary"],
    WaeMmdObjective: ["reconstruction", "penalty"],
    DenoisingObjective: ["reconstruction"],
    ContractiveObjective: ["reconstruction", "contraction"],
    RegularizedObjective: ["reconstruction", "latent", "decoder"],
}
PAPER_BETAS, USUAL_BETAS = (0.5, 0.999), (0.9, 0.999)

# What recipes and presets are built of; where several rows speak of a value, the last one holds.
TABLE: list[tuple[str, str, dict[str, Any]]] = [
    # Tables 2 to 5, d = 8 and 64, and the pixels that their last layers can draw
    ("digits-*", "*", {"network": "mlp", "dim": 8, "value_range": (0.0, 1.0)}),
    ("mnist-*", "*", {"network": "mnist", "dim": 8, "value_range": (0.0, 1.0)}),
    ("celeba-*", "*", {"network": "celeba", "dim": 64, "value_range": (-1.0, 1.0)}),
    ("*", "default", {"encoder.normalization": "none", "encoder.activation": "silu"}),
    ("mnist-*", "default", {"encoder.activation": "asinh-silu"}),
    ("mnist-fisher-denoising", "default", {"encoder.activation": "silu"}),
    ("mnist-dae", "default", {"encoder.activation": "silu"}),
    ("*", "paper", {"encoder.normalization": "batch", "encoder.activation": "leaky_relu"}),
    # the data: CelebA cut as in the literature
    ("digits-*", "*", {"data": DataConfig("digits")}),
    ("mnist-*", "*", {"data": DataConfig("mnist")}),
    ("celeba-*", "*", {"data": DataConfig("celeba", size=64, channels=3, crop=140)}),
    # training: Adam's learning rate and betas; Setup
    ("*", "*", {"epochs": 100, "batch_size": 128, "schedule": ()}),
    ("digits-*", "default", {"adam": (1e-3, USUAL_BETAS), "batch_size": 64, "clip": 10.0}),
    ("mnist-*", "default", {"adam": (5e-4, USUAL_BETAS), "clip": 10.0}),
    ("celeba-*", "default", {"adam": (2e-4, USUAL_BETAS), "clip": 10.0}),
    ("*", "paper", {"adam": (2e-4, PAPER_BETAS), "clip": None}),
    # Gaussian posteriors, one sample
    ("*", "*", {"posterior": DiagonalGaussian, "encoder.outputs_per_dim": 2, "samples": 1}),
    # the Fisher auto-encoder: eq. (10) and (13), Gaussian decoder, K = 5
    ("*-fisher*", "*", {"objective": FisherObjective, "variant": "exact", "noise": 0.0}),
    ("*-fisher-denoising", "*", {"noise": 1.0}),
    ("celeba-fisher-denoising", "*", {"noise": 2.0}),
    ("*-fisher*", "*", {"prior": FactorablePolynomial, "likelihood": GaussianLikelihood}),
    ("*-fisher*", "*", {"variance.shape": ()}),
    ("*-fisher*", "default", {"prior.order": 4, "standardize_prior": True}),
    ("*-fisher*", "default", {"adam.prior": (0.01, USUAL_BETAS)}),
    ("*-fisher*", "paper", {"prior.order": 5, "standardize_prior": False}),
    ("*-fisher-gaussian", "*", {"prior.order": 2}),
    ("*-fisher*", "default", {"variance": 0.1, "learned": True, "score_fraction": 0.25}),
    ("digits-fisher*", "default", {"score_fraction": 1.0}),
    ("celeba-fisher*", "default", {"variance": 1.0}),
    ("mnist-fisher-denoising", "default", {"variance": 0.01}),
    ("*-fisher*", "paper", {"variance": 1.0, "learned": False, "score_fraction": 1.0}),
    # the VAE: Bernoulli decoder, which pixels in [−1, 1] do not allow
    ("*-vae", "*", {"objective": ElboObjective, "prior": StandardNormal}),
    ("*-vae", "*", {"likelihood": BernoulliLikelihood, "beta": 1.0}),
    ("celeba-*vae", "*", {"likelihood": GaussianLikelihood, "variance.shape": ()}),
    ("celeba-*vae", "default", {"variance": 0.1, "learned": True}),
    ("celeba-*vae", "paper", {"variance": 1.0, "learned": False}),
    # β-VAE: Higgins et al. (2017); calibrated Gaussian: Rybkin et al. (2021)
    ("*-beta-vae", "*", {"beta": 4.0}),
    ("*-gaussian-vae", "*", {"likelihood": GaussianLikelihood, "variance.shape": ()}),
    ("*-gaussian-vae", "*", {"variance": 0.1, "learned": True}),
    # WAE-GAN: Tolstikhin et al. (2018), https://arxiv.org/abs/1711.01558
    ("*-wae-gan", "*", {"objective": WaeGanObjective, "prior": StandardNormal, "samples": None}),
    ("*-wae-gan", "*", {"posterior": Delta, "encoder.outputs_per_dim": 1}),
    ("*-wae-gan", "*", {"likelihood": GaussianLikelihood, "variance": 1.0, "learned": False}),
    ("*-wae-gan", "*", {"adam": (1e-3, PAPER_BETAS), "adam.adversary": (5e-4, PAPER_BETAS)}),
    ("celeba-wae-gan", "*", {"adam": (3e-4, PAPER_BETAS), "adam.adversary": (1e-3, PAPER_BETAS)}),
    ("*-wae-gan", "*", {"weight": 1.0, "schedule": ((30, 0.5), (50, 0.1))}),
    ("mnist-wae-gan", "*", {"weight": 10.0}),
    ("*-wae-gan", "*", {"adversary": "Linear 8 256, ReLU, Linear 256 1"}),
    ("celeba-wae-gan", "*", {"adversary": "Linear 64 256, ReLU, Linear 256 1"}),
    # WAE-MMD: the same
    ("*-wae-mmd", "*", {"objective": WaeMmdObjective, "weight": 1.0}),
    ("mnist-wae-mmd", "*", {"weight": 10.0}),
    ("celeba-wae-mmd", "*", {"weight": 100.0}),
    ("*-wae-mmd", "*", {"adam": (1e-3, PAPER_BETAS), "schedule": ((30, 0.5), (50, 0.1))}),
    # plain, denoising, contractive and regularised auto-encoders
    *(
        (f"*-{model}", "*", {"prior": StandardNormal, "posterior": Delta, "samples": None})
        for model in ("wae-mmd", "ae", "dae", "cae", "rae")
    ),
    *(
        (f"*-{model}", "*", {"encoder.outputs_per_dim": 1, "likelihood": BernoulliLikelihood})
        for model in ("ae", "dae", "cae")
    ),
    *(
        row
        for name in ("*-wae-mmd", "*-rae", "celeba-ae", "celeba-dae", "celeba-cae", "*-wae-gan")
        for row in (
            (name, "*", {"likelihood": GaussianLikelihood, "variance": 1.0, "learned": False}),
            (name, "*", {"encoder.outputs_per_dim": 1, "variance.shape": ()}),
        )
    ),
    ("*-ae", "*", {"objective": DenoisingObjective, "noise": 0.0, "graded": False}),
    ("*-dae", "*", {"objective": DenoisingObjective, "noise": 0.25, "graded": False}),
    ("*-cae", "*", {"objective": ContractiveObjective, "weight": 0.1, "probes": 1}),
    ("*-rae", "*", {"objective": RegularizedObjective}),
    ("*-rae", "*", {"latent_weight": 1e-4, "decoder_weight": 1e-7}),
]

# Layers with the numbers of Tables 2 and 4. Poolings and interpolations that Table 4 forgets (the
# fourth AvgPool before FC(8192, ·), the first BiI to 4x4) and its second head are added.
MNIST_ENCODER = """
Conv2d 1 64 3 2 2, LeakyReLU, Conv2d 64 128 3 2 2, BatchNorm2d 128, LeakyReLU,
Conv2d 128 256 3 2 2, BatchNorm2d 256, LeakyReLU, Conv2d 256 512 3 2 1, BatchNorm2d 512, LeakyReLU,
Conv2d 512 16 3 2 0
"""
MNIST_DECODER = """
ConvTranspose2d 8 512 5 1 1, BatchNorm2d 512, ReLU,
ConvTranspose2d 512 256 5 1 1, BatchNorm2d 256, ReLU,
ConvTranspose2d 256 128 5 2 1, BatchNorm2d 128, ReLU,
ConvTranspose2d 128 64 5 1 1, BatchNorm2d 64, ReLU,
ConvTranspose2d 64 1 4 2 0, Sigmoid
"""
CELEBA_ENCODER = """
Conv2d 3 64 5 1 2, LeakyReLU, AvgPool2d 2 2 0,
Conv2d 64 128 5 1 2, BatchNorm2d 128, LeakyReLU, AvgPool2d 2 2 0,
Conv2d 128 256 5 1 2, BatchNorm2d 256, LeakyReLU, AvgPool2d 2 2 0,
Conv2d 256 512 5 1 2, BatchNorm2d 512, LeakyReLU, AvgPool2d 2 2 0,
Linear 8192 128
"""
CELEBA_DECODER = """
Upsample 4 bilinear, Conv2d 64 512 5 1 2, BatchNorm2d 512, ReLU,
Upsample 2 bilinear, Conv2d 512 256 5 1 2, BatchNorm2d 256, ReLU,
Upsample 2 bilinear, Conv2d 256 128 5 1 2, BatchNorm2d 128, ReLU,
Upsample 2 bilinear, Conv2d 128 64 5 1 2, BatchNorm2d 64, ReLU,
Upsample 2 bilinear, Conv2d 64 3 5 1 2, Tanh
"""
# Without convolutions there are no printed layers: those of 8x8 digits, by the same pattern.
DIGITS_ENCODER = """
Linear 64 512, BatchNorm1d 512, LeakyReLU, Linear 512 256, BatchNorm1d 256, LeakyReLU, Linear 256 16
"""
DIGITS_DECODER = "Linear 8 256, SiLU, Linear 256 512, SiLU, Linear 512 64, Sigmoid"
LAYERS = {
    "digits": (DIGITS_ENCODER, DIGITS_DECODER),
    "mnist": (MNIST_ENCODER, MNIST_DECODER),
    "celeba": (CELEBA_ENCODER, CELEBA_DECODER),
}
# With one output per latent dimension instead of two (Tables 3 and 5).
DETERMINISTIC = {"Linear 256 16": "Linear 256 8", "512 16": "512 8", "8192 128": "8192 64"}
PRINTED = (
    *("in_channels", "in_features", "out_channels", "out_features", "kernel_size", "stride"),
    *("padding", "num_features", "scale_factor", "mode"),
)


class Built(NamedTuple):
    name: str
    preset: str
    recipe: Recipe
    objective: Any
    optimizer: torch.optim.Adam

    def batch(self) -> Tensor:
        """Two images, random in the recipe's value range."""
        low, high = self.recipe.model.value_range
        return low + (high - low) * torch.rand(2, *SHAPES[self.recipe.data.data])


def build(recipe: Recipe, name: str = "", preset: str = "") -> Built:
    objective = build_objective(recipe, SHAPES[recipe.data.data])
    return Built(name, preset, recipe, objective, build_optimizer(objective, recipe))


@pytest.fixture(
    scope="module",
    params=[(name, preset) for name in named.NAMES for preset in ("default", "paper")],
    ids="-".join,
)
def built(request: pytest.FixtureRequest) -> Built:
    name, preset = request.param
    return build(named.recipe(name, preset), name, preset)


def describe(built: Built) -> dict[str, Any]:
    """What was built, read off the objects."""
    recipe, objective, training = built.recipe, built.objective, built.recipe.training
    model, adversary = objective.model, getattr(objective, "discriminator", None)
    encoder, decoder, likelihood = model.encoder.spec, model.decoder.spec, model.likelihood
    gaussian = isinstance(likelihood, GaussianLikelihood)
    names = encoder["network"].partition("."), decoder["network"].partition(".")
    assert [part for _, _, part in names] == ["encoder", "decoder"]
    apart = adversary is None and len(built.optimizer.param_groups) > 1
    return {
        "objective": type(objective),
        "network": one_of(network for network, _, _ in names),
        "dim": one_of((encoder["dim"], decoder["dim"], model.prior.dim)),
        "encoder.normalization": encoder["normalization"],
        "encoder.activation": encoder["activation"],
        "encoder.outputs_per_dim": encoder["outputs_per_dim"],
        "posterior": model.posterior,
        "prior": type(model.prior),
        "prior.order": getattr(model.prior, "order", None),
        "likelihood": type(likelihood),
        "variance": round(likelihood.variance.mean().item(), 6) if gaussian else None,
        "variance.shape": likelihood.shape if gaussian else None,
        "learned": any(True for _ in likelihood.parameters()) if gaussian else None,
        "standardize_prior": getattr(objective, "standardize_prior", None),
        "samples": getattr(objective, "samples", None),
        "score_fraction": getattr(objective, "score_fraction", None),
        "variant": getattr(objective, "variant", None),
        "beta": getattr(objective, "beta", None),
        "noise": getattr(objective, "noise", None),
        "graded": getattr(objective, "graded", None),
        "probes": getattr(objective, "probes", None),
        "latent_weight": getattr(objective, "latent_weight", None),
        "decoder_weight": getattr(objective, "decoder_weight", None),
        "weight": getattr(objective, "weight", None),
        "adversary": adversary and layers_of(adversary),
        "adam": adam_of(built.optimizer, [model], but=[model.prior] if apart else []),
        "adam.adversary": adversary and adam_of(built.optimizer, [adversary]),
        "adam.prior": adam_of(built.optimizer, [model.prior]) if apart else None,
        "value_range": recipe.model.value_range,
        "data": recipe.data,
        "epochs": training.epochs,
        "batch_size": training.batch_size,
        "clip": training.clip,
        "schedule": training.schedule,
    }


def one_of(values: Any) -> Any:
    """What all the values are."""
    (value,) = set(values)
    return value


def adam_of(
    optimizer: torch.optim.Adam, parts: Sequence[nn.Module], but: Sequence[nn.Module] = ()
) -> tuple[float, tuple[float, float]]:
    """Learning rate and betas of the parameter group that is these parts', and nobody else's."""
    own = {id(p) for part in parts for p in part.parameters()}
    own -= {id(p) for part in but for p in part.parameters()}
    groups = [g for g in optimizer.param_groups if own & {id(p) for p in g["params"]}]
    assert [{id(p) for p in group["params"]} for group in groups] == [own]
    return groups[0]["lr"], groups[0]["betas"]


def layers_of(network: nn.Module) -> str:
    """The layers that do something, each with the numbers that the tables print."""
    reshaping = {"InputSize", "Flatten", "Unflatten", "Identity"}
    return ", ".join(printed(layer) for layer in network if type(layer).__name__ not in reshaping)


def printed(layer: nn.Module) -> str:
    values = [getattr(layer, name) for name in PRINTED if hasattr(layer, name)]
    sides = [one_of(value) if isinstance(value, tuple) else value for value in values]
    return " ".join([type(layer).__name__, *(str(side).removesuffix(".0") for side in sides)])


def test_objects(built: Built) -> None:
    expected: dict[str, Any] = dict.fromkeys(describe(built))
    for names, presets, values in TABLE:
        if fnmatch(built.name, names) and fnmatch(built.preset, presets):
            expected |= values
    assert describe(built) == expected


def test_layers(built: Built) -> None:
    """The default preset's encoder is the paper's without normalisation, and smooth: with asinh in
    two of its four layers on MNIST, unless it sees noise."""
    encoder, decoder = (" ".join(t.split()) for t in LAYERS[built.recipe.data.data])
    if built.objective.model.posterior is Delta:
        for two_outputs, one_output in DETERMINISTIC.items():
            encoder = encoder.replace(two_outputs, one_output)
    if built.preset == "default":
        lines = [line for line in encoder.split(", ") if not line.startswith("BatchNorm")]
        sees_noise = built.name in ("mnist-fisher-denoising", "mnist-dae")
        asinh = 2 if built.recipe.data.data == "mnist" and not sees_noise else 0
        encoder = ", ".join(lines).replace("LeakyReLU", "Asinh", asinh)
        encoder = encoder.replace("LeakyReLU", "SiLU")
    assert layers_of(built.objective.model.encoder) == encoder
    assert layers_of(built.objective.model.decoder) == decoder


def test_every_parameter_is_trained_once(built: Built) -> None:
    trained = [id(p) for group in built.optimizer.param_groups for p in group["params"]]
    assert sorted(trained) == sorted(id(p) for p in built.objective.parameters())
    assert all(p.requires_grad for p in built.objective.parameters())


def test_terms_are_finite(built: Built) -> None:
    terms = built.objective(built.batch()).by_name()
    assert list(terms) == TERMS[type(built.objective)]
    assert torch.stack(list(terms.values())).isfinite().all()


@torch.no_grad()
def test_decoder_draws_the_value_range(built: Built) -> None:
    """Latents far out saturate its last layer."""
    z = 1e6 * torch.randn(2, built.recipe.model.dim)
    image = built.objective.model.eval().decode(z).mean
    assert image.shape == (2, *SHAPES[built.recipe.data.data])
    assert image.aminmax() == pytest.approx(built.recipe.model.value_range, abs=1e-3)


FISHER, VAE, GAUSSIAN_VAE, WAE_GAN = "digits-fisher", "digits-vae", "celeba-vae", "digits-wae-gan"
DAE, CAE, RAE, WAE_MMD = (f"digits-{model}" for model in ("dae", "cae", "rae", "wae-mmd"))
GAUSSIAN = {"likelihood": GaussianLikelihood, "variance.shape": ()}
LEARNED_GAUSSIAN = GAUSSIAN | {"variance": 0.1, "learned": True}
POLYNOMIAL = {"posterior": PolynomialPosterior, "encoder.outputs_per_dim": 4}
BETAS = (0.7, 0.9)
# recipe, field, another value, and all that becomes different
OVERRIDES: list[tuple[str, str, Any, dict[str, Any]]] = [
    (FISHER, "model.network", "small", {"network": "small"}),
    (GAUSSIAN_VAE, "model.network", "mlp", {"network": "mlp", "value_range": (0.0, 1.0)}),
    (FISHER, "model.dim", 3, {"dim": 3}),
    (VAE, "model.dim", 3, {"dim": 3}),
    (WAE_GAN, "model.dim", 3, {"dim": 3, "adversary": "Linear 3 256, ReLU, Linear 256 1"}),
    *(
        (name, f"model.encoder_{part}", value, {f"encoder.{part}": value})
        for name in (FISHER, VAE, WAE_GAN)
        for part, value in (("normalization", "group"), ("activation", "tanh"))
    ),
    (FISHER, "objective.order", 6, {"prior.order": 6}),
    (FISHER, "objective.prior", "pairwise", {"prior": PairwisePolynomial}),
    (
        FISHER,
        "objective.prior",
        "energy",
        {"prior": EnergyPrior, "prior.order": None, "adam.prior": None},
    ),
    (FISHER, "objective.posterior_order", 4, POLYNOMIAL),
    (VAE, "objective.posterior_order", 4, POLYNOMIAL),
    (FISHER, "objective.variance", 0.3, {"variance": 0.3}),
    (FISHER, "objective.learn_variance", False, {"learned": False}),
    (FISHER, "objective.variances", "channel", {"variance.shape": (1, 1, 1)}),
    (FISHER, "objective.variances", "pixel", {"variance.shape": (1, 8, 8)}),
    (
        FISHER,
        "objective.standardize_prior",
        False,
        {"standardize_prior": False, "adam.prior": None},
    ),
    (FISHER, "objective.prior_learning_rate", 7e-3, {"adam.prior": (7e-3, USUAL_BETAS)}),
    (FISHER, "objective.samples", 3, {"samples": 3}),
    (FISHER, "objective.score_fraction", 0.5, {"score_fraction": 0.5}),
    (FISHER, "objective.noise", 0.5, {"noise": 0.5}),
    (FISHER, "objective.variant", "reference", {"variant": "reference"}),
    (VAE, "objective.likelihood", "gaussian", LEARNED_GAUSSIAN),
    (GAUSSIAN_VAE, "objective.variance", 0.3, {"variance": 0.3}),
    (GAUSSIAN_VAE, "objective.learn_variance", False, {"learned": False}),
    (GAUSSIAN_VAE, "objective.variances", "channel", {"variance.shape": (3, 1, 1)}),
    (GAUSSIAN_VAE, "objective.variances", "pixel", {"variance.shape": (3, 64, 64)}),
    (VAE, "objective.samples", 3, {"samples": 3}),
    (VAE, "objective.beta", 2.0, {"beta": 2.0}),
    *(
        (name, "objective.likelihood", "gaussian", GAUSSIAN | {"variance": 1.0, "learned": False})
        for name in (DAE, CAE)
    ),
    (DAE, "objective.noise", 0.5, {"noise": 0.5}),
    (DAE, "objective.graded", True, {"graded": True}),
    (CAE, "objective.weight", 3.0, {"weight": 3.0}),
    (CAE, "objective.probes", None, {"probes": None}),
    (RAE, "objective.latent_weight", 0.3, {"latent_weight": 0.3}),
    (RAE, "objective.decoder_weight", 0.3, {"decoder_weight": 0.3}),
    (WAE_MMD, "objective.weight", 3.0, {"weight": 3.0}),
    (WAE_GAN, "objective.weight", 3.0, {"weight": 3.0}),
    (
        WAE_GAN,
        "objective.adversary_learning_rate",
        7e-4,
        {"adam.adversary": (7e-4, PAPER_BETAS)},
    ),
    (FISHER, "training.learning_rate", 7e-4, {"adam": (7e-4, USUAL_BETAS)}),
    (VAE, "training.learning_rate", 7e-4, {"adam": (7e-4, USUAL_BETAS)}),
    (WAE_GAN, "training.learning_rate", 7e-4, {"adam": (7e-4, PAPER_BETAS)}),
    (FISHER, "training.betas", BETAS, {"adam": (1e-3, BETAS), "adam.prior": (0.01, BETAS)}),
    (VAE, "training.betas", BETAS, {"adam": (1e-3, BETAS)}),
    (WAE_GAN, "training.betas", BETAS, {"adam": (1e-3, BETAS), "adam.adversary": (5e-4, BETAS)}),
]


def override(recipe: Recipe, path: str, value: Any) -> Recipe:
    part, field = path.split(".")
    changed = dataclasses.replace(getattr(recipe, part), **{field: value})
    return dataclasses.replace(recipe, **{part: changed})


@pytest.mark.parametrize(
    ("name", "path", "value", "changes"), OVERRIDES, ids=[f"{o[0]}-{o[1]}" for o in OVERRIDES]
)
def test_override(name: str, path: str, value: Any, changes: dict[str, Any]) -> None:
    """A field changes what it says, nothing else, and the result works."""
    recipe = named.recipe(name)
    before, changed = describe(build(recipe)), build(override(recipe, path, value))
    assert {k: v for k, v in describe(changed).items() if v != before[k]} == changes
    assert changed.objective(changed.batch()).total.isfinite()


@pytest.mark.parametrize("model", ["fisher", "vae", "wae-gan", "wae-mmd", "dae", "cae", "rae"])
def test_every_field_is_overridden(model: str) -> None:
    overridden = {path for name, path, *_ in OVERRIDES if name.endswith(f"-{model}")}
    recipe = named.recipe(f"digits-{model}")
    assert {
        f"objective.{field.name}" for field in dataclasses.fields(recipe.objective)
    } <= overridden
    assert {f"model.{field.name}" for field in dataclasses.fields(ModelConfig)} <= {
        path for _, path, *_ in OVERRIDES
    }


@pytest.mark.parametrize("model", ["fisher", "vae", "wae-gan", "ae", "cae"])
@pytest.mark.parametrize(
    ("network", "shape", "message"),
    [
        ("mnist", (1, 8, 8), r"'mnist' takes images of shape \(1, 28, 28\), the data has \(1, 8,"),
        ("mnist", (3, 28, 28), r"the data has \(3, 28, 28\): choose another --network"),
        ("celeba", (3, 32, 32), r"'celeba' takes images of shape \(3, 64, 64\), the data has"),
        ("celeba", (1, 64, 64), r"the data has \(1, 64, 64\)"),
        ("small", (1, 30, 28), r"divisible by 4, got \(1, 30, 28\)"),
    ],
)
def test_network_that_does_not_suit_the_data(
    model: str, network: str, shape: tuple[int, ...], message: str
) -> None:
    # A Gaussian decoder, because CelebA's network admits no other.
    recipe = override(named.recipe(f"celeba-{model}"), "model.network", network)
    with pytest.raises(fae.InputError, match=message):
        build_objective(recipe, shape)


@pytest.mark.parametrize("model", ["vae", "beta-vae", "ae", "dae", "cae"])
def test_bernoulli_decoder_needs_pixels_from_0_to_1(model: str) -> None:
    recipe = override(named.recipe(f"celeba-{model}"), "objective.likelihood", "bernoulli")
    with pytest.raises(fae.InputError, match=r"Bernoulli .* \[0, 1\]"):
        build_objective(recipe, SHAPES["celeba"])


@pytest.mark.parametrize(("name", "preset"), [(FISHER, "paper"), (WAE_MMD, "default")])
def test_batch_normalisation_and_discrepancy_need_a_batch(name: str, preset: Any) -> None:
    recipe = override(named.recipe(name, preset), "training.batch_size", 1)
    with pytest.raises(fae.InputError, match="batch_size"):
        build_objective(recipe, SHAPES["digits"])


def test_limit_holds_for_training_images_and_depends_on_the_seed() -> None:
    recipe = override(named.recipe("digits-fisher"), "data.limit", 50)
    train = load_data(recipe, "train").images
    other = load_data(override(recipe, "training.seed", 1), "train").images
    assert len(train) == len(other) == 50
    assert torch.equal(train, load_data(recipe, "train").images)
    assert not torch.equal(train, other)
    assert len(load_data(recipe, "test")) == 360


def test_images_are_cut_as_the_recipe_says(tmp_path) -> None:
    """A black square in a white frame that the crop takes off."""
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        framed = Image.new("RGB", (40, 30), "white")
        framed.paste("black", (10, 5, 30, 25))
        framed.save(tmp_path / split / "0.png")
    data = DataConfig(str(tmp_path), size=16, channels=1, crop=20)
    recipe = dataclasses.replace(named.recipe("digits-fisher"), data=data)
    for split in ("train", "test"):
        images = load_data(recipe, split).images
        assert images.shape == (1, 1, 16, 16)
        assert not images.any()


def test_celebas_first_step_is_not_all_posterior_term() -> None:
    """A decoder that depends strongly on z from the start drives σ to infinity."""
    torch.manual_seed(0)
    objective = build_objective(named.recipe("celeba-fisher"), (3, 64, 64))
    terms = objective(torch.rand(8, 3, 64, 64) * 2 - 1)
    assert terms.posterior < terms.reconstruction.abs()
