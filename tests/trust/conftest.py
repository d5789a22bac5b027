"""What every refusal of bad input is held to."""

import os
import shlex
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import datasets
import pytest

import fisherae as fae
from fisherae.cli import main

MOST_LINES = 4
SPARE_BYTES = 1 << 28


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; copy it before you damage it."""
    out = tmp_path_factory.mktemp("runs") / "digits-fisher"
    tiny = "--epochs 1 --limit 64 --batch-size 32 --device cpu"
    words = ["train", "digits-fisher", *tiny.split(), "--out", str(out)]
    assert main(words) == 0
    return out


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small saved model; copy it before you damage it."""
    path = tmp_path_factory.mktemp("models") / "model"
    encoder = fae.networks.mlp.encoder((1, 8, 8), 3, hidden=(8,), normalization="batch")
    decoder = fae.networks.mlp.decoder((1, 8, 8), 3, hidden=(8,))
    fae.Autoencoder(encoder, decoder, fae.FactorablePolynomial(3, order=4)).save(path)
    return path


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without data and without a network."""
    monkeypatch.delenv("FISHERAE_DATA", raising=False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub")
    monkeypatch.setenv("COLUMNS", "100")  # the option parser breaks lines
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that takes no files, not even root's: then one of the kernel's."""
    if os.geteuid() == 0:
        if not Path("/sys/kernel").is_dir():
            pytest.skip("root may write everywhere here")
        yield Path("/sys/kernel")
        return
    path = tmp_path_factory.mktemp("locked")
    path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    yield path
    path.chmod(stat.S_IRWXU)


@pytest.fixture
def refused(
    alone: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> Callable[..., None]:
    """Runs a command line that must end with exit code 2 and one message that says what is wrong,
    and leave every file as it was."""

    def check(line: str, says: str, prepare: Callable[[Path], None] = lambda root: None) -> None:
        if "{run}" in line:
            shutil.copytree(request.getfixturevalue("trained"), alone / "run")
        if "{locked}" in line:
            line = line.replace("{locked}", str(request.getfixturevalue("locked")))
        prepare(alone)
        before = contents(alone)
        capsys.readouterr()  # what came before
        code, by_parser = outcome(shlex.split(line.replace("{run}", "run")))
        error = capsys.readouterr().err
        assert code == 2, error
        assert "Traceback" not in error
        assert says in " ".join(error.replace("│", " ").split())
        if not by_parser:
            message = [one for one in error.splitlines() if "fisherae: warning: " not in one]
            assert message[0].startswith("fisherae: ")
            assert "fisherae: " not in "".join(message[1:])
            assert len(message) <= MOST_LINES
        assert contents(alone) == before, "files have changed"

    return check


def outcome(words: list[str]) -> tuple[object, bool]:
    """The exit code, and whether it comes from the option parser, which says things its own way."""
    try:
        return main(words), False
    except SystemExit as stop:
        return stop.code, True


def contents(root: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in root.rglob("*")}


@pytest.fixture
def frugal() -> Callable[[], object]:
    """Inside, no more memory can be had than a little."""

    @contextmanager
    def limited() -> Iterator[None]:
        if sys.platform != "linux":  # elsewhere the limit is not kept
            yield
            return
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        before = resource.getrlimit(resource.RLIMIT_AS)
        limit = pages * resource.getpagesize() + SPARE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)

    return limited
