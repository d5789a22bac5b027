"""`refined`: the posterior's mode, against scipy's minimiser and conditions of a minimum."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

import fisherae as fae
from fisherae.networks import mlp
from fisherae.priors import Prior

SHAPE, DIM = (1, 6, 6), 3
PRIORS: dict[str, Callable[[], Prior]] = {
    "normal": lambda: fae.StandardNormal(DIM),
    "polynomial": lambda: fae.FactorablePolynomial(DIM, order=4),
    "pairwise": lambda: fae.PairwisePolynomial(DIM, order=4),
    "mixture": lambda: fae.GaussianMixture(DIM, components=3),
    "energy": lambda: fae.EnergyPrior(DIM),
}


def model_of(prior: Prior, likelihood: str = "gaussian", std: float = 0.5) -> fae.Autoencoder:
    """In float64, with a decoder that bends, the more the larger its weights."""
    torch.manual_seed(0)
    encoder, decoder = mlp.encoder(SHAPE, dim=DIM), mlp.decoder(SHAPE, dim=DIM)
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, std=std)
    return fae.Autoencoder(encoder, decoder, prior, likelihood).double().eval()


def energy(model: fae.Autoencoder, x: Tensor, z: Tensor) -> Tensor:
    """E(z) as `refined` defines it, written once more."""
    variance = (x - model.decode(z).mean).square().flatten(1).mean(1)
    return math.prod(SHAPE) / 2 * variance.log() - model.prior.log_density(z)


def noisy_images(model: fae.Autoencoder, n: int, std: float = 0.1) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(n, DIM, generator=generator, dtype=torch.float64)
    image = model.decode(z).mean.detach()
    return image + std * torch.randn(image.shape, generator=generator, dtype=torch.float64)


def test_linear_gaussian_against_scipy() -> None:
    """A linear decoder under N(0, I): E has few minima, and scipy, from z = 0, finds the same."""
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(DIM, math.prod(SHAPE)), nn.Unflatten(1, SHAPE))
    encoder = mlp.encoder(SHAPE, dim=DIM)
    model = fae.Autoencoder(encoder, decoder, fae.StandardNormal(DIM)).double().eval()
    x = noisy_images(model, 5, std=0.3)
    found = fae.refined(model, steps=30).encode(x).mean
    weight, bias = (p.detach().numpy() for p in decoder.parameters())

    for image, z in zip(x.flatten(1).numpy(), found.numpy(), strict=True):

        def e(z: np.ndarray, image: np.ndarray = image) -> float:
            mean_square = np.mean(np.square(image - weight @ z - bias))
            return float(len(image) / 2 * np.log(mean_square) + z @ z / 2)

        least = minimize(e, np.zeros(DIM), tol=1e-12)
        np.testing.assert_allclose(z, least.x, atol=1e-5)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
@pytest.mark.parametrize("prior", PRIORS)
def test_ends_in_a_minimum(prior: str, likelihood: str) -> None:
    """The gradient of E is zero and its Hessian has no negative eigenvalue, by autograd."""
    torch.manual_seed(3)
    model = model_of(PRIORS[prior](), likelihood)
    if prior in ("polynomial", "pairwise", "mixture"):
        model.prior.fit(torch.randn(500, DIM, dtype=torch.float64))
    x = noisy_images(model, 6)
    z = fae.refined(model, steps=300).encode(x).mean
    start = model.encode(x).mean
    assert (energy(model, x, z) < energy(model, x, start)).all()
    for image, mode in zip(x, z, strict=True):

        def e(z: Tensor, image: Tensor = image) -> Tensor:
            return energy(model, image[None], z[None]).sum()

        mode = mode.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(e(mode), mode, create_graph=True)
        rows = [torch.autograd.grad(part, mode, retain_graph=True)[0] for part in gradient]
        assert gradient.abs().max() < 1e-4
        assert torch.linalg.eigvalsh(torch.stack(rows)).min() > -1e-6


def test_finds_the_latent_that_the_encoder_misses() -> None:
    """Images of known latents under little noise: an untrained encoder is far from them."""
    model = model_of(fae.StandardNormal(DIM), std=0.3)
    torch.manual_seed(0)
    z = torch.randn(50, DIM, dtype=torch.float64)
    x = model.decode(z).mean + 1e-4 * torch.randn(50, *SHAPE, dtype=torch.float64)
    missed = (model.encode(x).mean - z).norm(dim=1)
    left = (fae.refined(model, steps=60).encode(x).mean - z).norm(dim=1)
    assert missed.min() > 0.1
    assert left.max() < 1e-3


def test_more_steps_are_never_worse() -> None:
    model = model_of(fae.StandardNormal(DIM))
    x = noisy_images(model, 20)
    before = energy(model, x, model.encode(x).mean)
    for steps in range(1, 8):
        after = energy(model, x, fae.refined(model, steps).encode(x).mean)
        assert (after <= before).all()
        before = after
    assert fae.refined(model).encode(x).mean.shape == (20, DIM)


def test_an_image_does_not_depend_on_its_batch() -> None:
    model = model_of(fae.StandardNormal(DIM))
    x = noisy_images(model, 350)  # more than are searched at once
    search = fae.refined(model, steps=6)
    alone = torch.cat([search.encode(x[i : i + 1]).mean for i in (0, 340, 349)])
    torch.testing.assert_close(search.encode(x).mean[[0, 340, 349]], alone)


def test_what_is_met_exactly_or_not_at_all_stays_finite() -> None:
    """An image of the decoder's own has v = 0; one that is not finite finds no lower E."""
    model = model_of(fae.StandardNormal(DIM))
    z = model.encode(noisy_images(model, 4)).mean.detach()
    image = model.decode(z).mean.detach()
    assert fae.refined(model).encode(image).mean.isfinite().all()
    image[0] = math.nan
    torch.testing.assert_close(
        fae.refined(model).encode(image[:1]).mean, model.encode(image[:1]).mean, equal_nan=True
    )


