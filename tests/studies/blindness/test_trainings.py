"""Models side by side are the models by themselves."""

import pytest
import torch

import fisherae as fae
from fisherae.divergences import hyvarinen_score
from fisherae.studies.blindness.blocks import apart, autoencoder, clip_each, side_by_side
from fisherae.studies.blindness.marginals import MarginalObjective
from fisherae.studies.blindness.trainings import METHODS, train_once, trained

OBJECTIVES = {
    "elbo": fae.ElboObjective,
    "exact": fae.FisherObjective,
    "reference": lambda model: fae.FisherObjective(model, variant="reference"),
}


@pytest.fixture
def models() -> list[fae.Autoencoder]:
    three = [autoencoder() for _ in range(3)]
    for k, model in enumerate(three):
        torch.nn.init.constant_(model.likelihood.log_variance, -0.5 * k)
    return three


def together(models: list[fae.Autoencoder]) -> fae.Autoencoder:
    model = side_by_side(models)
    with torch.no_grad():
        model.likelihood.log_variance.copy_(
            torch.stack([one.likelihood.log_variance for one in models])
        )
    return model


@pytest.fixture
def same_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is drawn is 0.7, so that models draw the same together and apart."""

    def rsample(q: fae.DiagonalGaussian, generator: object = None) -> torch.Tensor:
        return q.mean + 0.7 * q.std

    monkeypatch.setattr(fae.DiagonalGaussian, "rsample", rsample)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives_are_sums(name: str, models: list[fae.Autoencoder], same_noise: None) -> None:
    x = torch.randn(20, 3, 2)
    model = together(models)
    loss = OBJECTIVES[name](model)(x).total
    loss.backward()
    alone = [OBJECTIVES[name](one)(x[:, k]).total for k, one in enumerate(models)]
    torch.testing.assert_close(loss, torch.stack(alone).sum(), rtol=1e-4, atol=1e-4)
    alone[1].backward()
    first = model.encoder.weights[0].grad[1].mT
    torch.testing.assert_close(first, models[1].encoder[2].weight.grad, rtol=1e-3, atol=1e-4)
    variances = model.likelihood.log_variance.grad[1]
    torch.testing.assert_close(
        variances, models[1].likelihood.log_variance.grad, rtol=1e-4, atol=1e-4
    )


def test_apart_again(models: list[fae.Autoencoder]) -> None:
    x = torch.randn(5, 2)
    for before, after in zip(models, apart(together(models)), strict=True):
        torch.testing.assert_close(after.encode(x).mean, before.encode(x).mean)
        torch.testing.assert_close(after.reconstruct(x), before.reconstruct(x))
        assert after.likelihood.variance == before.likelihood.variance


def test_gradients_are_clipped_one_by_one(models: list[fae.Autoencoder]) -> None:
    model = together(models)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
        parameter.grad[0] *= 1e-6
    small = model.encoder.weights[0].grad[0].clone()
    clip_each(model, 1.0)
    norms = sum(p.grad.flatten(1).square().sum(1) if p.dim() > 1 else p.grad.square()
                for p in model.parameters())  # fmt: skip
    torch.testing.assert_close(norms[1:], torch.ones(2))
    assert torch.equal(model.encoder.weights[0].grad[0], small)


def test_marginals_without_an_encoder(models: list[fae.Autoencoder]) -> None:
    """−log p(x) by plain summation, and the Hyvärinen score of it by autograd."""
    model = together(models)
    x = torch.randn(6, 3, 2)

    def log_density(point: torch.Tensor, k: int) -> torch.Tensor:
        z = torch.linspace(-5, 5, 2_001)[:, None]
        p = models[k].decode(z)
        normal = torch.distributions.Normal(p.mean, p.variance.sqrt())
        joint = normal.log_prob(point[:, None]).sum(-1)
        prior = torch.distributions.Normal(0.0, 1.0).log_prob(z[:, 0])
        return (joint + prior + torch.log(z[1] - z[0])).logsumexp(-1)

    likelihood = -sum(log_density(x[:, k], k).mean() for k in range(3))
    score = sum(hyvarinen_score(lambda p, k=k: log_density(p, k), x[:, k]).mean() for k in range(3))
    found = [MarginalObjective(model, kind)(x).total for kind in ("likelihood", "score")]
    torch.testing.assert_close(
        torch.stack(found), torch.stack([likelihood, score]), atol=1e-3, rtol=0
    )


def test_likelihood_training_finds_the_weights() -> None:
    """Without an encoder, in steps enough to tell a quarter from a half."""
    (model,) = trained(METHODS["Likelihood, no encoder"], [("near", 0)], steps=150)
    mean = model.decode(torch.randn(4_000, 1)).mean.mean(0)
    torch.testing.assert_close(mean, torch.tensor([0.5, 0.0]), atol=0.15, rtol=0)


def test_what_is_trained_is_kept(tmp_path) -> None:
    problems = [("near", 0), ("far", 0)]
    first = train_once(tmp_path, "VAE", problems[:1], steps=3)
    again = train_once(tmp_path, "VAE", problems, steps=3)
    x = torch.randn(4, 2)
    assert torch.equal(first[0].reconstruct(x), again[0].reconstruct(x))
    assert len(list((tmp_path / "vae-3").iterdir())) == 2


def test_noise() -> None:
    annealed, fixed = METHODS["Fisher AE, annealed noise"], METHODS["Fisher AE, noise taken off"]
    assert [annealed.noise_at(t) for t in (0.0, 0.25, 0.5, 1.0)] == [1.0, 0.5, 0.0, 0.0]
    assert fixed.noise_at(0.9) == fixed.noise > 0
