import dataclasses
import math
import subprocess
import sys
from typing import Any

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
    for words in (
        "Hugging Face",
        "Side of the square images",
        "1 (grey) or 3",
        "at most",
        "never sees",
    ):
        assert words in help_text


def test_command_line_values_arrive() -> None:
    config = tyro.cli(DataConfig, args=["--data", "celeba", "--size", "64", "--crop", "140"])
    assert dataclasses.astuple(config) == ("celeba", 64, None, 140, None, None, 0.0, 1.0)
    words = ["--corruption", "mask", "--corruption-level", "0.2", "--corrupted-share", "0.5"]
    assert dataclasses.astuple(tyro.cli(DataConfig, args=words))[5:] == ("mask", 0.2, 0.5)


@pytest.mark.parametrize(
    "wrong", [{"size": 0}, {"crop": -1}, {"limit": 0}, {"channels": 2}, {"channels": 0}]
)
def test_bad_numbers_are_named(wrong: dict[str, int]) -> None:
    (field, value), *_ = wrong.items()
    with pytest.raises(InputError, match=f"{field} is {value}"):
        DataConfig(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"corruption": "dew", "corruption_level": 0.1}, "unknown corruption 'dew'; known: noise"),
        ({"corruption": "noise"}, "corruption_level 0 changes nothing"),
        ({"corruption": "noise", "corruption_level": -1.0}, "corruption_level is -1"),
        ({"corruption": "noise", "corruption_level": math.inf}, "corruption_level is inf"),
        ({"corruption": "noise", "corruption_level": 1, "corrupted_share": 1.1}, "share is 1.1"),
        ({"corruption": "noise", "corruption_level": 1, "corrupted_share": -0.1}, "share is -0.1"),
        ({"corruption_level": 0.1}, "name the corruption"),
        ({"corrupted_share": 0.5}, "name the corruption"),
    ],
)
def test_bad_contamination_is_named(wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        DataConfig(**wrong)


def test_configuration_is_read_without_torch() -> None:
    code = "import sys, fisherae.data.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
