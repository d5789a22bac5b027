"""The recipes by name, `{digits,mnist,celeba}-MODEL`.

The paper compares `fisher` and `fisher-gaussian` with `vae` and `wae-gan`. Beyond it,
`fisher-denoising` is `fisher` whose encoder sees noise (`FisherObjective`), with a smaller variance
to start at on MNIST, which makes clean images sharper. Further baselines, with what each takes from
its own paper and what the papers leave to a choice, made here:

| model | objective | from its paper | chosen |
|---|---|---|---|
| ae | cross-entropy of f(μ(x)) | | |
| dae | the same from a noisy image, Vincent et al. (2008) | Gaussian noise of σ = 0.5 (2010) | |
| cae | + λ ‖J_μ‖²_F, Rifai et al. (2011), eq. (1) | | λ, no tied weights |
| rae | RAE-L2, Ghosh et al. (2020) | | β = 1e-4, λ = 1e-7 |
| beta-vae | β KL, Higgins et al. (2017), eq. (4) | β = 4 | |
| gaussian-vae | a shared learned variance, Rybkin et al. (2021) | | starts at s² = 0.1 |
| wae-mmd | Tolstikhin et al. (2018), Algorithm 2 | λ, kernel, learning rate, schedule | |

All train with the networks, batches, learning rates and clipping of the default Fisher AE, the
Wasserstein auto-encoders with the learning rates and the schedule of their own paper. On CelebA,
whose pixels lie in [−1, 1], squared errors take the place of cross-entropies, and `vae` is already
`gaussian-vae`. β = 4 is that of images of 64x64 pixels: on the few of the digits, whose
reconstruction weighs less, it collapses the posterior.

Two presets each:

- default: trains soundly. All families share the same networks: the tables' sizes, the encoder
  smooth and without normalisation. The Fisher decoder's variance is learned, the prior's order is
  even, gradients are clipped. Activations are SiLU; where MNIST's convolutions see clean images
  only, the first half of the encoder's are asinh, for noise hardly shifts what comes out of them
  (docs/robustness.md, also for what else long trainings ask for).
- paper: the paper's values to the letter (Tables 2 to 5; Adam 2e-4, β = (0.5, 0.999); K = 5; s = 1;
  100 epochs). What it leaves out about WAE-GAN follows Tolstikhin et al. (2018). It asks for a
  Bernoulli decoder of the VAE, which CelebA's pixels in [−1, 1] do not allow: Gaussian there. The
  prior's η is learned through the weights of `FactorablePolynomial`, which span the same family.
"""

from dataclasses import replace
from typing import Literal

from fisherae.data.config import DataConfig
from fisherae.errors import InputError
from fisherae.recipes.config import (
    ContractiveConfig,
    ContractiveRecipe,
    DenoisingConfig,
    DenoisingRecipe,
    ElboConfig,
    FisherConfig,
    FisherRecipe,
    ModelConfig,
    Recipe,
    RegularizedConfig,
    RegularizedRecipe,
    VaeRecipe,
    WaeGanConfig,
    WaeGanRecipe,
    WaeMmdConfig,
    WaeMmdRecipe,
)
from fisherae.training.config import TrainingConfig

__all__ = ["NAMES", "Preset", "describe", "recipe"]

Preset = Literal["default", "paper"]

DATASETS = {
    "digits": "scikit-learn's 8x8 digits, no download",
    "mnist": "MNIST 28x28, Tables 2 and 3",
    "celeba": "CelebA 64x64, Tables 4 and 5",
}
MODELS = {
    "fisher": "Fisher auto-encoder, polynomial prior",
    "fisher-gaussian": "Fisher auto-encoder, Gaussian prior",
    "fisher-denoising": "Fisher auto-encoder whose encoder sees noise",
    "vae": "variational auto-encoder",
    "wae-gan": "Wasserstein auto-encoder with a GAN penalty",
    "ae": "plain auto-encoder",
    "dae": "denoising auto-encoder",
    "cae": "contractive auto-encoder",
    "rae": "regularised auto-encoder",
    "beta-vae": "β-VAE",
    "gaussian-vae": "VAE with a Gaussian decoder of learned variance",
    "wae-mmd": "Wasserstein auto-encoder with maximum mean discrepancy",
}
NAMES = tuple(f"{data}-{model}" for data in DATASETS for model in MODELS)

DATA = {
    "digits": DataConfig("digits"),
    "mnist": DataConfig("mnist"),
    "celeba": DataConfig("celeba", size=64, channels=3, crop=140),
}
NETWORKS = {
    "digits": ModelConfig("mlp", dim=8),
    "mnist": ModelConfig("mnist", dim=8),
    "celeba": ModelConfig("celeba", dim=64),
}
TRAINING = {
    "digits": TrainingConfig(
        epochs=100, batch_size=64, learning_rate=1e-3, clip=10.0, save_every=20
    ),
    "mnist": TrainingConfig(epochs=100, learning_rate=5e-4, clip=10.0),
    "celeba": TrainingConfig(epochs=100, learning_rate=2e-4, clip=10.0),
}
PAPER_TRAINING = TrainingConfig(epochs=100, learning_rate=2e-4, betas=(0.5, 0.999))
# λ, the learning rates of the auto-encoder and of the adversary: Tolstikhin et al. (2018). Digits
# have a twelfth of MNIST's pixels, hence of its squared error: there λ = 10 would outweigh it.
WAE_GAN = {"digits": (1.0, 1e-3, 5e-4), "mnist": (10.0, 1e-3, 5e-4), "celeba": (1.0, 3e-4, 1e-3)}
# λ and the learning rate.
WAE_MMD = {"digits": (1.0, 1e-3), "mnist": (10.0, 1e-3), "celeba": (100.0, 1e-3)}
# Halved after 30 epochs, then divided by 5 after 50.
WAE_SCHEDULE = ((30, 0.5), (50, 0.1))
BETA = 4.0  # Higgins et al. (2017)
# The most noise of Figures 1 and 5.
FISHER_NOISE = {"digits": 1.0, "mnist": 1.0, "celeba": 2.0}
DAE_NOISE = 0.25  # σ = 0.5, the most of Vincent et al. (2010)


