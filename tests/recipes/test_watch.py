"""What is said of a training that went wrong quietly, and that nothing is said of one that did
not."""

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fisherae as fae
from fisherae.cli import main
from fisherae.data.images import to_float
from fisherae.networks import mlp
from fisherae.priors import Prior
from fisherae.recipes import named, watch
from fisherae.recipes.build import load_data
from fisherae.recipes.run import latents_of, train_recipe
from fisherae.recipes.watch import active_latents, warn_of_silent_failure
from fisherae.training.run import RunDirectory

DIM = 4


class Encoder(nn.Module):
    """μ and log σ² of known size: the signals in the first DIM pixels, the same noise for all."""

    def __init__(self, signal: float, noise: float, scale: float = 1.0):
        super().__init__()
        self.signal, self.noise, self.scale = signal, noise, scale

    def forward(self, x: Tensor) -> Tensor:
        variance = torch.full((len(x), DIM), self.scale**2 * self.noise)
        return torch.cat([self.scale * self.signal**0.5 * x[:, :DIM], variance.log()], dim=1)


def autoencoder(encoder: nn.Module, prior: Prior | None = None, **parts: Any) -> fae.Autoencoder:
    prior = fae.StandardNormal(DIM) if prior is None else prior
    return fae.Autoencoder(encoder, mlp.decoder((DIM,), DIM), prior, **parts)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """Of a training that has had its time."""
    run = RunDirectory.create(tmp_path / "mine", {})
    run.append_metrics({"step": 1_000})
    return run


@pytest.fixture
def x() -> Tensor:
    """Of variance 1 in each dimension."""
    x = torch.randn(500, DIM, generator=torch.Generator().manual_seed(0))
    return (x - x.mean(0)) / x.std(0, correction=0)


def said(model: fae.Autoencoder, x: Tensor, z: Tensor, run: RunDirectory) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_silent_failure(model, x, z, run)
    assert all(issubclass(one.category, UserWarning) for one in caught)
    return [str(one.message) for one in caught]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("noise", [1e-4, 1.0])
@pytest.mark.parametrize(("ratio", "active"), [(0.009, False), (0.011, True), (100.0, True)])
def test_threshold_is_that_of_the_literature_at_any_scale(
    ratio: float, active: bool, noise: float, scale: float, x: Tensor
) -> None:
    model = autoencoder(Encoder(ratio * noise, noise, scale))
    assert active_latents(model, x).tolist() == [active] * DIM


@pytest.mark.parametrize(("variance", "active"), [(0.0, False), (0.009, False), (0.011, True)])
def test_without_noise_the_variance_itself_counts(variance: float, active: bool, x: Tensor) -> None:
    encoder = nn.Linear(DIM, DIM)
    nn.init.eye_(encoder.weight).data.mul_(variance**0.5)
    model = autoencoder(encoder, posterior="delta")
    assert active_latents(model, x).tolist() == [active] * DIM


def test_measured_in_eval_mode_and_whatever_the_batches(x: Tensor) -> None:
    encoder = nn.Sequential(nn.Dropout(0.9), Encoder(1.0, 1.0))
    model = autoencoder(encoder).train()
    x = x.repeat(3, 1)
    x[:512] = 0
    assert active_latents(model, x).all(), "the first batch alone tells nothing"
    assert model.training
    assert encoder[0].training


def test_collapse_and_its_cure(x: Tensor, run: RunDirectory) -> None:
    z = torch.randn(1_000, DIM)
    (collapsed,) = said(autoencoder(Encoder(0.001, 1.0)), x, z, run)
    assert f"{run.path}: posterior collapse: none of the 4 latents" in collapsed
    assert "--learn-variance" in collapsed
    assert said(autoencoder(Encoder(1.0, 1.0)), x, z, run) == []


def test_a_prior_that_training_did_not_know_is_not_judged(x: Tensor, run: RunDirectory) -> None:
    model, z = autoencoder(Encoder(1.0, 1.0)), 10 + torch.randn(1_000, DIM)
    (told,) = said(model, x, z, run)
    assert "is far off the latents" in told
    warn_of_silent_failure(model, x, z, run, has_prior=False)  # warnings are errors


@pytest.mark.parametrize("used", range(5))
def test_a_part_of_the_latents(used: int, x: Tensor, run: RunDirectory) -> None:
    x[:, used:] = 0
    messages = said(autoencoder(Encoder(1.0, 1.0)), x, torch.randn(1_000, DIM), run)
    expected = {0: "posterior collapse", 1: "3 of the 4 latents tell nothing.*"}.get(used)
    assert len(messages) == (expected is not None), "half of them may be spare"
    if used == 1:
        assert "fewer (--dim 1)" in messages[0]


def test_a_short_training_and_a_single_image_are_not_judged(x: Tensor, run: RunDirectory) -> None:
    model, z = autoencoder(Encoder(0.0, 1.0)), torch.randn(1_000, DIM)
    assert len(said(model, x, z, run)) == 1
    assert said(model, x[:1], z[:1], run) == []
    run.append_metrics({"step": watch.SETTLED - 1})
    assert said(model, x, z, run) == []


def polynomial(eta: list[float], z: Tensor) -> fae.FactorablePolynomial:
    """The same in each dimension, confined as training leaves it."""
    prior = fae.FactorablePolynomial(DIM, len(eta))
    prior.set_eta(torch.tensor([eta] * DIM))
    return prior.confine(z)


