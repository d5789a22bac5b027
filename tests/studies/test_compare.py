"""Any runs side by side."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fisherae.autoencoder import decoded
from fisherae.cli import main
from fisherae.evaluation.clustering import kmeans_nmi
from fisherae.evaluation.robustness import posterior_means
from fisherae.recipes.run import load_run
from fisherae.studies.compare import grouped
from fisherae.studies.measures import Measures, Protocol

TINY = ["--epochs", "1", "--limit", "64", "--batch-size", "32", "--device", "cpu"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A Fisher AE with two seeds, and a VAE."""
    folder = tmp_path_factory.mktemp("runs")
    recipes = {"a": "digits-fisher --seed 0", "b": "digits-fisher --seed 1", "c": "digits-vae"}
    for name, words in recipes.items():
        assert main(["train", *words.split(), *TINY, "--out", str(folder / name)]) == 0
    return [folder / name for name in recipes]


def test_compare_writes_a_report_and_the_data(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "compare"
    words = ["compare", *map(str, runs), "--out", str(out), "--images", "50", "--samples", "20"]
    assert main([*words, "--extractor", "random-cnn", "--suite"]) == 0
    printed = capsys.readouterr().out
    assert "digits-fisher" in printed
    assert "digits-vae" in printed
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "fid[random-cnn]: 20 samples against 50 test images" in page
    assert "biased" in page
    assert "linear probe" in page
    with (out / "noise.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["model"], row["seed"]) for row in rows} == {
        ("digits-fisher", "0"),
        ("digits-fisher", "1"),
        ("digits-vae", "0"),
    }
    assert all(row["images"] == "50" for row in rows)
    assert (out / "mask-mse.svg").is_file()
    assert "mCE" in printed
    assert "Corruption suite" in page
    with (out / "suite.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3 * 15 * 6
    assert (out / "suite-probe-map.png").is_file()
    assert (out / "generation.csv").is_file()


def test_report_is_one_page(runs: list[Path], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert main(["report", str(runs[2]), "--images", "50", "--out", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "digits-vae" in text
    assert 'src="data:' in text
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_runs_with_other_test_images_are_not_compared(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same folder at the same size, but cropped otherwise."""
    for split in ("train", "test"):
        (tmp_path / "images" / split).mkdir(parents=True)
        for index in range(40):
            pixels = np.random.default_rng(index).integers(0, 256, (32, 32), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / split / f"{index}.png")
    words = ["train", "digits-vae", *TINY, "--limit", "32", "--data", str(tmp_path / "images")]
    for crop in ("16", "32"):
        out = str(tmp_path / crop)
        assert main([*words, "--size", "8", "--crop", crop, "--out", out]) == 0
    both = [str(tmp_path / crop) for crop in ("16", "32")]
    assert main(["compare", *both, "--out", str(tmp_path / "out")]) == 2
    assert "same data, size and crop" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_runs_that_differ_by_their_seed_are_one_model(runs: list[Path]) -> None:
    assert grouped(runs) == {"digits-fisher": runs[:2], "digits-vae": runs[2:]}


def test_other_settings_make_another_model(runs: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "wide"
    words = ["train", "digits-fisher", *TINY, "--dim", "4", "--out", str(other)]
    assert main(words) == 0
    assert list(grouped([runs[0], other])) == [runs[0].as_posix(), other.as_posix()]


def test_measures_are_those_of_the_model_and_kept(runs: list[Path], tmp_path: Path) -> None:
    protocol = Protocol(test_images=60, map_images=30)
    measures = Measures(runs[0], protocol, tmp_path)
    points = measures.points("noise")
    model, _ = load_run(runs[0])
    x, labels = measures.images, measures.test.labels
    assert labels is not None
    assert points[0].mse == pytest.approx((model.reconstruct(x) - x).square().mean().item())
    assert points[0].nmi == kmeans_nmi(posterior_means(model, x), labels, 0)
    maps = measures.maps()
    assert points[1].nmi_tsne == kmeans_nmi(maps[points[1].level], labels[:30], 0)
    kept = {path: path.stat().st_mtime_ns for path in (runs[0] / "measures").iterdir()}
    assert Measures(runs[0], protocol, tmp_path).points("noise") == points
    assert {path: path.stat().st_mtime_ns for path in (runs[0] / "measures").iterdir()} == kept
    fewer = Measures(runs[0], Protocol(test_images=20), tmp_path).points("noise")
    assert fewer[0].images == 20
    assert kept.keys() < set((runs[0] / "measures").iterdir())  # beside the others
    assert Measures(runs[0], protocol, tmp_path).points("noise") == points


def test_a_damaged_measurement_is_made_again(runs: list[Path], tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(runs[0], copy, ignore=shutil.ignore_patterns("measures"))
    protocol = Protocol(test_images=20)
    points = Measures(copy, protocol, tmp_path).points("mask")
    (kept,) = (copy / "measures").glob("robustness-mask-*.json")
    for damage in ("{", "[]", "{}"):
        kept.write_text(damage)
        assert Measures(copy, protocol, tmp_path).points("mask") == points


def test_another_models_measures_are_not_taken(runs: list[Path], tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(runs[0], copy)
    first = Measures(copy, Protocol(test_images=20), tmp_path).points("mask")
    shutil.rmtree(copy / "model")
    shutil.copytree(runs[1] / "model", copy / "model")
    assert Measures(copy, Protocol(test_images=20), tmp_path).points("mask") != first


def test_svgd_draws_in_sets_and_every_prior_draws(runs: list[Path], tmp_path: Path) -> None:
    measures = Measures(runs[0], Protocol(samples=300, svgd_steps=2), tmp_path)
    for name, draw in measures.priors().items():
        z = draw(7)
        assert z.shape == (7, 8), name
        assert torch.equal(z, draw(7)), name
        assert decoded(measures.model, z).shape == (7, 1, 8, 8)
    assert len(measures.priors()["svgd"](300)) == 300  # two sets of 256, cut
    assert torch.equal(measures.priors()["svgd"](300)[:7], measures.priors()["svgd"](7))
    assert set(Measures(runs[2], Protocol(), tmp_path).priors()) == {"refit", "mixture", "trained"}
    protocol = Protocol(further_priors=("pairwise",))
    draws = Measures(runs[2], protocol, tmp_path).priors()
    assert set(draws) == {"refit", "mixture", "trained", "pairwise"}
    assert draws["pairwise"](7).shape == (7, 8)


def test_runs_that_do_not_go_together(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unfinished = tmp_path / "unfinished"
    shutil.copytree(runs[0], unfinished, ignore=shutil.ignore_patterns("model"))
    shutil.copytree(runs[0], tmp_path / "copy")
    for words, message in (
        ([runs[0], runs[0]], "named twice"),
        ([runs[0], tmp_path / "copy"], "are one training: the same model with seed"),
        ([unfinished], "no trained model yet"),
        ([tmp_path / "nothing"], "is not a run"),
        ([runs[0], "--images", "0"], "at least one image"),
        ([runs[0], "--images", "20", "--samples", "3"], "at least 4"),
        ([runs[0], "--extractor", "vgg", "--images", "9"], "extractor 'vgg' is not known"),
        ([], "name at least one run"),
    ):
        out = tmp_path / "out"
        assert main(["compare", *map(str, words), "--out", str(out)]) == 2, message
        assert message in capsys.readouterr().err