def recipe(name: str, preset: Preset = "default") -> Recipe:
    """The recipe of that name.

    Arguments:
        name: `DATA-MODEL`, one of `NAMES`.
        preset: "default", or "paper".

    Raises:
        InputError: if there is no such recipe or preset.

    Example:
        >>> recipe("mnist-fisher").objective.order, recipe("mnist-fisher", "paper").objective.order
        (4, 5)
    """
    if name not in NAMES:
        raise InputError(f"unknown recipe {name!r}; known: {', '.join(NAMES)}")
    if preset not in ("default", "paper"):
        raise InputError(f"unknown preset {preset!r}; known: default, paper")
    label = name if preset == "default" else f"{name} --preset {preset}"
    data, model = name.split("-", 1)
    training = TRAINING[data] if preset == "default" else PAPER_TRAINING
    parts = (label, DATA[data], _networks(data, model, preset))
    if model.startswith("wae-"):
        return _wae(model, data, parts, training)
    if model.endswith("vae"):
        return VaeRecipe(*parts, training, _elbo(model, data, preset))
    if model.startswith("fisher"):
        return FisherRecipe(*parts, training, _fisher(data, model, preset))
    likelihood = _likelihood(data)
    if model == "cae":
        return ContractiveRecipe(*parts, training, ContractiveConfig(likelihood))
    if model == "rae":
        return RegularizedRecipe(*parts, training, RegularizedConfig())
    return DenoisingRecipe(*parts, training, DenoisingConfig(likelihood, _noise(data, model)))


def describe(name: str) -> str:
    """A recipe in one line.

    Example:
        >>> describe("mnist-vae")
        'variational auto-encoder on MNIST 28x28, Tables 2 and 3'
    """
    data, _, model = name.partition("-")
    if name not in NAMES:
        raise InputError(f"unknown recipe {name!r}; known: {', '.join(NAMES)}")
    return f"{MODELS[model]} on {DATASETS[data]}"


def _noise(data: str, model: str) -> float:
    """The most that the encoder sees in training."""
    if model == "fisher-denoising":
        return FISHER_NOISE[data]
    return DAE_NOISE if model == "dae" else 0.0


def _networks(data: str, model: str, preset: Preset) -> ModelConfig:
    networks = NETWORKS[data]
    if preset == "paper":
        return replace(networks, encoder_normalization="batch", encoder_activation="leaky_relu")
    if data == "mnist" and not _noise(data, model):
        return replace(networks, encoder_activation="asinh-silu")
    return networks


def _fisher(data: str, model: str, preset: Preset) -> FisherConfig:
    noise = _noise(data, model)
    if preset == "paper":
        order = 2 if model == "fisher-gaussian" else 5
        return FisherConfig(
            order=order,
            standardize_prior=False,
            variance=1.0,
            learn_variance=False,
            score_fraction=1.0,
            noise=noise,
        )
    # With CelebA's many pixels a small s² makes the first steps of the posterior term explode.
    variance = 1.0 if data == "celeba" else 0.1
    return FisherConfig(
        order=2 if model == "fisher-gaussian" else 4,
        variance=0.01 if noise and data == "mnist" else variance,
        # A quarter makes a step of some 1.3 VAE steps of one of 2, and costs MNIST's quality less
        # than 1 % of the BCE at any noise (results/score_fraction); of the small networks of the
        # digits, it saves nothing.
        score_fraction=1.0 if data == "digits" else 0.25,
        noise=noise,
    )


def _likelihood(data: str) -> Literal["bernoulli", "gaussian"]:
    """Bernoulli where pixels lie in [0, 1]; CelebA's lie in [−1, 1], so its decoder is Gaussian."""
    return "gaussian" if data == "celeba" else "bernoulli"


def _elbo(model: str, data: str, preset: Preset) -> ElboConfig:
    if model == "gaussian-vae":
        return ElboConfig("gaussian")
    beta = BETA if model == "beta-vae" else 1.0
    if preset == "default" or data != "celeba":
        return ElboConfig(_likelihood(data), beta=beta)
    return ElboConfig("gaussian", variance=1.0, learn_variance=False, beta=beta)


def _wae(
    model: str, data: str, parts: tuple[str, DataConfig, ModelConfig], training: TrainingConfig
) -> WaeGanRecipe | WaeMmdRecipe:
    weight, learning_rate = WAE_GAN[data][:2] if model == "wae-gan" else WAE_MMD[data]
    training = replace(
        training,
        learning_rate=learning_rate,
        betas=PAPER_TRAINING.betas,
        schedule=WAE_SCHEDULE,
    )
    if model == "wae-gan":
        return WaeGanRecipe(*parts, training, WaeGanConfig(weight, WAE_GAN[data][2]))
    return WaeMmdRecipe(*parts, training, WaeMmdConfig(weight))
