"""The command line, as a user meets it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import fisherae as fae
from fisherae.cli import COMMANDS, exit_code, main
from fisherae.data.corruptions import SUITE
from fisherae.recipes import named
from fisherae.recipes.evaluate import refined_run
from fisherae.recipes.run import load_run

TINY = ["--epochs", "1", "--limit", "64", "--batch-size", "32", "--device", "cpu"]


def run(*words: object) -> int:
    """The exit code, also where the option parser exits by itself."""
    try:
        return main([str(word) for word in words])
    except SystemExit as stop:
        return int(stop.code or 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "digits-fisher"
    assert run("train", "digits-fisher", *TINY, "--out", out) == 0
    return out


def test_help_answers_without_torch() -> None:
    """Not only --help itself: the help of a recipe with all its fields as well."""
    code = (
        "import sys; from fisherae.cli import main\n"
        "for words in (['--help'], ['train', '--help'], ['train', 'mnist-fisher', '--help'], "
        "['sample', '--help'], ['evaluate', '--help'], ['demo', '--help']):\n"
        "    try: main(words)\n"
        "    except SystemExit as stop: assert not stop.code\n"
        "heavy = {'torch', 'numpy', 'sklearn', 'matplotlib', 'datasets'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_names_every_command_and_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == run("--help") == run("train") == 0
    printed = capsys.readouterr().out
    for name in (*COMMANDS, *named.NAMES):
        assert name in printed


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.strip() == fae.__version__


def test_run_directory_holds_everything(trained: Path) -> None:
    config = json.loads((trained / "config.json").read_text())
    assert config["family"] == "fisher"
    assert config["training"]["epochs"] == 1
    assert config["data"]["limit"] == 64
    environment = json.loads((trained / "environment.json").read_text())
    assert environment["versions"]["fisherae"] == fae.__version__
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    terms = {"posterior", "reconstruction", "stability", "total", "grad_norm"}
    assert terms <= lines[0].keys()
    assert "validation/mse" in lines[-1]
    assert fae.load(trained / "model").dim == 8


def test_evaluate(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("evaluate", trained, "--levels", "0", "0.5", "--images", "50")
    assert run(*words) == 0
    assert "variance" in capsys.readouterr().out
    written = json.loads((trained / "robustness-noise.json").read_text())
    assert [point["level"] for point in written["points"]] == [0.0, 0.5]
    assert all(point["images"] == 50 for point in written["points"])
    for suffix in ("csv", "png", "svg"):
        assert (trained / f"robustness-noise.{suffix}").stat().st_size > 0
    assert run("evaluate", trained, "--corruption", "mask", "--images", "50") == 0
    assert (trained / "robustness-mask.json").exists()


def test_evaluate_refined(trained: Path) -> None:
    """Beside what the encoder alone does, which stays; on clean images the search explains more."""
    words = ("evaluate", trained, "--levels", "0", "0.5", "--images", "50")
    assert run(*words) == 0
    alone = (trained / "robustness-noise.json").read_text()
    assert run(*words, "--refine") == 0
    assert (trained / "robustness-noise.json").read_text() == alone
    refined = json.loads((trained / "robustness-noise-refined.json").read_text())
    assert refined["points"][0]["mse"] < json.loads(alone)["points"][0]["mse"]
    assert (refined["refined"], json.loads(alone)["refined"]) == (True, False)
    assert run("evaluate", trained, "--corruption", "suite", "--images", "10", "--refine") == 0
    suite = json.loads((trained / "robustness-suite-refined.json").read_text())
    assert suite["refined"]
    clean = {point["mse"] for point in suite["points"] if point["severity"] == 0}
    assert run("evaluate", trained, "--corruption", "fog", "--images", "10", "--refine") == 0
    fog = json.loads((trained / "robustness-fog-refined.json").read_text())["points"]
    assert clean == {fog[0]["mse"]}


def test_a_refitted_prior_goes_where_the_networks_are(trained: Path) -> None:
    """A run is loaded with its networks on the GPU and its prior on the CPU; `meta` stands for the
    one here, where no number is computed."""
    model = load_run(trained)[0]
    model.encoder.to("meta")
    model.decoder.to("meta")
    z = torch.empty(3, model.dim, device="meta")
    assert refined_run(trained, model).prior.log_density(z).device == torch.device("meta")


def test_evaluate_under_the_suite(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", trained, "--corruption", "suite", "--images", "40") == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in SUITE)
    written = json.loads((trained / "robustness-suite.json").read_text())
    assert {point["corruption"] for point in written["points"]} == set(SUITE)
    assert [point["severity"] for point in written["points"]] == 15 * [0, 1, 2, 3, 4, 5]
    fog = [point for point in written["points"] if point["corruption"] == "fog"]
    assert run("evaluate", trained, "--corruption", "fog", "--images", "40") == 0
    alone = json.loads((trained / "robustness-fog.json").read_text())["points"]
    assert [{**point, "corruption": "fog"} for point in alone] == [
        {key: value for key, value in point.items() if key != "severity"} for point in fog
    ]
    for suffix in ("csv", "png", "svg"):
        assert (trained / f"robustness-suite.{suffix}").stat().st_size > 0


def test_attack(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("attack", trained, "--images", "40", "--steps", "5", "--restarts", "1")
    assert run(*words) == 0
    assert "shift" in capsys.readouterr().out
    written = json.loads((trained / "attack-l2-latent.json").read_text())
    # Shares of the range for each of 64 components.
    assert [point["level"] for point in written["points"]] == [0.0, 0.2, 0.4, 0.8, 1.6]
    shifts = [point["shift"] for point in written["points"]]
    assert shifts[0] == 0
    assert shifts == sorted(shifts)
    assert run(*words, "--norm", "linf", "--target", "reconstruction", "--radii", "0.1") == 0
    assert (trained / "attack-linf-reconstruction.png").stat().st_size > 0


def test_sample(trained: Path) -> None:
    assert run("sample", trained, "--n", "5", "--seed", "3") == 0
    first = np.load(trained / "samples.npy")
    assert first.shape == (5, 1, 8, 8)
    with Image.open(trained / "samples.png") as picture:
        assert min(picture.size) > 100
    assert run("sample", trained, "--n", "5", "--seed", "3") == 0
    assert np.array_equal(np.load(trained / "samples.npy"), first)
    assert run("sample", trained, "--n", "5", "--seed", "4", "--prior", "trained") == 0
    assert not np.array_equal(np.load(trained / "samples.npy"), first)


def test_resume_goes_on_to_more_epochs(tmp_path: Path) -> None:
    """Two epochs at once, or one and then one more: the same weights."""
    tiny = ["train", "digits-fisher", *TINY]
    assert run(*tiny, "--epochs", "2", "--out", tmp_path / "once") == 0
    assert run(*tiny, "--out", tmp_path / "twice") == 0
    resume = ["train", "digits-fisher", "--out", tmp_path / "twice", "--resume"]
    assert run(*resume, "--epochs", "2") == 0
    config = json.loads((tmp_path / "twice" / "config.json").read_text())
    assert config["training"]["epochs"] == 2
    assert config["name"] == "digits-fisher"
    environment = json.loads((tmp_path / "twice" / "environment.json").read_text())
    assert len(environment["resumed"]) == 1
    weights = [
        (tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("once", "twice")
    ]
    assert weights[0] == weights[1]


def test_resume_of_all_epochs_says_so_and_of_fewer_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert run("train", "digits-fisher", *TINY, "--epochs", "2", "--out", out) == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    resume = ["train", "digits-fisher", "--out", out, "--resume"]
    assert run(*resume, "--epochs", "1") == 2
    assert "was trained for 2 epochs, and cannot be taken back to 1" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before
    assert run(*resume) == 0
    assert f"{out} had all of its 2 epochs" in capsys.readouterr().out


def test_presets_do_not_share_a_default_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines of --help and of the README, one after the other."""
    monkeypatch.chdir(tmp_path)
    assert run("train", "digits-fisher", *TINY) == 0
    assert run("train", "digits-fisher", "--preset", "paper", *TINY) == 0
    assert run("train", "digits-fisher", "--preset", "paper", "--resume") == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        "digits-fisher",
        "digits-fisher-paper",
    ]


