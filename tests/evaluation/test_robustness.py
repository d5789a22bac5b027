import numpy as np
import pytest
import torch
from torch import nn

from fisherae.autoencoder import Autoencoder
from fisherae.data.corruptions import GaussianNoise, Mask
from fisherae.errors import InputError
from fisherae.evaluation.clustering import kmeans_nmi, tsne
from fisherae.evaluation.probe import LinearProbe
from fisherae.evaluation.robustness import (
    RobustnessPoint,
    corrupt,
    latents_under,
    over_runs,
    posterior_means,
    robustness,
)
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


def test_the_shift_is_the_way_of_the_latents_over_their_spread() -> None:
    images = torch.rand(300, *SHAPE)
    clean, noisy = robustness(identity(), images, [GaussianNoise(0.0), GaussianNoise(0.3)])
    moved = (corrupt(images, GaussianNoise(0.3), index=1) - images).square().sum() / 300
    spread = images.flatten(1).var(0, correction=0).sum()
    assert clean.shift == 0
    assert noisy.shift == pytest.approx((moved / spread).sqrt().item(), rel=1e-5)


def test_equal_latents_have_no_shift() -> None:
    image = torch.rand(1, *SHAPE).expand(5, *SHAPE)
    assert robustness(identity(), image, [Mask(0.5)])[0].shift is None


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


def test_the_probe_is_asked_about_the_latents_of_the_corrupted_images() -> None:
    labels = torch.arange(200) % 2
    images = labels.view(-1, 1, 1, 1).expand(-1, *SHAPE).float()
    probe = LinearProbe(images.flatten(1) + 0.01 * torch.randn(200, PIXELS), labels)
    levels = [GaussianNoise(variance) for variance in (0.0, 9.0)]
    clean, noisy = robustness(identity(), images, levels, labels, probe=probe)
    assert clean.probe == 1.0
    # The classes are √36 = 6 apart: cut in the middle at σ = 3, the accuracy is Φ(3 / 3).
    assert noisy.probe == pytest.approx(0.841, abs=0.08)


def test_maps_are_of_the_latents_that_are_measured(model: Autoencoder) -> None:
    images, labels = torch.rand(40, *SHAPE), torch.arange(40) % 3
    levels = [GaussianNoise(0.1), GaussianNoise(0.5)]
    latents = latents_under(model, images, levels, seed=2, batch_size=7)
    assert len(latents) == 2
    whole, half = tsne(latents[0]), tsne(latents[1][:20])
    points = robustness(model, images, levels, labels, seed=2, maps=[whole, half])
    assert [point.nmi for point in points] == [kmeans_nmi(z, labels, seed=2) for z in latents]
    assert points[0].nmi_tsne == kmeans_nmi(whole, labels, seed=2)
    assert points[1].nmi_tsne == kmeans_nmi(half, labels[:20], seed=2)


def test_latents_under_noise_do_not_depend_on_the_batch_size(model: Autoencoder) -> None:
    images, levels = torch.rand(20, *SHAPE), [GaussianNoise(0.1), GaussianNoise(0.1)]
    whole, parts = (latents_under(model, images, levels, batch_size=size) for size in (20, 3))
    torch.testing.assert_close(whole, parts)
    assert not torch.allclose(whole[0], whole[1]), "each level has noise of its own"


def test_without_a_probe_or_maps_there_is_neither(model: Autoencoder) -> None:
    (point,) = robustness(model, torch.rand(6, *SHAPE), [Mask(0.5)], torch.arange(6) % 2)
    assert point.nmi is not None
    assert point.probe is None
    assert point.nmi_tsne is None


def run(levels: tuple[float, ...], *errors: float) -> list[RobustnessPoint]:
    return [
        RobustnessPoint(level, None, error, None, 10, None, 0.1)
        for level, error in zip(levels, errors, strict=True)
    ]


def test_over_runs_gives_mean_and_unbiased_deviation_by_ascending_level() -> None:
    errors = np.random.default_rng(0).random((3, 2))
    runs = [run((0.5, 0.0), *errors[0]), run((0.0, 0.5), *errors[1, ::-1])]
    runs.append(run((0.5, 0.0), *errors[2]))
    summary = np.array(over_runs(runs, "mse"), dtype=float)
    np.testing.assert_allclose(summary[:, 0], [0.0, 0.5])
    np.testing.assert_allclose(summary[:, 1], errors.mean(0)[::-1])
    np.testing.assert_allclose(summary[:, 2], np.sqrt(np.cov(errors.T).diagonal())[::-1])


def test_a_single_run_has_no_deviation_and_a_gap_stays_a_gap() -> None:
    assert over_runs([run((0.0,), 0.2)], "mse") == [(0.0, 0.2, None)]
    assert over_runs([run((0.0,), 0.2)] * 2, "bce") == [(0.0, None, None)]


@pytest.mark.parametrize("runs", [[], [run((0.0,), 0.2), run((0.1,), 0.2)]])
def test_runs_that_cannot_be_averaged_are_named(runs: list[list[RobustnessPoint]]) -> None:
    with pytest.raises(InputError, match="at the same levels"):
        over_runs(runs, "mse")


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


def test_a_probe_or_maps_without_labels_and_a_missing_map_are_named(model: Autoencoder) -> None:
    images, levels, labels = torch.rand(4, *SHAPE), [Mask(0.5)], torch.arange(4) % 2
    probe = LinearProbe(posterior_means(model, images), labels)
    with pytest.raises(InputError, match="need the labels"):
        robustness(model, images, levels, probe=probe)
    with pytest.raises(InputError, match="need the labels"):
        robustness(model, images, levels, maps=[torch.rand(4, 2)])
    with pytest.raises(InputError, match="0 maps for 1 levels"):
        robustness(model, images, levels, labels, maps=[])


def test_a_diverged_model_is_named(model: Autoencoder) -> None:
    with torch.no_grad():
        next(model.decoder.parameters()).fill_(torch.nan)
    with pytest.raises(InputError, match="diverged"):
        robustness(model, torch.rand(4, *SHAPE), [GaussianNoise(0.1)])