def test_a_latent_without_effect_follows_the_prior() -> None:
    """The decoder ignores the last latent, whose mode is then the prior's, at zero."""
    model = model_of(fae.StandardNormal(DIM), std=0.3)
    first = next(p for p in model.decoder.parameters() if p.dim() == 2)
    with torch.no_grad():
        first[:, -1] = 0
    x = noisy_images(model, 5)
    assert model.encode(x).mean[:, -1].abs().max() > 0.01
    assert fae.refined(model, steps=30).encode(x).mean[:, -1].abs().max() < 1e-4


@pytest.mark.parametrize("effect", [0.0, 1e-4, 1e-2])
def test_a_prior_of_two_modes_on_a_latent_of_little_effect_stops_nothing(effect: float) -> None:
    """Between its modes the prior bends the wrong way, where the decoder hardly bends at all."""
    prior = fae.FactorablePolynomial(DIM, order=4).double()
    torch.manual_seed(0)
    modes = torch.randn(2000, DIM, dtype=torch.float64)
    modes[:, -1] = 0.2 * modes[:, -1] + torch.randint(0, 2, (2000,)) * 2 - 1
    prior.fit(modes)
    model = model_of(prior, std=0.3)
    first = next(p for p in model.decoder.parameters() if p.dim() == 2)
    with torch.no_grad():
        first[:, -1] *= effect
    x = noisy_images(model, 50)
    start, soon, at_last = (
        energy(model, x, z)
        for z in (
            model.encode(x).mean,
            fae.refined(model).encode(x).mean,
            fae.refined(model, steps=300).encode(x).mean,
        )
    )
    assert (start - at_last).median() > 10
    assert (soon - at_last).median() < 0.1


def test_starts_outside_the_support_come_inside() -> None:
    """And end where the reconstruction is no worse than at the nearest latent inside."""
    prior = fae.FactorablePolynomial(DIM, order=2, support=(-0.02, 0.02))
    model = model_of(prior, std=0.3)
    x = noisy_images(model, 40)
    start = model.encode(x).mean
    assert (start.abs() > 0.02).any(dim=1).float().mean() > 0.5
    z = fae.refined(model).encode(x).mean
    assert (z.abs() <= 0.02).all()
    assert (energy(model, x, z) <= energy(model, x, start.clamp(-0.02, 0.02))).all()


class Flat(Prior):
    """Constant on its support: no score depends on z."""

    def log_density(self, z: Tensor) -> Tensor:
        return torch.where(self._outside(z).any(-1), -math.inf, 0.0).to(z)


def test_a_constant_density_is_a_prior() -> None:
    model = model_of(Flat(DIM, support=(-5.0, 5.0)), std=0.3)
    x = noisy_images(model, 5)
    z = fae.refined(model).encode(x).mean
    assert (energy(model, x, z) < energy(model, x, model.encode(x).mean)).all()


def test_a_model_in_training_mode_searches_in_eval_mode() -> None:
    """Batch normalisation and dropout would not be differentiated; both are as before after."""
    encoder, decoder = fae.networks.mnist.encoder(2), fae.networks.mnist.decoder(2)
    model = fae.Autoencoder(
        encoder, nn.Sequential(decoder, nn.Dropout()), fae.StandardNormal(2), "bernoulli"
    )
    x = torch.rand(3, 1, 28, 28)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = fae.refined(model, steps=2).encode(x).mean
    assert all(part.training for part in model.modules())
    assert all(torch.equal(before[name], part) for name, part in model.state_dict().items())
    torch.testing.assert_close(found, fae.refined(model.eval(), steps=2).encode(x).mean)


def test_shares_the_networks_and_passes_no_gradient() -> None:
    model = model_of(fae.StandardNormal(DIM))
    search = fae.refined(model)
    assert search.decoder is model.decoder
    assert search.prior is model.prior
    assert not search.training
    x = noisy_images(model, 2)
    assert not search.encode(x.requires_grad_()).mean.requires_grad
    with torch.inference_mode():
        torch.testing.assert_close(search.encode(x).mean.clone(), fae.refined(model).encode(x).mean)


def test_another_prior_is_searched_with() -> None:
    model = model_of(fae.StandardNormal(DIM))
    x, search = noisy_images(model, 4), fae.refined(model)
    before = search.encode(x).mean
    search.prior = fae.GaussianMixture(DIM).double().fit(0.1 * torch.randn(100, DIM).double())
    assert not torch.allclose(search.encode(x).mean, before)


def test_saved_it_is_the_model(tmp_path: Path) -> None:
    model = model_of(fae.StandardNormal(DIM))
    x = noisy_images(model, 4)
    fae.refined(model).save(tmp_path)
    again = fae.load(tmp_path)
    torch.testing.assert_close(again.encode(x).mean, model.encode(x).mean)
    torch.testing.assert_close(fae.refined(again).encode(x).mean, fae.refined(model).encode(x).mean)


def test_steps_are_counted() -> None:
    model = model_of(fae.StandardNormal(DIM))
    for steps in (0, -1, 2.5, True):
        with pytest.raises(fae.InputError, match="steps is"):
            fae.refined(model, steps)  # type: ignore[arg-type]
