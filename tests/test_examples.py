"""Each example runs, and writes its figure."""

import importlib
from pathlib import Path

import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"
HELPERS = {"digits", "vae"}
NAMES = sorted({path.stem for path in EXAMPLES.glob("*.py")} - HELPERS)


@pytest.mark.parametrize("name", NAMES)
def test_runs(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    importlib.import_module(name).main(["--epochs", "1", "--out", str(tmp_path)])
    assert "Fisher AE" in capsys.readouterr().out
    with Image.open(tmp_path / f"{name}.png") as picture:
        assert min(picture.size) > 300


def test_all_are_told_of() -> None:
    text = (EXAMPLES / "README.md").read_text("utf-8")
    assert all(f"`python examples/{name}.py`" in text for name in NAMES)
    assert all((EXAMPLES / f"{name}.png").is_file() for name in NAMES)
