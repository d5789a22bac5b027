import copy

import numpy as np
import pytest
import torch
from torch import nn

import fisherae as fae
from fisherae.recipes.normalization import settle_normalization


def small() -> fae.Autoencoder:
    encoder = fae.networks.small.encoder((1, 8, 8), 2, normalization="batch")
    return fae.Autoencoder(encoder, fae.networks.small.decoder((1, 8, 8), 2), fae.StandardNormal(2))


def first_of(model: fae.Autoencoder) -> tuple[nn.Module, nn.BatchNorm2d]:
    """The first batch normalisation, and what comes before it."""
    layers = list(model.encoder)
    place = next(i for i, layer in enumerate(layers) if isinstance(layer, nn.BatchNorm2d))
    return nn.Sequential(*layers[:place]), layers[place]


def test_statistics_are_means_over_batches() -> None:
    model, images = small(), torch.randint(256, (40, 1, 8, 8), dtype=torch.uint8)
    settle_normalization(fae.ElboObjective(model), images, batch_size=16, value_range=(0.0, 1.0))
    before, norm = first_of(model)
    with torch.no_grad():
        batches = [before(part.float() / 255).double().numpy() for part in images[:32].split(16)]
    axes = (0, 2, 3)
    mean = np.mean([batch.mean(axes) for batch in batches], axis=0)
    variance = np.mean([batch.var(axes, ddof=1) for batch in batches], axis=0)
    np.testing.assert_allclose(norm.running_mean, mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(norm.running_var, variance, rtol=1e-4)


def test_nothing_else_changes() -> None:
    model = small().eval()
    before = copy.deepcopy(model)
    settle_normalization(
        fae.ElboObjective(model), torch.rand(32, 1, 8, 8), batch_size=8, value_range=(0.0, 1.0)
    )
    assert not model.training
    momenta = [layer.momentum for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert set(momenta) == {0.1}
    for name, parameter in before.named_parameters():
        assert torch.equal(parameter, model.get_parameter(name))


def test_a_model_that_is_shifted_is_cured() -> None:
    """Latents that moved since the averages were taken, as WAE-GAN's do."""
    networks = fae.networks.mnist
    model = fae.Autoencoder(networks.encoder(2), networks.decoder(2), fae.StandardNormal(2))
    images = torch.rand(64, 1, 28, 28)
    settle_normalization(fae.ElboObjective(model), images, 32, (0.0, 1.0))
    with torch.no_grad():
        heads = model.encoder[-2].bias
        heads[:2] += 5.0
        heads[2:] -= 20.0  # so that a sample is the mean

        def error() -> float:
            return (model.eval().reconstruct(images) - trained).square().mean().item()

        trained = copy.deepcopy(model).train().reconstruct(images)
        lagging = error()
        settle_normalization(fae.ElboObjective(model), images, 32, (0.0, 1.0))
        assert error() < lagging / 10


@pytest.mark.parametrize("denoising", ["fisher", "dae"])
def test_statistics_are_of_the_noisy_images_that_a_denoising_encoder_sees(denoising: str) -> None:
    """Black images under noise of variance v: the first layer's outputs have variance v ‖w‖²."""
    posterior, outputs = ("gaussian", 2) if denoising == "fisher" else ("delta", 1)
    encoder = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, outputs)
    )
    decoder = fae.networks.mlp.decoder((1, 8, 8), 1)
    model = fae.Autoencoder(encoder, decoder, fae.StandardNormal(1), posterior=posterior)
    objective = (
        fae.FisherObjective(model, noise=9.0)
        if denoising == "fisher"
        else fae.DenoisingObjective(model, noise=9.0, graded=True)
    )
    settle_normalization(objective, torch.zeros(4096, 1, 8, 8), 512, (0.0, 1.0))
    expected = 9.0 / 9 * encoder[1].weight.square().sum(1)  # v = 9 u⁸, E u⁸ = 1/9
    torch.testing.assert_close(encoder[2].running_var, expected, rtol=0.15, atol=0)
