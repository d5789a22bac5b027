"""The typed configuration of an experiment; the docstring of a field is its `--help`."""

import dataclasses
import math
import typing
from dataclasses import dataclass, field
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, Union

import tyro

from fisherae.data.config import DataConfig
from fisherae.errors import InputError
from fisherae.training.config import TrainingConfig

__all__ = [
    "ContractiveConfig",
    "ContractiveRecipe",
    "DenoisingConfig",
    "DenoisingRecipe",
    "ElboConfig",
    "FisherConfig",
    "FisherRecipe",
    "ModelConfig",
    "Recipe",
    "RegularizedConfig",
    "RegularizedRecipe",
    "VaeRecipe",
    "WaeGanConfig",
    "WaeGanRecipe",
    "WaeMmdConfig",
    "WaeMmdRecipe",
    "from_dict",
    "to_dict",
]

Normalization = Literal["none", "batch", "group"]
Variances = Literal["shared", "channel", "pixel"]
PosteriorOrder = Literal[2, 4, 6, 8]
Activation = Literal[
    "relu", "leaky_relu", "elu", "silu", "gelu", "softplus", "tanh", "asinh", "asinh-silu"
]


@dataclass(frozen=True)
class ModelConfig:
    """The networks. Encoder and decoder are the same for all families of models."""

    network: Literal["mnist", "celeba", "small", "mlp"] = "mnist"
    """mnist: Tables 2 and 3 (1x28x28); celeba: Tables 4 and 5 (3x64x64, pixels in [-1, 1]);
    small: two convolutions, for sides divisible by 4; mlp: fully connected, for any size."""

    dim: int = 8
    """d, the number of latent dimensions."""

    encoder_normalization: Normalization = "none"
    """Normalisation in the encoder. Batch normalisation couples the images of a batch in
    the stability term, and any normalisation rescales with the noise at test time."""

    encoder_activation: Activation = "silu"
    """Activation in the encoder. The stability term differentiates the encoder twice: a
    piecewise linear activation hides part of the network from it. Where a convolutional encoder
    sees clean images only, noise shifts its latents far less with asinh; asinh-silu has it in the
    first half of the layers, where noise comes in: better than asinh in all in short trainings,
    worse in long ones."""

    @property
    def value_range(self) -> tuple[float, float]:
        """The range of pixels that the decoder can draw."""
        return (-1.0, 1.0) if self.network == "celeba" else (0.0, 1.0)


@dataclass(frozen=True)
class FisherConfig:
    """The Fisher objective, eq. (10), its prior, eq. (13), and its Gaussian decoder."""

    prior: Literal["polynomial", "pairwise", "energy"] = "polynomial"
    """polynomial: factorable, the paper's; pairwise: with products of two latents as well;
    energy: with sufficient statistics that a small network learns."""

    order: int = 4
    """K, the order of a polynomial or pairwise prior: 2 is a Gaussian prior; odd orders (the
    paper's 5) are never a density on the whole line."""

    standardize_prior: bool = True
    """Let a polynomial or pairwise prior follow the latents in training: its weights are then of
    latents standardised by their running mean and deviation. Else (the paper's) they are of the
    latents themselves, and steps become too coarse for them as latents grow."""

    prior_learning_rate: float = 0.01
    """Adam's learning rate of the weights of a prior that follows the latents, which are of the
    order of one whatever the data are; others learn at the training's."""

    posterior_order: PosteriorOrder = 2
    """Order of the posterior's polynomial: 2 is a Gaussian posterior, 4 one that may be skew or
    have two modes."""

    variance: float = 0.1
    """s², the decoder's variance in squared pixel units, fixed or where learning starts."""

    learn_variance: bool = True
    """Learn s²: the Hyvärinen score is proper in it. In a long training it falls, and with it the
    weight of the stability term: a fixed one keeps more of the robustness."""

    variances: Variances = "shared"
    """shared: one s², the choice in doubt; channel: one of each channel; pixel: one of each pixel,
    for images whose pixels are all uncertain, but differently so."""

    samples: int = 1
    """L, Monte Carlo samples per image."""

    score_fraction: float = 0.25
    """Share of each batch on which the posterior and stability terms are estimated. 1 is the
    paper's, at about two VAE steps; a quarter costs about 1.3, but on a GPU with small networks
    as much as all."""

    variant: Literal["exact", "reference"] = "exact"
    """exact: eq. (10); reference: what the authors' published code computes."""

    noise: float = 0.0
    """Variance up to which noise is added to the encoder's images, in squared pixel units; the
    decoder answers for the clean ones. 0 is the paper's."""

    def __post_init__(self) -> None:
        _require_finite("prior_learning_rate", self.prior_learning_rate)
        _require_finite("noise", self.noise, zero=True)


