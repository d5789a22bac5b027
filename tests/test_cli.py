"""The command line, as a user meets it."""

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fisherae as fae
from fisherae.cli import COMMANDS, main
from fisherae.recipes import named

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


# Bad input: what is given, and what the one message must name. A case may prepare files.


def idx(path: Path, declared: tuple[int, ...], data: bytes) -> None:
    path.write_bytes(
        struct.pack(f">BBBB{len(declared)}I", 0, 0, 8, len(declared), *declared) + data
    )


def mnist_without_labels(root: Path) -> None:
    idx(root / "train-images-idx3-ubyte", (2, 28, 28), bytes(2 * 784))


def truncated_mnist(root: Path) -> None:
    idx(root / "train-images-idx3-ubyte", (2, 28, 28), bytes(784))
    idx(root / "train-labels-idx1-ubyte", (2,), bytes(2))


def no_images(root: Path) -> None:
    (root / "readme.txt").write_text("no images here")


def corrupt_image(root: Path) -> None:
    for i in range(20):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(root / f"{i:02}.png")
    (root / "07.png").write_bytes(b"not a picture")


def pictures(root: Path) -> None:
    for i in range(20):
        Image.fromarray(np.full((8, 8), i, np.uint8)).save(root / f"{i:02}.png")


def nothing(root: Path) -> None:
    pass


BAD_TRAININGS: dict[str, tuple[Callable[[Path], None], list[str], str]] = {
    "unknown recipe": (nothing, ["mnist-fishr"], "unknown recipe 'mnist-fishr'; known: digits-fi"),
    "unknown preset": (nothing, ["digits-vae", "--preset", "papr"], "papr"),
    "unknown field": (nothing, ["digits-vae", "--latents", "3"], "--latents"),
    "not a number": (nothing, ["digits-vae", "--epochs", "many"], "many"),
    "no epochs": (nothing, ["digits-vae", "--epochs", "0"], "epochs is 0"),
    "negative rate": (nothing, ["digits-vae", "--learning-rate", "-1"], "learning_rate is -1"),
    "NaN rate": (nothing, ["digits-vae", "--learning-rate", "nan"], "learning_rate is nan"),
    "no latents": (nothing, ["digits-vae", "--dim", "0"], "dim must be a positive integer"),
    "variance": (nothing, ["digits-fisher", "--variance", "0"], "variance must be a positive"),
    "order": (nothing, ["digits-fisher", "--order", "1"], "order must be an integer of at least 2"),
    "score fraction": (nothing, ["digits-fisher", "--score-fraction", "2"], "score_fraction"),
    "unknown variant": (nothing, ["digits-fisher", "--variant", "fast"], "fast"),
    "weight": (nothing, ["digits-wae-gan", "--weight", "0"], "weight λ must be positive"),
    "adversary's rate": (
        nothing,
        ["digits-wae-gan", "--adversary-learning-rate", "-1"],
        "adversary_learning_rate must be positive",
    ),
    "preset without a value": (nothing, ["digits-vae", "--preset"], "--preset"),
    "Bernoulli in [-1, 1]": (
        nothing,
        [
            "celeba-vae",
            "--likelihood",
            "bernoulli",
            "--data",
            "digits",
            "--size",
            "8",
            "--channels",
            "1",
            "--crop",
            "None",
        ],
        "needs pixels in [0, 1]",
    ),
    "a batch of one": (
        nothing,
        ["digits-vae", "--preset", "paper", "--batch-size", "1"],
        "batch_size of at least 2",
    ),
    "folder with a typing error": (
        nothing,
        ["digits-vae", "--data", "data/mnits"],
        "there is no folder data/mnits",
    ),
    "limit": (nothing, ["digits-fisher", "--limit", "0"], "limit is 0"),
    "GPU": (nothing, ["digits-fisher", "--device", "tpu"], "tpu"),
    "images of another shape": (nothing, ["mnist-fisher", "--data", "digits"], "(1, 28, 28)"),
    "sides not divisible": (
        pictures,
        ["digits-fisher", "--data", "{root}", "--network", "small", "--size", "10"],
        "divisible by 4",
    ),
    "size of arrays": (nothing, ["digits-fisher", "--size", "16"], "size 16"),
    "channels": (nothing, ["digits-fisher", "--channels", "2"], "channels is 2"),
    "no such data": (nothing, ["digits-fisher", "--data", "digit"], "there is no data 'digit'"),
    "hub without network": (nothing, ["mnist-vae", "--data", "someone/something"], "someone/"),
    "labels missing": (mnist_without_labels, ["mnist-vae", "--data", "{root}"], "train-labels"),
    "truncated IDX": (truncated_mnist, ["mnist-vae", "--data", "{root}"], "train-images"),
    "no images": (no_images, ["digits-vae", "--data", "{root}"], "no images"),
    "corrupt image": (corrupt_image, ["digits-vae", "--data", "{root}"], "07.png"),
    "crop": (pictures, ["digits-vae", "--data", "{root}", "--crop", "9", "--size", "4"], "crop 9"),
    "no run to resume": (nothing, ["digits-vae", "--resume"], "is not a run"),
}