@pytest.mark.parametrize("name", [n for n in named.NAMES if n.startswith("digits")])
@pytest.mark.parametrize("preset", ["default", "paper"])
def test_every_digits_recipe_trains(name: str, preset: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert run("train", name, "--preset", preset, *TINY, "--out", out) == 0
    assert run("sample", out, "--n", "4") == 0
    assert run("evaluate", out, "--levels", "0.1", "--images", "40") == 0


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    assert run("demo", "--out", out, "--epochs", "1") == 0
    report = (out / "report.html").read_text()
    assert str((out / "report.html").resolve()) in capsys.readouterr().out
    for name in ("Fisher AE", "VAE", "WAE-GAN"):
        assert name in report
    # Four measures under noise and under masking, three reconstructions, samples, three trainings.
    assert report.count("<img") == 15
    assert (
        run("demo", "--out", out, "--seed", "-1") == run("demo", "--out", out, "--epochs", "0") == 2
    )
    assert (out / "report.html").read_text() == report, "nothing is lost to a typing error"
    assert run("demo", "--out", out, "--epochs", "1") == 0  # replaces its own
    (out / "thesis.txt").write_text("mine")
    assert run("demo", "--out", out, "--epochs", "1") == 2
    assert (out / "thesis.txt").read_text() == "mine"


def test_demo_takes_nobody_elses_runs_for_its_own(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    (out / "digits-fisher").mkdir(parents=True)
    (out / "digits-fisher" / "config.json").write_text("{}")
    assert run("demo", "--out", out) == 2
    assert (out / "digits-fisher" / "config.json").read_text() == "{}"


def test_real_process_prints_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fisherae.cli", "train", "digits-vae", "--dim", "0"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("fisherae: ")
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes.",
        "DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes.",
        "CUDA out of memory. Tried to allocate 8.00 GiB.",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ],
)
def test_too_little_memory_in_all_of_torchs_words(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise RuntimeError(words)

    assert exit_code(command) == 2
    assert "not enough memory" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["--help", "--version", "train --help"])
def test_nobody_reads_what_is_printed(words: str) -> None:
    """As in `fisherae … | head`: it ends, without a word."""
    command = [sys.executable, "-m", "fisherae.cli", *words.split()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
