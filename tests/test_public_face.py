"""The public face, as it is printed where people learn of it; it stays as it is."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import fisherae as fae


def test_the_public_face(tmp_path: Path) -> None:
    encoder, decoder = fae.networks.mnist.encoder(8), fae.networks.mnist.decoder(8)
    prior = fae.FactorablePolynomial(dim=8, order=5)
    likelihood = fae.GaussianLikelihood(variance=0.1, learned=True)
    x = torch.rand(4, 1, 28, 28)

    model = fae.Autoencoder(encoder, decoder, prior, likelihood="gaussian")
    assert model.decode(torch.randn(4, 8)).variance == 1
    vae = fae.Autoencoder(encoder, decoder, fae.StandardNormal(8), likelihood="bernoulli")
    model = fae.Autoencoder(encoder, decoder, prior, likelihood=likelihood)

    q = model.encode(x)
    z = q.rsample()
    assert q.mean.shape == q.std.shape == z.shape == q.score(z).shape == (4, 8)
    assert q.log_prob(z).shape == (4,)
    p = model.decode(z)
    assert p.mean.shape == p.sample().shape == x.shape
    assert p.log_prob(x).shape == (4,)

    terms = fae.FisherObjective(model, samples=1, score_fraction=1.0, variant="exact")(x)
    parts = terms.posterior + terms.reconstruction + terms.stability
    torch.testing.assert_close(terms.total, parts)
    per_image = fae.FisherObjective(model)(x, reduce=False)
    assert per_image.posterior.shape == (4,)
    assert fae.ElboObjective(vae)(x).total.isfinite()

    assert prior.score(z).shape == (4, 8)
    assert prior.log_density(z).shape == (4,)
    assert not prior.fit(torch.randn(500, 8)).is_normalizable.logical_not().any()
    assert fae.sample(prior, n=1000, method="exact").shape == (1000, 8)
    generator = torch.Generator().manual_seed(0)
    drawn, diagnostics = fae.sample(
        prior, n=100, method="svgd", generator=generator, return_diagnostics=True, steps=10
    )
    assert drawn.shape == (100, 8)
    assert diagnostics.method == "svgd"
    assert diagnostics.ksd > 0
    mixture = fae.GaussianMixture(dim=8, components=3).fit(torch.randn(500, 8))
    assert fae.sample(mixture, n=1000).shape == (1000, 8)
    assert fae.sample(prior, n=10, method="langevin", steps=10).shape == (10, 8)

    model.eval().save(tmp_path / "model")
    again = fae.load(tmp_path / "model")
    assert torch.equal(again.reconstruct(x), model.reconstruct(x))

    X = np.random.default_rng(0).random((64, 20))
    assert fae.FisherAutoencoder(latent_dim=8, epochs=1).fit(X).transform(X).shape == (64, 8)


def test_every_name_is_there() -> None:
    for name in fae.__all__:
        assert getattr(fae, name) is not None
    assert set(fae.__all__) <= set(dir(fae))
    with pytest.raises(AttributeError, match="no attribute 'Autoencodr'"):
        fae.Autoencodr  # noqa: B018


def test_import_waits_for_nothing() -> None:
    code = "import sys, fisherae; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_mathematics_imports_torch_and_nothing_else() -> None:
    """Training, figures and data do not come along with the objectives and priors."""
    code = (
        "import sys, fisherae.objectives, fisherae.samplers\n"
        "heavy = {'sklearn', 'matplotlib', 'datasets', 'accelerate', 'PIL', 'rich', 'tyro'}\n"
        "sys.exit(f'imported: {heavy & set(sys.modules)}' if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