NORMAL, MODES_AT_SQRT_2 = [0.0, -0.5], [0.0, 1.0, 0.0, -0.25]
# The prior; mean and standard deviation of the latents; what is said of all dimensions.
PRIORS: dict[str, tuple[list[float], float, float, str]] = {
    "that of the latents": (NORMAL, 0.0, 1.0, ""),
    "2.5 times as wide": (NORMAL, 0.0, 0.4, ""),
    "2.5 times as narrow": (NORMAL, 0.0, 2.5, ""),
    "two standard deviations off": (NORMAL, 2.0, 1.0, ""),
    "two modes": (MODES_AT_SQRT_2, 0.0, 1.4, ""),
    "rising far out": ([0.0, -0.5, 0.0, 1e-4], 0.0, 1.0, ""),
    "4 times as wide": (NORMAL, 0.0, 0.25, "far off the latents"),
    "4 times as narrow": (NORMAL, 0.0, 4.0, "far off the latents"),
    "four standard deviations off": (NORMAL, 4.0, 1.0, "far off the latents"),
    "exploded": ([0.0, -1e12], 0.0, 1.0, "far off the latents"),
    "rising to both ends": ([0.0, -0.5, 0.0, 0.1], 0.0, 1.0, "improper"),
    "rising to one end, exploded": ([1e4, -0.5, 0.0, 0.1], 0.0, 1.0, "improper"),
    "of an odd order": ([0.0, -0.5, 1e-4], 0.0, 1.0, "improper"),
}


@pytest.mark.parametrize("case", PRIORS)
def test_priors(case: str, x: Tensor, run: RunDirectory) -> None:
    eta, mean, std, reason = PRIORS[case]
    z = mean + std * torch.randn(5_000, DIM)
    messages = said(autoencoder(Encoder(1.0, 1.0), polynomial(eta, z)), x, z, run)
    assert len(messages) == bool(reason), messages
    for message in messages:
        assert f"{run.path}: the prior as trained is {reason} in all 4 dimensions" in message
        assert "--prior refit" in message
        assert ("even --order" in message) == (len(eta) % 2 == 1)


def test_the_dimensions_are_named(x: Tensor, run: RunDirectory) -> None:
    z = torch.randn(5_000, DIM) * torch.tensor([1.0, 50.0, 1.0, 0.01])
    (message,) = said(autoencoder(Encoder(1.0, 1.0)), x, z, run)
    assert "is far off the latents in dimensions [1, 3]:" in message
    prior = fae.FactorablePolynomial(DIM, 4)
    prior.set_eta(torch.tensor([[0.0, -0.5, 0.0, rise] for rise in (0.1, 0.0, 0.0, 0.0)]))
    (message,) = said(autoencoder(Encoder(1.0, 1.0), prior.confine(z)), x, z, run)
    assert (
        "is improper in dimensions [0] and is far off the latents in dimensions [1, 3]:" in message
    )


@pytest.mark.parametrize("family", [fae.PairwisePolynomial, fae.EnergyPrior])
def test_priors_that_only_mala_can_judge(
    family: type[fae.PairwisePolynomial | fae.EnergyPrior], x: Tensor, run: RunDirectory
) -> None:
    """New ones are N(0, I): right for its samples, far off those at 8."""
    for mean, messages in ((0.0, 0), (8.0, 1)):
        model = autoencoder(Encoder(1.0, 1.0), family(DIM))
        z = mean + torch.randn(1_000, DIM)
        said_of_it = said(model, x, z, run)
        assert len(said_of_it) == messages
        assert all("far off the latents in all 4 dimensions" in one for one in said_of_it)


def test_the_refit_that_is_advised_is_silent(x: Tensor, run: RunDirectory) -> None:
    z = 30 + 3 * torch.randn(5_000, DIM)
    model = autoencoder(Encoder(1.0, 1.0), polynomial(NORMAL, z))
    assert len(said(model, x, z, run)) == 1
    model.prior = fae.FactorablePolynomial(DIM, 4).fit(z)
    assert said(model, x, z, run) == []


@pytest.mark.parametrize(("name", "epochs"), [("fisher", 4), ("vae", 6), ("wae-gan", 15)])
@pytest.mark.parametrize("seed", range(3))
def test_a_healthy_training_is_not_called_collapsed(
    name: str, epochs: int, seed: int, tmp_path: Path
) -> None:
    chosen = named.recipe(f"digits-{name}")
    training = dataclasses.replace(chosen.training, seed=seed, epochs=epochs, device="cpu")
    model = train_recipe(
        dataclasses.replace(chosen, training=training), tmp_path / "run", progress=False
    )
    run = RunDirectory.open(tmp_path / "run")
    counts = [line.get("validation/active_latents") for line in run.metrics()]
    assert counts[-1] >= model.dim / 2
    run.append_metrics({"step": watch.SETTLED})
    images = to_float(load_data(chosen, "train").images, (0.0, 1.0))
    messages = said(model, images, latents_of(run.path), run)
    assert all("the prior as trained" in message for message in messages), messages


@pytest.mark.filterwarnings("always")
def test_the_command_line_tells_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After two steps no latent is in use yet, and K = 5 is no density from the first on."""
    monkeypatch.setattr(watch, "SETTLED", 2)
    out = tmp_path / "run"
    words = ["train", "digits-fisher", "--order", "5", "--limit", "64", "--batch-size", "32"]
    assert main([*words, "--epochs", "1", "--device", "cpu", "--out", str(out)]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(told) == 2
    assert told[0].startswith(f"fisherae: warning: {out}: posterior collapse: none of the 8")
    assert told[1].startswith(f"fisherae: warning: {out}: the prior as trained is improper in all")
    assert RunDirectory.open(out).metrics()[-1]["validation/active_latents"] == 0
