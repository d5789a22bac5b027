import numpy as np
import pytest
import torch
from torch import nn

from fisherae.autoencoder import Autoencoder
from fisherae.data.corruptions import GaussianNoise, Mask
from fisherae.errors import InputError
from fisherae.evaluation.robustness import corrupt, posterior_means, robustness
from fisherae.networks import mlp
from fisherae.priors import StandardNormal

SHAPE = (1, 6, 6)
PIXELS = 36


class WithUnitVariance(nn.Module):
    """The image itself as the posterior mean."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.flatten(1)
        return torch.cat([mean, torch.zeros_like(mean)], dim=1)


def identity(normalise: bool = False) -> Autoencoder:
    encoder = (
        nn.Sequential(nn.BatchNorm2d(1), WithUnitVariance()) if normalise else WithUnitVariance()
    )
    return Autoencoder(encoder, nn.Unflatten(1, SHAPE), StandardNormal(PIXELS))


@pytest.fixture
def model() -> Autoencoder:
    return Autoencoder(
        mlp.encoder(SHAPE, 2, hidden=(8,)), mlp.decoder(SHAPE, 2, hidden=(8,)), StandardNormal(2)
    )


@pytest.mark.parametrize("variance", [0.0, 0.1, 1.0])
def test_an_identity_model_errs_by_the_noise_variance(variance: float) -> None:
    images = torch.rand(2000, *SHAPE)
    (point,) = robustness(identity(), images, [GaussianNoise(variance)])
    # The mean of n squared normals of variance v has standard deviation v √(2 / n).
    assert point.mse == pytest.approx(variance, abs=5 * variance * np.sqrt(2 / (2000 * PIXELS)))
    assert point.mse_std == pytest.approx(variance * np.sqrt(2 / PIXELS), rel=0.1)
    assert (point.level, point.images) == (variance, 2000)


def test_an_identity_model_errs_by_what_the_mask_hides() -> None:
    images = torch.ones(500, *SHAPE)
    (point,) = robustness(identity(), images, [Mask(0.75)])
    assert point.mse == pytest.approx(0.75)
    assert point.bce == pytest.approx(-0.75 * np.log(1e-6), rel=1e-4)


def test_errors_are_those_of_numpy(model: Autoencoder) -> None:
    images = torch.rand(50, *SHAPE)
    (point,) = robustness(model, images, [GaussianNoise(0.3)], seed=5, batch_size=7)
    with torch.no_grad():
        decoded = model.reconstruct(corrupt(images, GaussianNoise(0.3), seed=5)).double().numpy()
    clean = images.double().numpy()
    bce = -(clean * np.log(decoded) + (1 - clean) * np.log(1 - decoded)).reshape(50, -1).mean(1)
    mse = ((clean - decoded) ** 2).reshape(50, -1).mean(1)
    assert point.bce == pytest.approx(bce.mean(), rel=1e-5)
    assert point.mse == pytest.approx(mse.mean(), rel=1e-5)
    assert point.bce_std == pytest.approx(bce.std(), rel=1e-4)
    assert point.mse_std == pytest.approx(mse.std(), rel=1e-4)


def test_bce_is_for_pixels_between_0_and_1_only(model: Autoencoder) -> None:
    images = torch.rand(4, *SHAPE) * 2 - 1
    (point,) = robustness(model, images, [GaussianNoise(0.1)], value_range=(-1.0, 1.0))
    assert point.bce is None
    assert point.bce_std is None
    assert point.mse > 0


def test_every_model_sees_the_same_noise_at_any_batch_size() -> None:
    images, levels = torch.rand(40, *SHAPE), [GaussianNoise(0.1), GaussianNoise(0.1)]
    first, second = robustness(identity(), images, levels, batch_size=40)
    assert robustness(identity(), images, levels, batch_size=3)[0].mse == pytest.approx(first.mse)
    assert second.mse != first.mse, "each level has noise of its own"
    assert robustness(identity(), images, levels, seed=1)[0].mse != first.mse


def test_nmi_falls_with_the_noise_when_the_classes_are_in_the_pixels() -> None:
    labels = torch.arange(120) % 3
    patterns = torch.rand(3, *SHAPE).round()
    levels = [GaussianNoise(0.0), GaussianNoise(20.0)]
    clean, noisy = robustness(identity(), patterns[labels] * 0.9, levels, labels=labels)
    assert clean.nmi == pytest.approx(1.0)
    assert noisy.nmi is not None
    assert noisy.nmi < 0.5


def test_without_labels_there_is_no_nmi(model: Autoencoder) -> None:
    assert robustness(model, torch.rand(4, *SHAPE), [Mask(0.5)])[0].nmi is None


@pytest.mark.parametrize("training", [True, False])
def test_networks_run_in_eval_mode_and_get_their_mode_back(training: bool) -> None:
    model = identity(normalise=True).train(training)
    images = torch.rand(30, *SHAPE)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    (point,) = robustness(model, images, [GaussianNoise(0.0)])
    # A new BatchNorm is the identity in eval mode; in training mode it would normalise the images.
    assert point.mse == pytest.approx(0.0, abs=1e-8)
    assert all(part.training is training for part in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_mode_comes_back_after_an_error(model: Autoencoder) -> None:
    model.train()
    with pytest.raises(InputError):
        robustness(model, torch.rand(4, 1, 5, 5), [GaussianNoise(0.1)])
    assert model.training


def test_posterior_means_are_those_of_encode_and_carry_no_graph(model: Autoencoder) -> None:
    images = torch.rand(11, *SHAPE)
    means = posterior_means(model, images, batch_size=4)
    assert not means.requires_grad
    torch.testing.assert_close(means, model.eval().encode(images).mean.detach())


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.rand(0, *SHAPE), None, "no images"),
        (torch.rand(4, *SHAPE), torch.zeros(3, dtype=torch.long), "3 labels for 4 images"),
        (torch.rand(4, *SHAPE) - 2, None, "outside value_range"),
        (torch.full((4, *SHAPE), torch.nan), None, "outside value_range"),
    ],
)
def test_bad_input_is_named(
    model: Autoencoder, images: torch.Tensor, labels: torch.Tensor | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        robustness(model, images, [GaussianNoise(0.1)], labels=labels)


def test_a_diverged_model_is_named(model: Autoencoder) -> None:
    with torch.no_grad():
        next(model.decoder.parameters()).fill_(torch.nan)
    with pytest.raises(InputError, match="diverged"):
        robustness(model, torch.rand(4, *SHAPE), [GaussianNoise(0.1)])
