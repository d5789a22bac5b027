"""A trained model with each kind of prior; the fits themselves are tested in tests/priors."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

import fisherae as fae
from fisherae.errors import InputError
from fisherae.priors import Prior, energy
from fisherae.recipes.latent_prior import PRIOR_KINDS, with_prior

DIM = 3
PRIORS: dict[str, Prior] = {
    "polynomial": fae.FactorablePolynomial(DIM, 5),
    "normal": fae.StandardNormal(DIM),
    "exponential": fae.ExponentialFamily(DIM, torch.square),
    "mixture": fae.GaussianMixture(DIM, 2),
    "pairwise": fae.PairwisePolynomial(DIM, 6),
    "energy": fae.EnergyPrior(DIM, width=4),
}


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the only fit that takes long."""
    monkeypatch.setattr(energy, "_STEPS", 20)


def autoencoder(prior: Prior, posterior: str = "gaussian") -> fae.Autoencoder:
    outputs = 1 if posterior == "delta" else 2
    encoder = fae.networks.small.encoder((1, 8, 8), DIM, outputs_per_dim=outputs)
    decoder = fae.networks.small.decoder((1, 8, 8), DIM)
    return fae.Autoencoder(encoder, decoder, prior, "gaussian", posterior).eval()


@pytest.fixture
def latents() -> Tensor:
    """Correlated, so that no factorable prior is right."""
    mix = torch.tensor([[1.0, 0.8, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 3.0]])
    return 2 + torch.randn(2_000, DIM, generator=torch.Generator().manual_seed(0)) @ mix


@pytest.mark.parametrize("kind", PRIOR_KINDS)
@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_shares_the_networks_and_leaves_the_model_as_it_is(
    prior: Prior, kind: str, latents: Tensor
) -> None:
    model = autoencoder(prior)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    other = with_prior(model, kind, latents)
    assert model.prior is prior
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    for part in ("encoder", "decoder", "likelihood"):
        assert getattr(other, part) is getattr(model, part)
    assert other.prior is not prior
    assert not {id(t) for t in other.prior.state_dict(keep_vars=True).values()} & {
        id(t) for t in prior.state_dict(keep_vars=True).values()
    }
    assert not other.training


@pytest.mark.parametrize("posterior", ["gaussian", "delta"])
@pytest.mark.parametrize("kind", PRIOR_KINDS)
def test_the_other_model_is_whole(
    posterior: str, kind: str, latents: Tensor, tmp_path: Path
) -> None:
    """It encodes as before, samples, and survives saving and loading."""
    model = autoencoder(fae.FactorablePolynomial(DIM, 4), posterior)
    other = with_prior(model, kind, latents)
    x = torch.rand(4, 1, 8, 8)
    assert torch.equal(other.reconstruct(x), model.reconstruct(x))
    other.save(tmp_path)
    priors = other.prior, fae.load(tmp_path).prior
    seeded = [torch.Generator().manual_seed(0) for _ in priors]
    draws = [
        fae.sample(p, 5, "mala", generator, steps=10)
        for p, generator in zip(priors, seeded, strict=True)
    ]
    assert other.decode(draws[0]).mean.shape == (5, 1, 8, 8)
    assert torch.equal(*draws)


@pytest.mark.parametrize("name", PRIORS)
def test_trained_is_the_same_density(name: str, latents: Tensor) -> None:
    other = with_prior(autoencoder(PRIORS[name]), "trained", latents)
    assert torch.equal(other.prior.log_density(latents), PRIORS[name].log_density(latents))


@pytest.mark.parametrize(
    ("prior", "order"),
    [
        (fae.FactorablePolynomial(DIM, k), order)
        for k, order in [(2, 2), (3, 2), (4, 4), (5, 4), (6, 6)]
    ]
    + [(fae.StandardNormal(DIM), 4), (fae.GaussianMixture(DIM), 4)]
    + [(fae.PairwisePolynomial(DIM, 6), 6)],
)
def test_order_of_a_refit(prior: Prior, order: int, latents: Tensor) -> None:
    families = {"refit": fae.FactorablePolynomial, "pairwise": fae.PairwisePolynomial}
    for kind, family in families.items():
        refitted = with_prior(autoencoder(prior), kind, latents).prior
        assert isinstance(refitted, family)
        assert refitted.order == order


@pytest.mark.parametrize("kind", ["refit", "mixture"])
@pytest.mark.parametrize("name", PRIORS)
def test_samples_are_spread_like_the_latents(name: str, kind: str, latents: Tensor) -> None:
    other = with_prior(autoencoder(PRIORS[name]), kind, latents)
    assert other.prior.is_normalizable is not None
    assert bool(other.prior.is_normalizable.all())
    z = fae.sample(other.prior, 20_000, "exact", torch.Generator().manual_seed(1))
    torch.testing.assert_close(z.mean(0), latents.mean(0), rtol=0, atol=0.1)
    torch.testing.assert_close(z.std(0), latents.std(0), rtol=0.03, atol=0)


def test_all_but_the_factorable_one_know_the_correlation(latents: Tensor) -> None:
    model = autoencoder(fae.StandardNormal(DIM))
    for kind in ("refit", "mixture", "pairwise", "energy"):
        prior = with_prior(model, kind, latents).prior
        options = {"steps": 100} if kind in ("pairwise", "energy") else {}
        z = fae.sample(prior, 10_000, **options)
        expected = 0 if kind == "refit" else 0.8 / 0.89**0.5
        assert z.mT.corrcoef()[0, 1].item() == pytest.approx(expected, abs=0.03), kind
        torch.testing.assert_close(z.std(0), latents.std(0), rtol=0.04, atol=0)


def test_precision_of_the_model_is_kept(latents: Tensor) -> None:
    for kind in PRIOR_KINDS:
        other = with_prior(autoencoder(fae.StandardNormal(DIM)).double(), kind, latents)
        assert fae.sample(other.prior, 2, "mala", steps=5).dtype == torch.float64


def test_seed_is_that_of_the_mixture_and_the_energy(
    latents: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "_STEPS", 50)
    latents[:1_000] += 4
    model = autoencoder(fae.StandardNormal(DIM))
    for kind in ("mixture", "energy"):
        one, same, other = (with_prior(model, kind, latents, seed).prior for seed in (1, 1, 2))
        assert torch.equal(one.log_density(latents), same.log_density(latents))
        assert not torch.equal(one.log_density(latents), other.log_density(latents))


def test_unknown_kind(latents: Tensor) -> None:
    with pytest.raises(InputError, match="kind of prior 'flow'; known: trained, refit, mixture"):
        with_prior(autoencoder(fae.StandardNormal(DIM)), "flow", latents)


def test_the_kinds_are_known_without_torch() -> None:
    code = "import sys, fisherae.recipes.latent_prior; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
