"""bfloat16 training: the same terms within its digits, weights kept in float32."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fisherae.one_dimensional.density import PolynomialDensity
from fisherae.recipes.build import build_objective
from fisherae.recipes.named import recipe
from fisherae.recipes.run import train_recipe
from fisherae.training.run import RunDirectory


@pytest.mark.parametrize("family", ["fisher", "vae", "wae-gan"])
def test_autocast_agrees_with_float32(family: str) -> None:
    torch.manual_seed(0)
    objective = build_objective(recipe(f"mnist-{family}"), (1, 28, 28))
    x = torch.rand(16, 1, 28, 28)
    torch.manual_seed(1)
    full = objective(x)
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        half = objective(x)
    for name, term in full.by_name().items():
        assert half.by_name()[name].dtype == torch.float32
        torch.testing.assert_close(half.by_name()[name], term, rtol=0.03, atol=1e-3)


@pytest.mark.parametrize("prior", ["factorable", "pairwise", "energy"])
def test_the_prior_computes_in_float32(prior: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = recipe("digits-fisher")
    chosen = replace(chosen, objective=replace(chosen.objective, prior=prior))
    torch.manual_seed(0)
    objective = build_objective(chosen, (1, 8, 8))
    own = objective.model.prior
    for parameter in own.parameters():
        torch.nn.init.normal_(parameter)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    score = own.score
    monkeypatch.setattr(own, "score", lambda z: seen.append((z, score(z))) or seen[-1][1])
    with torch.autocast("cpu", torch.bfloat16):
        objective.eval()(torch.rand(16, 1, 8, 8))
    ((z, under_autocast),) = seen
    assert torch.equal(under_autocast, score(z))


def test_moments_of_a_posterior_and_their_slopes_stay_in_float32() -> None:
    weight = torch.tensor([[0.3, -1.0, 0.1, -0.4]], requires_grad=True)
    slopes = []
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            density = PolynomialDensity(weight)
            total = density.moments.sum() + density.log_normalizer.sum()
        slopes.append(torch.autograd.grad(total, weight)[0])
    assert torch.equal(*slopes)


def test_loss_curves_agree(tmp_path: Path) -> None:
    chosen = recipe("digits-fisher")
    curves = {}
    for precision in ("fp32", "bf16"):
        training = replace(
            chosen.training, epochs=4, device="cpu", precision=precision, log_every=23
        )
        run = tmp_path / precision
        model = train_recipe(replace(chosen, training=training), run, progress=False)
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        curves[precision] = [
            line["validation/mse"]
            for line in RunDirectory.open(run).metrics()
            if "validation/mse" in line
        ]
    torch.testing.assert_close(
        torch.tensor(curves["bf16"]), torch.tensor(curves["fp32"]), rtol=0.05, atol=1e-3
    )


def test_convolutions_resume_bit_for_bit(tmp_path: Path) -> None:
    # Their weights are kept in another memory format than they train in.
    chosen = recipe("digits-fisher")
    chosen = replace(
        chosen,
        data=replace(chosen.data, limit=64),
        model=replace(chosen.model, network="small"),
    )

    def weights(run: str, epochs: int, resume: bool = False) -> dict[str, torch.Tensor]:
        training = replace(chosen.training, epochs=epochs, device="cpu", precision="bf16")
        own = replace(chosen, training=training)
        return train_recipe(own, tmp_path / run, resume=resume, progress=False).state_dict()

    whole = weights("whole", epochs=3)
    weights("parts", epochs=1)
    resumed = weights("parts", epochs=3, resume=True)
    assert any(tensor.dim() == 4 for tensor in whole.values())
    assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())
