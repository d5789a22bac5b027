"""Two processes train what one trains, and resume it; this file is also what they run."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import fisherae as fae
from fisherae.files import read_tensors
from fisherae.recipes.named import recipe
from fisherae.recipes.run import train_recipe
from fisherae.training.checkpoint import Checkpoint
from fisherae.training.config import TrainingConfig
from fisherae.training.device import start_accelerator
from fisherae.training.loop import train
from fisherae.training.run import RunDirectory

LATENTS = 5 + 3 * torch.randn(32, 3, generator=torch.Generator().manual_seed(0))


def fit(objective: Any, batches: Any, path: Path, epochs: int, resume: bool = False) -> None:
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.05)
    config = TrainingConfig(epochs=epochs, log_every=3, clip=1.0, device="cpu")
    train(objective, optimizer, batches, config, RunDirectory.open(path), resume, progress=False)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return Checkpoint.latest(path / "checkpoints").objective


def test_two_processes_train_what_one_trains(
    regression: Any, batches: Any, tmp_path: Path, untimed: Any
) -> None:
    names = ("one", "two", "noisy", "resumed")
    runs = {name: RunDirectory.create(tmp_path / name, {}) for name in names}
    torch.manual_seed(0)
    fit(regression(), batches, runs["one"].path, epochs=3)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *launch, __file__, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ)
    assert result.returncode == 0, result.stderr

    one, two = weights(runs["one"].path), weights(runs["two"].path)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value)
    for by_one, by_two in zip(untimed(runs["one"]), untimed(runs["two"]), strict=True):
        # Numbers of float32, summed in another order.
        torch.testing.assert_close(by_two, by_one, rtol=1.3e-6, atol=1e-5)

    # Each process draws its own dropout and continues with it.
    noisy, resumed = weights(runs["noisy"].path), weights(runs["resumed"].path)
    assert all(torch.equal(value, resumed[name]) for name, value in noisy.items())
    assert untimed(runs["noisy"]) == untimed(runs["resumed"])
    random = Checkpoint.latest(runs["noisy"].checkpoints).random["cpu"]
    assert not torch.equal(random[0], random[1])

    # A prior follows the latents of all processes.
    alone = follow(LATENTS)
    for rank in (0, 1):
        together = read_tensors(tmp_path / f"prior-{rank}.safetensors")
        for name, value in alone.items():
            torch.testing.assert_close(together[name], value)

    # Each process returns the model that the first has made of the last weights.
    saved = fae.load(tmp_path / "recipe").state_dict()
    assert saved["prior.support"].isfinite().all()
    for rank in (0, 1):
        returned = read_tensors(tmp_path / f"model-{rank}.safetensors")
        for name, value in saved.items():
            assert torch.equal(returned[name], value), name


def follow(z: torch.Tensor) -> dict[str, torch.Tensor]:
    prior = fae.FactorablePolynomial(3, 4)
    for _ in range(100):
        prior.follow(z)
    return prior.state_dict()


def main(directory: Path) -> None:
    sys.path.insert(0, str(Path(__file__).parent))
    from conftest import Regression, Rows, make_rows

    rank = start_accelerator("cpu").process_index

    class Share(Rows):
        def epoch(self, epoch: int, start: int = 0) -> Any:
            return (batch[rank::2] for batch in super().epoch(epoch, start))

    def work(name: str, dropout: float, epochs: int, resume: bool = False) -> None:
        torch.manual_seed(0)
        batches = Share(make_rows(), batch_size=8)
        fit(Regression(dropout=dropout), batches, directory / name, epochs, resume)

    work("two", 0.0, 3)
    work("noisy", 0.5, 3)
    work("resumed", 0.5, 2)
    work("resumed", 0.5, 3, resume=True)

    save_file(follow(LATENTS[rank::2]), directory / f"prior-{rank}.safetensors")

    paper = recipe("digits-fisher", "paper")
    paper = replace(
        paper,
        data=replace(paper.data, limit=64),
        training=replace(paper.training, epochs=1, batch_size=16, device="cpu"),
    )
    model = train_recipe(paper, directory / "recipe", progress=False)
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, directory / f"model-{rank}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
