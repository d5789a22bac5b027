"""docs/robustness.md tells the suite as it is."""

import re
from pathlib import Path

from fisherae.cli import COMMANDS
from fisherae.data.corruptions import LEVELS, SUITE

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "robustness.md").read_text("utf-8")


def test_the_table_holds_the_suite_and_its_severities() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \|.*\| ([\d., ]+) \|$", TEXT, re.MULTILINE)
    assert {name: tuple(map(float, levels.split(","))) for name, levels in rows} == {
        name: LEVELS[name][1:] for name in SUITE
    }


def test_commands_and_links_are_there() -> None:
    assert set(re.findall(r"^fisherae (\w+)", TEXT, re.MULTILINE)) <= set(COMMANDS)
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", TEXT):
        assert (ROOT / "docs" / target).exists(), target
