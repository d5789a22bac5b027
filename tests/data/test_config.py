import dataclasses
import subprocess
import sys

import pytest
import tyro

from fisherae.data.config import DataConfig
from fisherae.errors import InputError


def test_every_field_explains_itself_on_the_command_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        tyro.cli(DataConfig, args=["--help"])
    help_text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for words in ("Hugging Face", "Side of the square images", "1 (grey) or 3", "at most"):
        assert words in help_text


def test_command_line_values_arrive() -> None:
    config = tyro.cli(DataConfig, args=["--data", "celeba", "--size", "64", "--crop", "140"])
    assert dataclasses.astuple(config) == ("celeba", 64, None, 140, None)


@pytest.mark.parametrize(
    "wrong", [{"size": 0}, {"crop": -1}, {"limit": 0}, {"channels": 2}, {"channels": 0}]
)
def test_bad_numbers_are_named(wrong: dict[str, int]) -> None:
    (field, value), *_ = wrong.items()
    with pytest.raises(InputError, match=f"{field} is {value}"):
        DataConfig(**wrong)  # type: ignore[arg-type]


def test_configuration_is_read_without_torch() -> None:
    code = "import sys, fisherae.data.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