@dataclass(frozen=True)
class ElboConfig:
    """The evidence lower bound, eq. (2)."""

    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
    """The decoder's distribution; bernoulli needs pixels in [0, 1]."""

    posterior_order: PosteriorOrder = 2
    """Order of the posterior's polynomial: 2 is a Gaussian posterior, 4 one that may be skew or
    have two modes."""

    variance: float = 0.1
    """s², the variance of a Gaussian decoder, fixed or where learning starts."""

    learn_variance: bool = True
    """Learn s² of a Gaussian decoder."""

    variances: Variances = "shared"
    """One s², or one of each channel or pixel."""

    samples: int = 1
    """L, Monte Carlo samples per image."""

    beta: float = 1.0
    """The weight of the KL: 1 is the VAE, more the β-VAE of Higgins et al. (2017)."""


@dataclass(frozen=True)
class DenoisingConfig:
    """The plain auto-encoder, and with noise the denoising one of Vincent et al. (2008)."""

    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
    """bernoulli: cross-entropy, which needs pixels in [0, 1]; gaussian: half the squared error."""

    noise: float = 0.0
    """Variance of the Gaussian noise added to the encoder's images, in squared pixel units."""

    graded: bool = False
    """Take the noise for the most, and draw each image's variance below it, as the Fisher AE
    does."""

    def __post_init__(self) -> None:
        _require_finite("noise", self.noise, zero=True)


@dataclass(frozen=True)
class ContractiveConfig:
    """The contractive auto-encoder of Rifai et al. (2011)."""

    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
    """bernoulli: cross-entropy, which needs pixels in [0, 1]; gaussian: half the squared error."""

    weight: float = 0.1
    """λ, the weight of the squared norm of the encoder's Jacobian."""

    probes: int | None = 1
    """Random products that estimate the norm; None: exactly, with one product per latent."""

    def __post_init__(self) -> None:
        _require_finite("weight λ", self.weight)


@dataclass(frozen=True)
class RegularizedConfig:
    """The regularised auto-encoder RAE-L2 of Ghosh et al. (2020)."""

    latent_weight: float = 1e-4
    """β, the weight of ½ ‖z‖²."""

    decoder_weight: float = 1e-7
    """λ, the weight of the decoder's squared parameters."""

    def __post_init__(self) -> None:
        _require_finite("latent_weight β", self.latent_weight)
        _require_finite("decoder_weight λ", self.decoder_weight)


@dataclass(frozen=True)
class WaeMmdConfig:
    """WAE-MMD as Tolstikhin et al. (2018) train it."""

    weight: float = 10.0
    """λ, the weight of the squared maximum mean discrepancy."""

    def __post_init__(self) -> None:
        _require_finite("weight λ", self.weight)


@dataclass(frozen=True)
class WaeGanConfig:
    """WAE-GAN as Tolstikhin et al. (2018) train it."""

    weight: float = 10.0
    """λ, the weight of the adversarial penalty."""

    adversary_learning_rate: float = 5e-4
    """Adam's learning rate of the adversary."""

    def __post_init__(self) -> None:
        _require_finite("weight λ", self.weight)
        _require_finite("adversary_learning_rate", self.adversary_learning_rate)


def _require_finite(name: str, value: float, zero: bool = False) -> None:
    if not (0 < value < math.inf or (zero and value == 0)):
        least = "≥ 0" if zero else "positive"
        raise InputError(f"objective: {name} must be {least} and finite, got {value}")


@dataclass(frozen=True)
class Recipe:
    """Everything a training run is made of; a subclass per family adds its `objective`."""

    family: ClassVar[str]
    has_prior: ClassVar[bool] = True
    """Whether training knows of the prior; else N(0, I) stands in, until one is fitted."""

    name: Annotated[str, tyro.conf.Fixed, tyro.conf.Suppress] = ""
    """What follows `fisherae train` for the recipe as it is: its name, and its preset."""
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


@dataclass(frozen=True)
class FisherRecipe(Recipe):
    """A Fisher auto-encoder."""

    family: ClassVar[str] = "fisher"

    objective: FisherConfig = field(default_factory=FisherConfig)


