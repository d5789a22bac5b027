"""What every objective keeps to."""

import pytest
import torch
from torch import nn

import fisherae as fae
from fisherae.networks import mlp

SHAPE, d = (1, 4, 4), 3


def autoencoder(prior: nn.Module, likelihood: object, posterior: str = "gaussian"):
    outputs = {"delta": 1, "gaussian": 2, "polynomial": 4}[posterior]
    encoder = mlp.encoder(SHAPE, d, outputs_per_dim=outputs, hidden=(8,))
    return fae.Autoencoder(
        encoder, mlp.decoder(SHAPE, d, hidden=(8,)), prior, likelihood, posterior
    )


def fisher(
    posterior: str = "gaussian", shape: tuple[int, ...] = (), **options: object
) -> nn.Module:
    prior = fae.FactorablePolynomial(d, 4)
    prior.weight.data.normal_()
    model = autoencoder(prior, fae.GaussianLikelihood(0.1, True, shape), posterior)
    return fae.FisherObjective(model, **options)


def deterministic(likelihood: object = "bernoulli") -> fae.Autoencoder:
    return autoencoder(fae.StandardNormal(d), likelihood, "delta")


def fisher_with(prior: nn.Module) -> nn.Module:
    for parameter in prior.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    return fae.FisherObjective(autoencoder(prior, fae.GaussianLikelihood(0.1, True)))


OBJECTIVES = {
    "fisher": fisher,
    "fisher, pairwise prior": lambda: fisher_with(fae.PairwisePolynomial(d)),
    "fisher, energy prior": lambda: fisher_with(fae.EnergyPrior(d, width=8)),
    "fisher, L = 2": lambda: fisher(samples=2),
    "fisher, noise": lambda: fisher(noise=0.5),
    "fisher, noise, half": lambda: fisher(noise=0.5, score_fraction=0.5),
    "fisher, half": lambda: fisher(score_fraction=0.5),
    "fisher, a variance per channel": lambda: fisher(shape=(1, 1, 1)),
    "fisher, a variance per pixel": lambda: fisher(shape=SHAPE),
    "elbo, a variance per pixel": lambda: fae.ElboObjective(
        autoencoder(fae.StandardNormal(d), fae.GaussianLikelihood(0.1, True, SHAPE))
    ),
    "fisher, polynomial": lambda: fisher("polynomial"),
    "elbo, polynomial": lambda: fae.ElboObjective(
        autoencoder(fae.StandardNormal(d), "bernoulli", "polynomial")
    ),
    "elbo, bernoulli": lambda: fae.ElboObjective(autoencoder(fae.StandardNormal(d), "bernoulli")),
    "elbo, gaussian": lambda: fae.ElboObjective(
        autoencoder(fae.StandardNormal(d), fae.GaussianLikelihood(0.1, True)), samples=2
    ),
    "elbo, β = 4": lambda: fae.ElboObjective(
        autoencoder(fae.StandardNormal(d), "bernoulli"), beta=4.0
    ),
    "plain": lambda: fae.DenoisingObjective(deterministic()),
    "denoising": lambda: fae.DenoisingObjective(
        deterministic(fae.GaussianLikelihood(0.1, True)), noise=0.25
    ),
    "contractive": lambda: fae.ContractiveObjective(deterministic()),
    "contractive, exact": lambda: fae.ContractiveObjective(deterministic(), probes=None),
    "regularised": lambda: fae.RegularizedObjective(deterministic("gaussian"), 0.1, 0.1),
    "wae-gan": lambda: fae.WaeGanObjective(deterministic("gaussian"), mlp.discriminator(d)),
    "wae-mmd": lambda: fae.WaeMmdObjective(deterministic("gaussian")),
}


@pytest.fixture(params=OBJECTIVES)
def objective(request: pytest.FixtureRequest) -> nn.Module:
    return OBJECTIVES[request.param]()


def seeded(objective: nn.Module, x: torch.Tensor, **options: bool):
    torch.manual_seed(1)
    return objective(x, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_terms(objective: nn.Module, dtype: torch.dtype) -> None:
    x = torch.rand(6, *SHAPE, dtype=dtype)
    objective = objective.to(dtype)
    per_image, means = seeded(objective, x, reduce=False), seeded(objective, x)
    for name, term in per_image.by_name().items():
        assert term.shape == (6,)
        assert term.dtype == dtype
        torch.testing.assert_close(means.by_name()[name], term.mean())
    torch.testing.assert_close(means.total, sum(means.by_name().values()))


def test_gradient_reaches_every_parameter(objective: nn.Module) -> None:
    objective(torch.rand(16, *SHAPE)).total.backward()
    for name, parameter in objective.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_values_without_a_gradient(objective: nn.Module) -> None:
    x = torch.rand(6, *SHAPE)
    with torch.no_grad():
        silent = seeded(objective, x)
    assert not silent.total.requires_grad
    torch.testing.assert_close(silent.total, seeded(objective, x).total)


def test_values_in_inference_mode(objective: nn.Module) -> None:
    x = torch.rand(6, *SHAPE)
    with torch.inference_mode():
        silent = seeded(objective, x.clone())
    torch.testing.assert_close(silent.total, seeded(objective, x).total.detach())


def test_leaves_its_input_alone(objective: nn.Module) -> None:
    x = torch.rand(6, *SHAPE)
    before = x.clone()
    objective(x)
    assert not x.requires_grad
    assert torch.equal(x, before)


def test_what_the_encoder_sees(objective: nn.Module) -> None:
    x = torch.rand(6, *SHAPE)
    noise = getattr(objective, "noise", 0.0)
    assert objective.seen(x).shape == x.shape
    assert torch.equal(objective.seen(x), x) == (noise == 0)


def test_same_seed_same_loss(objective: nn.Module) -> None:
    x = torch.rand(6, *SHAPE)
    assert torch.equal(seeded(objective, x).total, seeded(objective, x).total)


def test_a_refined_model_is_not_trained(objective: nn.Module) -> None:
    """No gradient passes the search: the encoder would stay as it is, without a word."""
    adversary = (objective.discriminator,) if isinstance(objective, fae.WaeGanObjective) else ()
    with pytest.raises(fae.InputError, match="train the model first, and refine it afterwards"):
        type(objective)(fae.refined(objective.model), *adversary)


def test_training_lowers_the_loss(objective: nn.Module) -> None:
    """The eight lines of `LossTerms` as a user writes them."""
    x = torch.rand(64, *SHAPE).round()
    reconstruction = objective(x).reconstruction.item()
    optimizer = torch.optim.Adam(objective.parameters(), 5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        objective(x).total.backward()
        optimizer.step()
    assert objective(x).reconstruction < reconstruction
