"""Every figure and table at the smoke budget, once, and again from what is kept."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fisherae.cli import main
from fisherae.recipes.config import Recipe, from_dict
from fisherae.recipes.named import Preset, recipe
from fisherae.recipes.run import load_run
from fisherae.studies import models
from fisherae.studies.config import BUDGETS, ITEMS, Budget, budgeted
from fisherae.studies.models import train_once
from fisherae.training.run import RunDirectory

# One process makes what all of these tests look at.
pytestmark = pytest.mark.xdist_group("reproduce")

PANELS = {name for name, item in ITEMS.items() if item.kind in ("panels", "priors")}


@pytest.fixture(scope="module")
def reproduced(
    tmp_path_factory: pytest.TempPathFactory, data_folder: Path
) -> tuple[Path, Path, list[str]]:
    """The runs, the output, and the command's words, after `reproduce all`."""
    folder = tmp_path_factory.mktemp("reproduce")
    runs, out = folder / "runs", folder / "out"
    words = ["reproduce", "all", "--budget", "smoke", "--runs", str(runs), "--out", str(out)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FISHERAE_DATA", str(data_folder))
        assert main(words) == 0
    return runs, out, words


def test_every_item_is_there_with_its_data(reproduced: tuple[Path, Path, list[str]]) -> None:
    _, out, _ = reproduced
    for name, item in ITEMS.items():
        for stem in (name, f"{name}-paper"):
            faces = item.data == "celeba" and item.kind == "panels"
            folder = out / item.data / "faces" if faces else out / item.data
            for suffix in ("png", "svg"):
                assert (folder / f"{stem}.{suffix}").stat().st_size > 1_000
            with (out / item.data / f"{stem}.csv").open() as file:
                rows = list(csv.DictReader(file))
            assert rows, stem


def test_the_curves_hold_every_model_seed_and_level(
    reproduced: tuple[Path, Path, list[str]],
) -> None:
    with (reproduced[1] / "mnist" / "figure-1.csv").open() as file:
        rows = list(csv.DictReader(file))
    seen = {(row["model"], row["seed"], float(row["level"])) for row in rows}
    seeds = len(BUDGETS["smoke"]["mnist"].seeds)
    assert len(seen) == len(rows) == 3 * seeds * 5
    assert {model for model, _, _ in seen} == {"Fisher AE", "VAE", "WAE-GAN"}


def test_the_reports_name_everything(reproduced: tuple[Path, Path, list[str]]) -> None:
    _, out, words = reproduced
    for data in ("mnist", "celeba"):
        page = next((out / data).rglob("report.html")).read_text(encoding="utf-8")
        for name, item in ITEMS.items():
            if item.data == data:
                assert item.title in page, name
        assert "fisherae " + " ".join(words) in page
        assert "torch" in page
        assert "not measurable at this budget" in page
        claims = json.loads((out / data / "claims.json").read_text())
        assert {claim["models"] for claim in claims} == {
            "default preset",
            "paper preset",
            "default Fisher AE, rivals of every preset",
        }
    table = (out / "celeba" / "summary.md").read_text(encoding="utf-8")
    for number in ("89.1 ± 1.1", "89.1 ± 0.9", "84.7 ± 0.8", "75.2 ± 1.0"):
        assert number in table


def test_the_summary_links_to_files_and_to_no_face(
    reproduced: tuple[Path, Path, list[str]],
) -> None:
    for data in ("mnist", "celeba"):
        folder = reproduced[1] / data
        linked = {
            line.rpartition("](")[2].rstrip(")")
            for line in (folder / "summary.md").read_text(encoding="utf-8").splitlines()
            if line.startswith("![")
        }
        assert linked
        assert all((folder / name).is_file() for name in linked)
    celeba = reproduced[1] / "celeba"
    outside = {path.stem.removesuffix("-paper") for path in celeba.glob("*.png")}
    assert not outside & PANELS
    assert not list(celeba.glob("*.html"))


def test_runs_are_at_the_budget(reproduced: tuple[Path, Path, list[str]]) -> None:
    runs = sorted(
        path.parent
        for path in reproduced[0].rglob("config.json")
        if path.parent.name.startswith("seed")
    )
    assert len(runs) == 2 * (3 * len(BUDGETS["smoke"]["mnist"].seeds) + 4)
    for run in runs:
        training = from_dict(RunDirectory.open(run).config).training
        assert training.epochs == 1
        assert f"seed-{training.seed}" == run.name


def test_again_nothing_is_trained_or_measured(
    reproduced: tuple[Path, Path, list[str]],
    data_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    runs, out, _ = reproduced
    monkeypatch.setenv("FISHERAE_DATA", str(data_folder))
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()}
    words = ["reproduce", "figure-1", "figure-5", "--runs", str(runs), "--out", str(tmp_path)]
    assert main(words) == 0
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()} == before
    assert "training" not in capsys.readouterr().out
    for name in ("mnist/figure-1", "celeba/figure-5-paper"):
        again, first = ((folder / f"{name}.csv").read_bytes() for folder in (tmp_path, out))
        assert again == first


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["figure-11"], "unknown item 'figure-11'; known: figure-1, "),
        (["figure-1", "--seeds", "-1"], "all ≥ 0"),
        (["figure-1", "--seeds", "0", "0"], "each once"),
        (["figure-1", "--seeds"], "at least one"),
        ([], "no item"),
        (["table-1", "--extractor", "inception"], "pip install 'fisherae.inception.'"),
    ],
)
def test_bad_requests_are_refused_before_any_training(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["reproduce", *words, "--runs", str(tmp_path / "runs"), "--out", str(tmp_path)]) == 2
    )
    assert message.replace(".inception.", "[inception]") in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_run_of_another_recipe_is_not_taken_for_its_own(
    reproduced: tuple[Path, Path, list[str]],
    data_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FISHERAE_DATA", str(data_folder))
    words = ["reproduce", "figure-1", "--budget", "cpu", "--runs", str(reproduced[0])]
    assert main([*words, "--seeds", "0", "--preset", "default"]) == 2
    assert "choose another directory of runs" in capsys.readouterr().err


def test_figures_of_classes_need_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "test"):
        (tmp_path / "mnist" / split).mkdir(parents=True)
        for index in range(20):
            pixels = np.full((28, 28), index, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "mnist" / split / f"{index}.png")
    monkeypatch.setenv("FISHERAE_DATA", str(tmp_path))
    words = ["reproduce", "figure-1", "figure-4", "--runs", str(tmp_path / "runs")]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    assert "figure-4: mnist has no labels" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def short() -> Recipe:
    chosen = recipe("digits-vae")
    training = replace(chosen.training, epochs=1, device="cpu")
    return replace(chosen, data=replace(chosen.data, limit=64), training=training)