@dataclass(frozen=True)
class VaeRecipe(Recipe):
    """A variational auto-encoder."""

    family: ClassVar[str] = "vae"

    objective: ElboConfig = field(default_factory=ElboConfig)


@dataclass(frozen=True)
class WaeGanRecipe(Recipe):
    """A Wasserstein auto-encoder with a GAN penalty."""

    family: ClassVar[str] = "wae-gan"

    objective: WaeGanConfig = field(default_factory=WaeGanConfig)


@dataclass(frozen=True)
class WaeMmdRecipe(Recipe):
    """A Wasserstein auto-encoder with maximum mean discrepancy."""

    family: ClassVar[str] = "wae-mmd"

    objective: WaeMmdConfig = field(default_factory=WaeMmdConfig)


@dataclass(frozen=True)
class DenoisingRecipe(Recipe):
    """A plain or denoising auto-encoder."""

    family: ClassVar[str] = "dae"
    has_prior: ClassVar[bool] = False

    objective: DenoisingConfig = field(default_factory=DenoisingConfig)


@dataclass(frozen=True)
class ContractiveRecipe(Recipe):
    """A contractive auto-encoder."""

    family: ClassVar[str] = "cae"
    has_prior: ClassVar[bool] = False

    objective: ContractiveConfig = field(default_factory=ContractiveConfig)


@dataclass(frozen=True)
class RegularizedRecipe(Recipe):
    """A regularised auto-encoder."""

    family: ClassVar[str] = "rae"
    has_prior: ClassVar[bool] = False

    objective: RegularizedConfig = field(default_factory=RegularizedConfig)


FAMILIES: dict[str, type[Recipe]] = {
    recipe.family: recipe
    for recipe in (
        FisherRecipe,
        VaeRecipe,
        WaeGanRecipe,
        WaeMmdRecipe,
        DenoisingRecipe,
        ContractiveRecipe,
        RegularizedRecipe,
    )
}


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """A recipe as plain data, the inverse of `from_dict`."""
    return {"family": recipe.family, **dataclasses.asdict(recipe)}


def from_dict(config: dict[str, Any]) -> Recipe:
    """A recipe from plain data, as a run's `config.json` holds it.

    Raises:
        InputError: if the family or a field is unknown, or a value of a wrong type or out of range.

    Example:
        >>> recipe = FisherRecipe(model=ModelConfig(dim=3))
        >>> from_dict(to_dict(recipe)) == recipe
        True
    """
    fields = dict(config)
    family = fields.pop("family", None)
    if not isinstance(family, str) or family not in FAMILIES:
        raise InputError(f"unknown family {family!r}; known: {', '.join(FAMILIES)}")
    recipe = _build(FAMILIES[family], fields, "")
    assert isinstance(recipe, Recipe)
    return recipe


def _build(cls: Any, values: Any, where: str) -> Any:
    """The dataclass `cls` from a dict, nested ones included; JSON's lists become tuples."""
    if not isinstance(values, dict):
        raise InputError(f"configuration: {where[:-1]} must be an object, got {values!r}")
    types = typing.get_type_hints(cls)
    known = {f.name for f in dataclasses.fields(cls)}
    for name in values.keys() - known:
        raise InputError(f"configuration: unknown field {where}{name}; known: {sorted(known)}")
    arguments = {
        name: _build(types[name], value, f"{where}{name}.")
        if dataclasses.is_dataclass(types[name])
        else _tuples(value)
        for name, value in values.items()
    }
    for name, value in arguments.items():
        if not _is(value, types[name]):
            raise InputError(
                f"configuration: {where[:-1] or 'recipe'}: a value of a wrong type: {name} is "
                f"{value!r}; it must be: {_in_words(types[name])}"
            )
    return cls(**arguments)


def _is(value: Any, kind: Any) -> bool:
    """Whether a value is of a field's type; whole numbers are floats too, as far as these count."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return value in parts
    if origin in (Union, UnionType):
        return any(_is(value, part) for part in parts)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        kinds = parts[:1] * len(value) if ... in parts else parts
        return len(value) == len(kinds) and all(map(_is, value, kinds))
    if isinstance(value, bool):
        return kind is bool
    if kind is float and isinstance(value, int):
        return abs(value) < 2**53
    return isinstance(value, kind)


def _in_words(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
