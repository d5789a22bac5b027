"""bfloat16 training: the same terms within its digits, weights kept in float32."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

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