@pytest.mark.parametrize("case", BAD_TRAININGS)
def test_bad_training(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare, words, message = BAD_TRAININGS[case]
    root, out = tmp_path / "data", tmp_path / "run"
    root.mkdir()
    prepare(root)
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in offline.items():
            patch.setenv(name, value)
        words = [word.format(root=root) for word in words]
        assert run("train", *words, "--out", out) == 2
    error = " ".join(capsys.readouterr().err.split())  # the option parser breaks lines
    assert message in error
    assert "Traceback" not in error
    assert not out.exists(), "something was left behind"


def test_bad_words(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "config.json").write_text((trained / "config.json").read_text())
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "config.json").write_text('{"family": "fisher", ')
    mistyped = tmp_path / "mistyped"
    mistyped.mkdir()
    config = json.loads((trained / "config.json").read_text())
    config["training"]["learning_rate"] = "fast"
    (mistyped / "config.json").write_text(json.dumps(config))
    junk = tmp_path / "junk"
    shutil.copytree(trained, junk)
    (junk / "latents.safetensors").write_bytes(b"junk")
    for words, message in (
        (["tarin"], "unknown command 'tarin'; known: demo, train"),
        (["train", "digits-fisher", *TINY, "--out", trained], "already exists"),
        (["train", "digits-fisher", "--resume", "--out", trained, "--dim", "3"], "dim = 8, not 3"),
        (
            ["train", "digits-vae", "--resume", "--out", trained],
            "was started as 'digits-fisher', not 'digits-vae'",
        ),
        (
            ["train", "digits-fisher", "--preset", "paper", "--resume", "--out", trained],
            "not 'digits-fisher --preset paper'",
        ),
        (["train", "digits-fisher", "--out", damaged / "config.json" / "run"], "Not a directory"),
        (["sample", tmp_path], "is not a run"),
        (["sample", mistyped], "training: a value of a wrong type"),
        (["sample", junk], "not the latents of a run"),
        (["sample", unfinished], "no trained model yet"),
        (["sample", damaged], "not a readable JSON file"),
        (["sample", trained, "--n", "0"], "at least one image"),
        (["sample", trained, "--method", "magic"], "magic"),
        (["evaluate", tmp_path / "nowhere"], "is not a run"),
        (["evaluate", trained, "--levels", "-1"], "noise variance is -1"),
        (["evaluate", trained, "--corruption", "mask", "--levels", "2"], "fraction is 2"),
        (["evaluate", trained, "--images", "0"], "at least one image"),
        (["evaluate", trained, "--images", "-350"], "at least one image"),
        (["evaluate", trained, "--seed", "-1"], "seed ≥ 0"),
        (["sample", trained, "--seed", "-1"], "seed ≥ 0"),
        (["evaluate", trained, "--corruption", "rain"], "rain"),
    ):
        assert run(*words) == 2, words
        error = capsys.readouterr().err
        assert message in error, words
        assert "Traceback" not in error


def test_weights_of_another_architecture(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", "digits-fisher", *TINY, "--dim", "3", "--out", tmp_path / "other") == 0
    other = tmp_path / "other"
    weights = (trained / "model" / "model.safetensors").read_bytes()
    (other / "model" / "model.safetensors").write_bytes(weights)
    assert run("sample", other) == 2
    assert "weights of another architecture" in capsys.readouterr().err


def test_diverging_training_says_where_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = ["train", "digits-fisher", *TINY, "--learning-rate", "1e30", "--clip", "None"]
    assert run(*words, "--epochs", "3", "--out", out) == 1
    error = capsys.readouterr().err
    assert "step" in error
    assert "last good checkpoint is kept" in error
    assert any((out / "checkpoints").iterdir())


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