@pytest.mark.parametrize("begun", [[], ["environment.json"], ["environment.json", "config.json"]])
def test_a_run_cut_off_before_its_first_checkpoint_starts_anew(
    begun: list[str], short: Recipe, tmp_path: Path
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train_once(whole, short, progress=False)
    (cut / "checkpoints").mkdir(parents=True)
    for name in begun:
        shutil.copy(whole / name, cut / name)
    train_once(cut, short, progress=False)
    model = "model/model.safetensors"
    assert (cut / model).read_bytes() == (whole / model).read_bytes()


def test_a_model_half_written_is_finished(short: Recipe, tmp_path: Path) -> None:
    run = train_once(tmp_path / "run", short, progress=False)
    (run / "model" / "config.json").unlink()
    train_once(run, short, progress=False)
    load_run(run)


@pytest.mark.filterwarnings("always:.* is left out")
def test_a_seed_that_diverges_is_left_out(
    data_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def reckless(name: str, preset: Preset, budget: Budget, seed: int) -> Recipe:
        chosen = budgeted(name, preset, budget, seed)
        rate = 1e30 if seed == 1 else chosen.training.learning_rate
        training = replace(chosen.training, learning_rate=rate, clip=None)
        return replace(chosen, training=training)

    monkeypatch.setenv("FISHERAE_DATA", str(data_folder))
    monkeypatch.setattr(models, "budgeted", reckless)
    words = ["reproduce", "figure-7", "--preset", "default", "--runs", str(tmp_path / "runs")]
    assert main([*words, "--out", str(tmp_path / "out"), "--seeds", "0", "1"]) == 0
    assert "mnist-vae/seed-1 is left out" in capsys.readouterr().err
    with (tmp_path / "out" / "mnist" / "figure-7.csv").open() as file:
        assert {row["seed"] for row in csv.DictReader(file)} == {"0"}
    assert main([*words, "--out", str(tmp_path / "none"), "--seeds", "1"]) == 1
    assert "every training diverged" in capsys.readouterr().err
