"""On a GPU: no step waits for it, and a run measured there is the run measured here."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fisherae.data.images import Batches
from fisherae.recipes.build import build_objective, build_optimizer
from fisherae.recipes.evaluate import attack_run, evaluate_run, sample_run
from fisherae.recipes.named import MODELS, NAMES, recipe
from fisherae.recipes.run import load_run, recipe_of, train_recipe
from fisherae.studies.config import BUDGETS
from fisherae.studies.measures import Measures, Protocol
from fisherae.studies.models import run_of, train_once
from fisherae.training.loop import train
from fisherae.training.run import RunDirectory

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings(r"ignore:.*(posterior collapse|latents tell|as trained)"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype"),
    pytest.mark.filterwarnings("ignore:Attempting to run cuBLAS, but there was no current CUDA"),
]
IMAGES = torch.randint(256, (160, 1, 8, 8), dtype=torch.uint8)


class Watched(Batches):
    """Anything that waits for the GPU raises, from the third step of an epoch to its seventh."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Tensor]:
        for step, images in enumerate(super().epoch(epoch, start)):
            torch.cuda.set_sync_debug_mode("error" if 2 <= step < 7 else "default")
            yield images


CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in NAMES if name.startswith("digits-")),
    ("digits-fisher", {"prior": "pairwise"}),
    ("digits-fisher", {"prior": "energy"}),
    ("digits-fisher", {"posterior_order": 4}),
    ("digits-fisher", {"encoder_activation": "asinh"}),
]


@pytest.mark.parametrize(("name", "fields"), CASES, ids=str)
def test_no_step_waits_for_the_gpu(name: str, fields: dict[str, Any], tmp_path: Path) -> None:
    model, smoke = name.removeprefix("digits-"), BUDGETS["smoke"]["digits"]
    fields = {"network": "small", **fields}
    _, chosen = run_of("digits", model, "default", smoke, 0, tmp_path, **fields)
    config = replace(chosen.training, epochs=1, device="cuda", log_every=100)
    torch.manual_seed(0)
    minimised = build_objective(chosen, (1, 8, 8))
    batches = Watched(IMAGES, 16, chosen.model.value_range, device="cuda")
    run = RunDirectory.create(tmp_path / "run", {})
    try:
        train(minimised, build_optimizer(minimised, chosen), batches, config, run, progress=False)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert run.metrics()[-1]["step"] == 10


@pytest.mark.parametrize("order", [("cuda", "cpu"), ("cpu", "cuda")])
def test_one_process_trains_on_both(order: tuple[str, str], tmp_path: Path) -> None:
    chosen = recipe("digits-vae")
    for device in order:
        here = replace(
            chosen,
            data=replace(chosen.data, limit=64),
            training=replace(chosen.training, epochs=1, device=device),
        )
        model = train_recipe(here, tmp_path / device, progress=False)
        assert next(model.parameters()).device.type == device


@pytest.mark.parametrize("model", MODELS)
def test_studies_train_by_captured_steps(model: str, tmp_path: Path) -> None:
    path, chosen = run_of("digits", model, "default", BUDGETS["smoke"]["digits"], 0, tmp_path)
    train_once(path, chosen, progress=False)
    assert recipe_of(path).training.capture
    assert train_once(path, chosen, progress=False) == path  # as it is


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    chosen = recipe("digits-fisher")
    path = tmp_path_factory.mktemp("runs") / "run"
    small = replace(
        chosen,
        data=replace(chosen.data, limit=512),
        training=replace(chosen.training, epochs=5, device="cpu"),
    )
    train_recipe(small, path, progress=False)
    return path


def both(measure: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    there = measure()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return there, measure()


def test_a_study_measures_alike_on_both(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure() -> list[float]:
        shutil.rmtree(run / "measures", ignore_errors=True)
        own = Measures(run, Protocol(test_images=100, samples=64), tmp_path)
        scores = own.generation("refit")["refit"]
        return [point.mse for point in own.points("noise")] + [score.value for score in scores]

    there, here = both(measure, monkeypatch)
    assert there == pytest.approx(here, rel=1e-3)


def test_a_run_is_measured_alike_on_both(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, here = both(lambda: evaluate_run(run, images=100)[0], monkeypatch)
    assert [point.mse for point in there] == pytest.approx([point.mse for point in here], rel=1e-3)
    assert [point.bce for point in there] == pytest.approx([point.bce for point in here], rel=1e-3)


def test_latents_are_refined_there(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, here = both(lambda: evaluate_run(run, images=100, refine=True)[0], monkeypatch)
    assert [point.mse for point in there] == pytest.approx([point.mse for point in here], rel=1e-2)


def test_a_run_is_attacked_there(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, here = both(lambda: attack_run(run, images=50, steps=20)[0], monkeypatch)
    shifts = [[point.shift for point in points] for points in (there, here)]
    assert shifts[0] == pytest.approx(shifts[1], rel=0.05, abs=1e-3)


def test_samples_are_those_of_the_cpu(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert next(load_run(run)[0].encoder.parameters()).is_cuda
    (there, _), (here, _) = both(lambda: sample_run(run, 20), monkeypatch)
    assert there.device == here.device == torch.device("cpu")
    torch.testing.assert_close(there, here, rtol=1e-3, atol=1e-3)
