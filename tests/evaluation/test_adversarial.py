"""The attack against optima that are known in closed form."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fisherae.autoencoder import Autoencoder
from fisherae.errors import InputError
from fisherae.evaluation.adversarial import LatentAttack, Norm, Target
from fisherae.evaluation.robustness import robustness
from fisherae.networks import mlp
from fisherae.priors import StandardNormal

SHAPE = (1, 8, 8)


class Linear(nn.Module):
    """μ(x) = A x with unit variance."""

    def __init__(self, matrix: Tensor):
        super().__init__()
        self.matrix = nn.Parameter(matrix)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.flatten(1) @ self.matrix.T
        return torch.cat([mean, torch.zeros_like(mean)], dim=1)


def linear(matrix: Tensor, back: Tensor | None = None) -> Autoencoder:
    back = matrix.T if back is None else back
    decoder = nn.Linear(len(matrix), 64, bias=False)
    decoder.weight = nn.Parameter(back)
    return Autoencoder(
        Linear(matrix), nn.Sequential(decoder, nn.Unflatten(1, SHAPE)), StandardNormal(len(matrix))
    )


@pytest.fixture
def model() -> Autoencoder:
    return Autoencoder(mlp.encoder(SHAPE, 2), mlp.decoder(SHAPE, 2), StandardNormal(2))


@pytest.mark.parametrize("seed", range(4))
def test_l2_finds_the_top_singular_vector(seed: int) -> None:
    """max ‖A δ‖ over ‖δ‖ ≤ r is r σ₁(A)."""
    matrix = torch.from_numpy(np.random.default_rng(seed).normal(size=(8, 64))).float()
    x = torch.rand(20, *SHAPE)
    delta = (LatentAttack(0.7, linear(matrix))(x) - x).flatten(1)
    best = 0.7 * np.linalg.svd(matrix.numpy(), compute_uv=False)[0]
    moved = (delta @ matrix.T).norm(dim=1)
    assert moved.min() >= 0.99 * best
    assert moved.max() <= best * (1 + 1e-5)


def test_linf_finds_the_signs_of_a_linear_functional() -> None:
    """max |w·δ| over ‖δ‖∞ ≤ r is r ‖w‖₁, at δ = ±r sign w."""
    w = torch.randn(1, 64)
    x = torch.rand(20, *SHAPE)
    delta = (LatentAttack(0.3, linear(w), norm="linf")(x) - x).flatten(1)
    torch.testing.assert_close((delta @ w.T).abs()[:, 0], (0.3 * w.abs().sum()).expand(20))
    torch.testing.assert_close(delta.abs(), torch.full((20, 64), 0.3))


def test_the_reconstruction_of_a_linear_model_is_moved_the_farthest() -> None:
    """From x = 0, ‖W A δ‖ is at most r σ₁(W A)."""
    matrix, back = torch.randn(4, 64), torch.randn(64, 4)
    x = torch.zeros(10, *SHAPE)
    delta = LatentAttack(0.5, linear(matrix, back), target="reconstruction")(x).flatten(1)
    best = 0.5 * np.linalg.svd((back @ matrix).numpy(), compute_uv=False)[0]
    moved = (delta @ matrix.T @ back.T).norm(dim=1)
    assert 0.99 * best <= moved.min() <= moved.max() <= best * (1 + 1e-5)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("target", ["latent", "reconstruction"])
@pytest.mark.parametrize("step_size", [None, 0.01, 100.0])
def test_the_ball_is_never_left(
    model: Autoencoder, norm: Norm, target: Target, step_size: float | None
) -> None:
    x = torch.rand(20, *SHAPE)
    attack = LatentAttack(0.4, model, norm=norm, target=target, steps=5, step_size=step_size)
    delta = (attack(x).double() - x.double()).flatten(1)
    length = delta.norm(dim=1) if norm == "l2" else delta.abs().amax(1)
    assert length.max() <= 0.4 + 1e-6
    assert length.min() > 0.3


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_it_does_more_than_chance_and_more_with_more(model: Autoencoder, norm: Norm) -> None:
    x = torch.rand(50, *SHAPE)

    def moved(**arguments: Any) -> Tensor:
        seen = LatentAttack(0.5, model, norm=norm, **arguments)(x, torch.Generator().manual_seed(0))
        return (model.eval().encode(seen).mean - model.encode(x).mean).norm(dim=1).detach()

    once, again = moved(steps=1, restarts=1), moved(steps=30, restarts=1)
    assert (again >= once).float().mean() > 0.95
    # The same first start, and another.
    assert (moved(steps=30, restarts=2) >= again - 1e-6).all()
    noise = torch.randn(50, 64)
    noise = 0.5 * (noise.sign() if norm == "linf" else noise / noise.norm(dim=1, keepdim=True))
    chance = model.encode(x + noise.view_as(x)).mean - model.encode(x).mean
    assert again.mean() > 2 * chance.norm(dim=1).mean()


def test_it_is_a_function_of_its_seed_whatever_the_batches(model: Autoencoder) -> None:
    x = torch.rand(20, *SHAPE)
    found = [
        LatentAttack(0.5, model, steps=5, batch_size=size)(x, torch.Generator().manual_seed(seed))
        for size, seed in ((20, 0), (20, 0), (7, 0), (20, 1))
    ]
    assert torch.equal(found[0], found[1])
    torch.testing.assert_close(found[0], found[2], atol=1e-5, rtol=0)
    assert not torch.allclose(found[0], found[3], atol=1e-3)


def test_the_model_stays_as_it_was(model: Autoencoder) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.rand(4, *SHAPE)
    clean = x.clone()
    with torch.no_grad():
        LatentAttack(0.5, model.train(), steps=3)(x)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(x, clean)


def test_robustness_takes_it_for_a_corruption() -> None:
    """In a linear model every latent moves by r σ₁, and the spread is that of A x."""
    matrix = torch.randn(2, 64)
    x = torch.rand(40, *SHAPE)
    model = linear(matrix)
    clean, hit = robustness(model, x, [LatentAttack(radius, model) for radius in (0.0, 0.5)])
    z = x.flatten(1).numpy() @ matrix.numpy().T
    spread = math.sqrt(np.square(z - z.mean(0)).sum(1).mean())
    top = np.linalg.svd(matrix.numpy(), compute_uv=False)[0]
    assert clean.shift == 0
    assert hit.shift == pytest.approx(0.5 * top / spread, rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"radius": -1.0}, "radius is -1.0: give a finite number ≥ 0"),
        ({"radius": math.nan}, "radius is nan"),
        ({"norm": "l1"}, "unknown norm 'l1'"),
        ({"target": "prior"}, "unknown target 'prior'"),
        ({"steps": 0}, "steps is 0: give a positive whole number"),
        ({"restarts": 1.5}, "restarts is 1.5"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"step_size": 0.0}, "step_size is 0.0: give a finite number > 0"),
    ],
)
def test_bad_arguments(model: Autoencoder, arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        LatentAttack(**({"radius": 1.0, "model": model} | arguments))
