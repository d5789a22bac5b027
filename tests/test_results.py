"""The studies of results/ run; what they find is committed beside them."""

import csv
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fisherae.autoencoder import Autoencoder
from fisherae.cli import main
from fisherae.errors import InputError
from fisherae.evaluation.robustness import RobustnessPoint
from fisherae.networks import mlp
from fisherae.priors import StandardNormal, energy
from fisherae.recipes.run import recipe_of
from fisherae.studies import models
from fisherae.studies.config import BUDGETS
from fisherae.training import loop


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_priors(
    script: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "_STEPS", 20)
    runs = []
    for name in ("digits-fisher --prior pairwise", "digits-vae"):
        runs.append(tmp_path / name.split()[0])
        words = ["train", *name.split(), "--epochs", "1", "--limit", "96", "--device", "cpu"]
        assert main([*words, "--out", str(runs[-1])]) == 0
    priors = script("priors")
    monkeypatch.setattr(priors, "MALA_STEPS", 10)
    words = [*map(str, runs), str(tmp_path / "out"), "--runs", str(tmp_path)]
    words += ["--samples", "40", "--extractor", "random-cnn"]
    monkeypatch.setattr(sys, "argv", ["priors.py", *words])
    priors.main()
    rows = rows_of(tmp_path / "out" / "scores.csv")
    assert {(row["model"], row["prior"], row["metric"]) for row in rows} == {
        (model, prior, f"{metric}[random-cnn]")
        for model in ("digits-fisher, pairwise", "digits-vae")
        for prior in ("trained", "refit", "gaussian", "pairwise", "mixture", "energy")
        for metric in ("fid", "kid")
    }
    assert {row["sampler"] for row in rows if row["prior"] in ("pairwise", "energy")} == {"mala"}
    assert "| digits-vae |" in (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")
    for figure in ("fid", "samples", "latents"):
        assert (tmp_path / "out" / f"{figure}.png").is_file()
        assert (tmp_path / "out" / f"{figure}.svg").is_file()


@pytest.mark.filterwarnings(r"ignore:.*(posterior collapse|latents tell|as trained)")
def test_wild(
    script: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wild = script("wild")
    monkeypatch.setattr(wild, "STEPS", 2)
    words = ["wild.py", str(tmp_path / "runs"), str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", [*words, "--budget", "smoke"])
    wild.main()
    page = (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")
    labels = {wild.LABELS[model] for model in wild.MODELS}
    for label in wild.OURS:
        assert f"BCE of the {label} is smaller than the VAE's under " in page
    assert {row["model"] for row in rows_of(tmp_path / "out" / "suite.csv")} == labels
    attacks = rows_of(tmp_path / "out" / "attack.csv")
    assert {(row["model"], row["perturbation"], row["level"]) for row in attacks} == {
        (model, kind, str(share))
        for model in labels
        for kind in ("random", "l2", "linf")
        for share in wild.SHARES
    }


@pytest.mark.filterwarnings(r"ignore:.*(posterior collapse|latents tell|as trained)")
def test_inference(
    script: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measures each model twice, measures it once; what the page says is what its numbers say."""
    study = script("inference")
    few = {label: study.MODELS[label] for label in study.CLOSER}
    monkeypatch.setattr(study, "MODELS", few)
    words = ["inference.py", str(tmp_path / "runs"), str(tmp_path / "out"), "--data", "digits"]
    words += ["--network", "mlp", "--epochs", "1", "--images", "40", "--budget", "smoke"]
    monkeypatch.setattr(sys, "argv", [*words, "--seeds", "0"])
    study.main()
    rows = rows_of(tmp_path / "out" / "digits-mlp.csv")
    shown = {f"σ² = {level:g}" for level in study.NOISE} | set(study.OTHERS)
    assert {(row["model"], row["latents"], row["shown"]) for row in rows} == {
        (label, kind, at) for label in few for kind in ("encoded", "refined") for at in shown
    }
    vae = {
        row["latents"]: float(row["bce"])
        for row in rows
        if (row["model"], row["shown"]) == ("VAE", study.NOISY)
    }
    page = (tmp_path / "out" / "digits-mlp.md").read_text(encoding="utf-8")
    assert f"- VAE: BCE at σ² = 1 {vae['encoded']:.3f} → {vae['refined']:.3f} (" in page
    assert {
        (row["model"], row["steps"]) for row in rows_of(tmp_path / "out/digits-mlp-steps.csv")
    } == {
        (label, str(steps))
        for label in study.CLOSER
        for steps in (0, study.STEPS, *study.OTHER_STEPS)
    }
    assert re.search(r"the CPU time of \d+ decoded images", page)
    for figure in ("refined", "front", "steps"):
        assert (tmp_path / "out" / f"digits-mlp-{figure}.svg").is_file()
    monkeypatch.setattr(
        "fisherae.studies.measures.robustness", lambda *_, **__: pytest.fail("again")
    )
    study.main()
    assert rows_of(tmp_path / "out" / "digits-mlp.csv") == rows


def test_score_fraction(
    script: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trains each part of each seed once; what it says is what its numbers say."""
    study = script("score_fraction")
    words = ["score_fraction.py", str(tmp_path / "runs"), str(tmp_path / "out"), "--data", "digits"]
    monkeypatch.setattr(sys, "argv", [*words, "--budget", "smoke"])
    study.main()
    trained = {run.parent.parent.name for run in (tmp_path / "runs").glob("*/seed-*/model")}
    assert trained == {
        "digits-fisher", *(f"digits-fisher-score-fraction-{part}" for part in (0.5, 0.25, 0.125))
    }  # fmt: skip
    rows = [
        {key: float(row[key]) for key in ("score_fraction", "level", "nmi")}
        for row in rows_of(tmp_path / "out" / "points.csv")
    ]
    full, half = (
        {
            level: fmean(r["nmi"] for r in rows if (r["score_fraction"], r["level"]) == at)
            for level in {row["level"] for row in rows}
            for at in [(part, level)]
        }
        for part in (1.0, 0.5)
    )
    changes = {level: half[level] / full[level] - 1 for level in full}
    level = max(changes, key=lambda one: abs(changes[one]))
    page = (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")
    assert f"| 0.5 of the batch | NMI | {changes[level]:+.1%} at σ² = {level:g} |" in page


def test_what_counts_in_score_fractions(script: Callable[[str], ModuleType]) -> None:
    """Means of 1 and 1.25 with deviations of 0.1 are apart, with deviations of 0.2 they are not;
    single runs tell nothing."""
    study = script("score_fraction")

    def runs(mean: float, deviation: float) -> list[list[RobustnessPoint]]:
        values = (mean - deviation, mean, mean + deviation)
        return [[RobustnessPoint(0.5, value, 0.1, 0.5, 10, 0.1, 0.1)] for value in values]

    for deviation, expected in ((0.1, True), (0.2, False)):
        points = {1.0: runs(1.0, deviation), 0.5: runs(1.25, deviation)}
        (found,) = study.summary(points, 0.5, "bce")
        assert found.change == pytest.approx(0.25)
        assert found.std == pytest.approx(deviation)
        assert found.counts is expected
    alone = {1.0: runs(1.0, 0)[:1], 0.5: runs(1.25, 0)[:1]}
    (found,) = study.summary(alone, 0.5, "bce")
    assert (found.std, found.counts) == (None, False)


def test_movement(script: Callable[[str], ModuleType]) -> None:
    """Noise only scatters what a linear encoder finds, and shifts a square by its variance."""
    study = script("encoders")
    weight = torch.randn(3, 4, 4, dtype=torch.float64)

    class Linear(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            mean = torch.einsum("nchw,dhw->nd", x, weight)
            return torch.cat([mean, torch.zeros_like(mean)], 1)

    class Square(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            mean = x.square().mean((1, 2, 3))[:, None]
            return torch.cat([mean, torch.zeros_like(mean)], 1)

    def moved(encoder: nn.Module, dim: int) -> Any:
        model = Autoencoder(encoder, mlp.decoder((1, 4, 4), dim), StandardNormal(dim))
        return study.movement(model, images, 0.25, draws=50)

    images = torch.rand(2_000, 1, 4, 4, dtype=torch.float64)
    spread = torch.einsum("nchw,dhw->nd", images, weight).var(0).sum().sqrt().item()
    linear = moved(Linear(), 3)
    length = weight.square().sum().sqrt().item()
    assert linear.scatter == pytest.approx(0.5 * length / spread, rel=0.02)
    assert linear.mean_shift < 0.1 * linear.scatter
    square = moved(Square(), 1)
    of_clean = images.square().mean((1, 2, 3)).std().item()
    assert square.mean_shift == pytest.approx(0.25 / of_clean, rel=0.02)


def test_encoders(
    script: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training of every model with every activation; the page says what the numbers say."""
    study = script("encoders")
    monkeypatch.setattr(study, "ACTIVATIONS", {"tanh": "tanh", "silu": "SiLU"})
    words = ["encoders.py", str(tmp_path / "runs"), str(tmp_path / "out"), "--data", "digits"]
    words += ["--network", "mlp", "--budget", "smoke", "--epochs", "1", "--seeds", "3"]
    monkeypatch.setattr(sys, "argv", words)
    study.main()
    rows = rows_of(tmp_path / "out" / "digits-mlp.csv")
    assert {(row["model"], row["activation"], row["seed"]) for row in rows} == {
        (model, activation, "3")
        for model in ("Fisher AE", "Denoising Fisher AE", "VAE")
        for activation in ("tanh", "SiLU")
    }
    noisy = {
        row["activation"]: float(row["bce"])
        for row in rows
        if (row["model"], row["level"]) == ("VAE", "1.0")
    }
    best = min(noisy, key=lambda name: noisy[name])
    page = (tmp_path / "out" / "digits-mlp.md").read_text(encoding="utf-8")
    assert f"least with {best}, {noisy[best]:.3f}" in page.split("## VAE")[1]
    runs = (tmp_path / "runs" / "epochs-1").iterdir()
    assert {recipe_of(run / "seed-3").model.encoder_activation for run in runs} == {"tanh", "silu"}


def test_encoders_tells_collapsed_trainings_apart(script: Callable[[str], ModuleType]) -> None:
    """Latents that nothing uses move far in units of their spread, which is none."""
    study = script("encoders")
    point = RobustnessPoint(0.0, bce=0.1, mse=0.2, nmi=0.3, images=9, bce_std=None, mse_std=0.1)
    points = dict.fromkeys(study.NOISE, point)
    moved = dict.fromkeys(study.NOISE[1:], study.Movement(0.25, 0.5))
    lost = dict.fromkeys(study.NOISE[1:], study.Movement(1e6, 1e6))
    works, collapsed = study.Trained(points, moved, 8), study.Trained(points, lost, 0)
    found = {"asinh": [works, works], "tanh": [works, collapsed], "ELU": [collapsed]}
    assert [row[-2:] for row in study.rows_of(found)] == [
        ["0.250 ± 0.000", "0.500 ± 0.000"],
        ["0.250", "0.500"],
        ["–", "–"],
    ]
    assert "mean image: 1 of 2 with tanh, 1 of 1 with ELU." in study.conclusion(found)
    labels = [text.get_text() for text in study.movements({"VAE": found}).axes[0].texts]
    assert sorted(labels) == ["VAE, asinh", "VAE, tanh"]


@pytest.mark.parametrize("activation", [None, "tanh"])
def test_length(
    script: Callable[[str], ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    activation: str | None,
) -> None:
    """A training for every length; what it concludes is what its numbers say."""
    study = script("length")
    fixed = "Fisher AE, s² = 0.1"
    monkeypatch.setattr(study, "MODELS", {name: study.MODELS[name] for name in (fixed, "VAE")})
    words = ["length.py", str(tmp_path / "runs"), str(tmp_path / "out"), "--data", "digits"]
    words += ["--budget", "smoke", "--epochs", "3", "1", "--seeds", "0", "5"]
    words += ["--encoder-activation", activation] if activation else []
    monkeypatch.setattr(sys, "argv", words)
    study.main()
    stem = tmp_path / "out" / (f"digits-mlp-{activation}" if activation else "digits-mlp")
    rows = rows_of(stem.with_suffix(".csv"))
    for run in (tmp_path / "runs" / "epochs-3").iterdir():
        assert recipe_of(run / "seed-5").model.encoder_activation == (activation or "silu")
    assert {(row["model"], row["epochs"], row["seed"]) for row in rows} == {
        (model, epochs, seed)
        for model in (fixed, "VAE")
        for epochs in ("1", "3")
        for seed in ("0", "5")
    }
    assert {row["s2"] for row in rows if row["model"] == "VAE"} == {""}
    assert {round(float(row["s2"]), 6) for row in rows if row["model"] != "VAE"} == {0.1}
    noisy = {
        epochs: fmean(
            float(row["bce"])
            for row in rows
            if (row["model"], row["epochs"], float(row["level"])) == ("VAE", epochs, 1.0)
        )
        for epochs in ("1", "3")
    }
    best = min(noisy, key=lambda epochs: noisy[epochs])
    page = stem.with_suffix(".md").read_text(encoding="utf-8")
    assert ("whose encoders have tanh" in page) == (activation == "tanh")
    assert f"VAE: the BCE at σ² = 1 is least after {best} epochs, {noisy[best]:.3f}" in page
    assert (f"; after 3 it is {noisy['3']:.3f}" in page) == (best == "1")


def test_one_length_is_no_comparison(
    script: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["length.py", str(tmp_path / "runs"), str(tmp_path / "out"), "--epochs", "2"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(InputError, match="give two lengths or more"):
        script("length").main()
    assert not list(tmp_path.iterdir())


def test_masking(
    script: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is masked, every input is the clean image."""
    study = script("masking")
    words = ["masking.py", str(tmp_path / "runs"), str(tmp_path / "out"), "--data", "digits"]
    monkeypatch.setattr(sys, "argv", [*words, "--budget", "smoke"])
    monkeypatch.setattr(study, "FRACTIONS", (0.0, 0.5))
    study.main()
    rows = rows_of(tmp_path / "out" / "errors.csv")
    assert {(row["model"], row["input"]) for row in rows} == {
        (model, shown) for model in ("Fisher AE", "VAE") for shown in study.INPUTS
    }
    clean = [row for row in rows if float(row["fraction"]) == 0]
    assert all(float(row["latent_length"]) == pytest.approx(1) for row in clean)
    errors = {(row["model"], row["seed"], row["bce"]) for row in clean}
    assert len(errors) == len({(model, seed) for model, seed, _ in errors})
    page = (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")
    assert "| Fisher AE | masked, brightened |" in page


def test_what_masking_compares(script: Callable[[str], ModuleType]) -> None:
    """A quarter of the light is gone in each: of every pixel, of a quarter of them, or given back
    to those that are left."""
    x = torch.rand(50, 1, 8, 8) + 0.1
    shown = {name: change(x, 0.25) for name, change in script("masking").INPUTS.items()}
    torch.testing.assert_close(shown["dimmed"], 0.75 * x)
    kept = shown["masked"] != 0
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.02)
    torch.testing.assert_close(shown["masked"], x * kept)
    torch.testing.assert_close(shown["masked, brightened"], x * kept / 0.75)


def test_a_study_that_is_stopped_says_how_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while it trains; the same call then goes on, without --resume."""
    chosen = models.run_of("digits", "ae", "default", BUDGETS["smoke"]["digits"], 0, tmp_path)
    entered = loop.Progress.__enter__

    def entered_and_stopped(bar: loop.Progress) -> loop.Progress:
        signal.raise_signal(signal.SIGINT)
        return entered(bar)

    with monkeypatch.context() as stopping:
        stopping.setattr(loop.Progress, "__enter__", entered_and_stopped)
        with pytest.raises(KeyboardInterrupt, match="give the same command again"):
            models.train_once(*chosen, progress=False)
    assert (models.train_once(*chosen, progress=False) / "model").is_dir()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["pareto.py", "baselines", "digits", "--models", "GAN"], "unknown model 'GAN'"),
        (["priors.py", "{folder}", "{folder}/out"], "is not a run"),
        (["corruptions.py", "{folder}", "{folder}/out"], "holds no images"),
        (["masking.py", "{folder}", "{folder}/out", "--seeds", "0", "0"], "each once"),
        (["priors.py", "{folder}", "{folder}/out", "--seeds", "0"], "name runs or seeds"),
        (["posterior.py", "{folder}", "--data", "mnist"], "give --runs too"),
        (["posterior.py", "{folder}", "--runs", "{folder}", "--steps", "2"], "leaves out"),
    ],
)
def test_what_is_wrong_is_said_without_a_traceback(
    words: list[str], complaint: str, tmp_path: Path
) -> None:
    script, *options = (word.format(folder=tmp_path) for word in words)
    done = subprocess.run(
        [sys.executable, Path(__file__).parents[1] / "results" / script, *options],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
