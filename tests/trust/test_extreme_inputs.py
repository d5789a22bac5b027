"""Images, batches and precisions at the ends of what may be given: numbers that are right, or one
clear error, never a traceback of torch."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import fisherae as fae
from fisherae.cli import main
from fisherae.data.corruptions import GaussianNoise
from fisherae.evaluation.clustering import kmeans_nmi
from fisherae.evaluation.probe import LinearProbe
from fisherae.evaluation.robustness import posterior_means, robustness
from fisherae.networks import mlp
from fisherae.recipes import named
from fisherae.recipes.build import build_objective, build_optimizer
from fisherae.recipes.config import Recipe, from_dict, to_dict
from fisherae.recipes.watch import active_latents

SHAPE = (1, 8, 8)
FAMILIES = ["fisher", "fisher-gaussian", "vae", "wae-gan", "dae", "cae", "rae"]
GAUSSIAN = ["fisher", "fisher-gaussian", "wae-gan", "wae-mmd", "rae"]
# Fully connected and smooth, or convolutions with batch normalisation.
NETWORKS = [("mlp", "default"), ("small", "paper")]
SAME = {
    "black": torch.zeros(12, *SHAPE),
    "white": torch.ones(12, *SHAPE),
    "grey": torch.full((12, *SHAPE), 0.5),
    "one repeated": torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(5)).repeat(
        12, 1, 1, 1
    ),
    "a single one": torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(6)),
}


def recipe(family: str, network: str = "mlp", preset: Any = "default", **fields: Any) -> Recipe:
    config = to_dict(named.recipe(f"digits-{family}", preset))
    config["model"]["network"] = network
    config["objective"] |= fields
    return from_dict(config)


def train(objective: nn.Module, chosen: Recipe, x: Tensor, steps: int = 3) -> None:
    """All terms and weights stay finite, and of the precision of the images."""
    optimizer = build_optimizer(objective, chosen)
    for _ in range(steps):
        optimizer.zero_grad()
        terms = objective(x)
        terms.total.backward()
        optimizer.step()
        for term in terms.by_name().values():
            assert term.isfinite()
            assert term.dtype == x.dtype
    assert all(parameter.isfinite().all() for parameter in objective.parameters())


@torch.no_grad()
def confined(model: fae.Autoencoder, x: Tensor) -> fae.Autoencoder:
    """What `train_recipe` does at its end, lest a prior be improper."""
    if isinstance(model.prior, fae.FactorablePolynomial):
        model.prior.confine(model.eval().encode(x[:1].expand(200, *SHAPE)).rsample())
    return model


@pytest.mark.parametrize("images", SAME)
@pytest.mark.parametrize(("network", "preset"), NETWORKS)
@pytest.mark.parametrize("family", FAMILIES)
def test_images_that_do_not_differ(family: str, network: str, preset: str, images: str) -> None:
    chosen, x = recipe(family, network, preset), SAME[images]
    objective = build_objective(chosen, SHAPE)
    train(objective, chosen, x)
    model = objective.model
    assert not active_latents(model, x).any(), "there is nothing to tell"
    labels = torch.arange(len(x)) % 3
    clean, noisy = robustness(model, x, [GaussianNoise(0.0), GaussianNoise(0.5)], labels)
    with torch.no_grad():
        mean = model.eval().reconstruct(x[:1]).double().flatten()
    pixels = x[0].double().flatten()
    entropy = -(pixels * mean.log() + (1 - pixels) * (1 - mean).log()).mean().item()
    assert clean.mse == pytest.approx((mean - pixels).square().mean().item(), rel=1e-4)
    assert clean.bce == pytest.approx(entropy, rel=1e-4)
    assert clean.mse_std == pytest.approx(0, abs=1e-6)
    assert clean.nmi == (1 if len(x) == 1 else 0), "one image is one class and one cluster"
    assert torch.isfinite(torch.tensor([noisy.mse, noisy.bce, noisy.nmi])).all()
    assert confined(model, x).sample(4).isfinite().all()


def test_latents_that_do_not_differ() -> None:
    """The best guess of a probe is then the most frequent class."""
    z, labels = torch.full((20, 3), 0.7), torch.tensor([0] * 11 + [1] * 9)
    assert kmeans_nmi(z, labels) == 0
    assert LinearProbe(z, labels).accuracy(z, labels) == 11 / 20


@pytest.mark.parametrize("family", FAMILIES)
def test_batch_of_one(family: str) -> None:
    """Enough, but for batch normalisation, and this in training only."""
    x = torch.rand(1, *SHAPE)
    plain = recipe(family)
    train(build_objective(plain, SHAPE), plain, x)
    normalised = recipe(family, preset="paper")
    objective = build_objective(normalised, SHAPE)
    with pytest.raises(fae.InputError, match="batch normalisation cannot train on a single image"):
        objective(x)
    assert objective.eval()(x).total.isfinite()


def test_a_part_of_a_batch_may_be_a_single_image() -> None:
    objective = build_objective(recipe("fisher", preset="paper", score_fraction=0.25), SHAPE)
    with pytest.raises(fae.InputError, match="a score_fraction may leave one"):
        objective(torch.rand(4, *SHAPE))
    assert objective(torch.rand(8, *SHAPE)).total.isfinite()


@pytest.mark.parametrize("family", GAUSSIAN)
def test_gaussian_decoders_take_pixels_of_any_value(family: str) -> None:
    """Noise is not cut to the range of the pixels."""
    chosen = recipe(family)
    x = torch.rand(16, *SHAPE) + 3 * torch.randn(16, *SHAPE)
    train(build_objective(chosen, SHAPE), chosen, x)
    gaussian_vae = recipe("vae", likelihood="gaussian")
    train(build_objective(gaussian_vae, SHAPE), gaussian_vae, x)


@pytest.mark.parametrize("pixel", [-0.01, 1.01, 255.0, float("nan")])
def test_a_bernoulli_decoder_refuses_them(pixel: float) -> None:
    objective = build_objective(recipe("vae"), SHAPE)
    x = torch.rand(4, *SHAPE)
    x[2, 0, 3, 3] = pixel
    with pytest.raises(fae.InputError, match=rf"pixels in \[0, 1\], got {pixel:g}: scale the"):
        objective(x)


@pytest.mark.gpu
def test_a_bernoulli_decoder_on_a_gpu_has_no_probability_for_them() -> None:
    objective = build_objective(recipe("vae"), SHAPE).cuda()
    x = torch.rand(4, *SHAPE, device="cuda")
    x[2, 0, 3, 3] = 1.5
    terms = objective(x, reduce=False)
    assert terms.reconstruction.isinf().tolist() == [False, False, True, False]


def test_evaluation_refuses_pixels_outside_the_range() -> None:
    model = build_objective(recipe("fisher"), SHAPE).model
    with pytest.raises(fae.InputError, match=r"pixels lie in \[0, 255\], outside value_range"):
        robustness(model, torch.tensor([0.0, 255.0]).repeat(2, 1, 8, 4), [GaussianNoise(0.0)])


@pytest.mark.parametrize("family", FAMILIES)
def test_double_precision_works_throughout(family: str) -> None:
    chosen, x = recipe(family), torch.rand(8, *SHAPE, dtype=torch.float64)
    objective = build_objective(chosen, SHAPE).double()
    train(objective, chosen, x)
    assert confined(objective.model, x).sample(3).dtype == torch.float64
    assert posterior_means(objective.model, x).dtype == torch.float64
    assert robustness(objective.model, x, [GaussianNoise(0.1)])[0].mse > 0


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("own", [torch.float32, torch.float64])
def test_images_of_another_precision_are_refused(family: str, own: torch.dtype) -> None:
    """No silent loss of digits, and no terms of a precision that nobody asked for."""
    objective = build_objective(recipe(family), SHAPE).to(own)
    other = {torch.float32: torch.float64, torch.float64: torch.float32}[own]
    for dtype in (other, torch.float16):
        x = torch.rand(4, *SHAPE).to(dtype)
        for use in (objective, objective.model.reconstruct):
            with pytest.raises(fae.InputError, match=rf"computes in {own}, got {dtype}: convert"):
                use(x)
    with pytest.raises(fae.InputError, match="computes in"):
        robustness(objective.model, torch.rand(4, *SHAPE, dtype=other), [GaussianNoise(0.0)])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_in_half_precision_is_refused(family: str, dtype: torch.dtype) -> None:
    objective = build_objective(recipe(family), SHAPE).to(dtype)
    for images in (dtype, torch.float32):
        with pytest.raises(fae.InputError, match=f"the model is in {dtype}.*torch.autocast"):
            objective(torch.rand(4, *SHAPE).to(images))


@pytest.mark.parametrize("method", ["exact", "svgd", "svgd-per-dim", "ula", "mala"])
def test_a_prior_confined_to_one_latent_is_refused(method: str) -> None:
    prior = fae.FactorablePolynomial(2, 3)
    prior.set_eta(torch.tensor([[0.0, -0.5, 0.1], [0.0, -0.5, 0.0]]))
    prior.confine(torch.full((4, 2), 0.3))
    with pytest.raises(fae.InputError, match=r"single point in dimensions \[0, 1\]: confine or"):
        fae.sample(prior, 5, method)


def test_an_exact_sampler_that_fails_gives_no_advice_on_steps() -> None:
    prior = fae.FactorablePolynomial(1, 2)
    prior.location.fill_(torch.nan)
    with pytest.raises(fae.NonFiniteError, match=r"'exact' diverged, .* finite: give the prior a"):
        fae.sample(prior, 5, "exact")


@pytest.mark.parametrize("family", FAMILIES)
def test_one_training_image_from_the_command_line(
    family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A whole run; what cannot be fitted to a single latent says so."""
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        Image.new("L", (8, 8), 255).save(tmp_path / split / "0.png")
    run = tmp_path / "run"
    data = ["--data", str(tmp_path), "--size", "8", "--channels", "1"]
    words = ["train", f"digits-{family}", *data, "--epochs", "3", "--device", "cpu"]
    assert main([*words, "--out", str(run)]) == 0
    assert main(["evaluate", str(run), "--levels", "0", "0.5"]) == 0
    assert main(["sample", str(run), "--n", "4"]) == 2
    error = capsys.readouterr().err
    assert "fisherae: prior: 1 samples cannot determine" in error
    assert "Traceback" not in error


def test_one_training_image_and_batch_normalisation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "digits-fisher", "--preset", "paper", "--limit", "1", "--epochs", "1"]
    assert main([*words, "--device", "cpu", "--out", str(tmp_path / "run")]) == 2
    assert "cannot train on a single image" in capsys.readouterr().err


def test_discriminator_of_another_precision_is_refused() -> None:
    model = build_objective(recipe("wae-gan"), SHAPE).model.double()
    objective = fae.WaeGanObjective(model, mlp.discriminator(8))
    with pytest.raises(fae.InputError, match=r"computes in torch.float32, got torch.float64"):
        objective(torch.rand(4, *SHAPE, dtype=torch.float64))
