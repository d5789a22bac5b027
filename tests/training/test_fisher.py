"""The whole way: real digits, the Fisher objective, every parameter group, resumed."""

from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits

import fisherae as fae
from fisherae.data.images import Batches
from fisherae.training.config import TrainingConfig
from fisherae.training.loop import train
from fisherae.training.run import RunDirectory


@pytest.fixture(scope="module")
def batches() -> Batches:
    digits = torch.from_numpy(load_digits().images)[:, None]
    return Batches((digits * 255 / 16).round().to(torch.uint8)[:640], batch_size=64)


def fit(batches: Batches, run: RunDirectory, epochs: int, resume: bool = False) -> fae.Autoencoder:
    torch.manual_seed(0)
    model = fae.Autoencoder(
        fae.networks.small.encoder((1, 8, 8), dim=4),
        fae.networks.small.decoder((1, 8, 8), dim=4),
        fae.FactorablePolynomial(4, order=4),
        likelihood=fae.GaussianLikelihood(variance=0.1, learned=True),
    )
    objective = fae.FisherObjective(model)
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-3)
    config = TrainingConfig(epochs=epochs, device="cpu", clip=10.0, log_every=5)
    train(objective, optimizer, batches, config, run, resume=resume, progress=False)
    return model


def test_the_fisher_objective_trains_and_resumes(batches: Batches, tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "whole", {})
    model = fit(batches, run, epochs=6)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    first, *_, last = run.metrics()
    assert {"posterior", "reconstruction", "stability"} <= first.keys()
    assert last["total"] < first["total"]
    parts = RunDirectory.create(tmp_path / "parts", {})
    fit(batches, parts, epochs=3)
    resumed = fit(batches, RunDirectory.open(parts.path), epochs=6, resume=True)
    for name, value in model.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
