"""The README's Python runs as it is printed, and its commands exist."""

import re
from pathlib import Path

from fisherae.cli import COMMANDS
from fisherae.recipes import named
from fisherae.studies.config import DATA, ITEMS

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_python_blocks_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) == 2
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(block, namespace)
    assert namespace["images"].shape == (64, 1, 28, 28)
    assert namespace["features"].shape == (1797, 8)


def test_commands_exist() -> None:
    blocks = re.findall(r"```\n(fisherae .*?)```", README, flags=re.DOTALL)
    lines = re.findall(r"^fisherae (\w+) ?(\S*)", "\n".join(blocks), flags=re.MULTILINE)
    assert {command for command, _ in lines} == set(COMMANDS)
    assert {word for command, word in lines if command == "train"} <= set(named.NAMES)
    assert {word for command, word in lines if command == "reproduce"} <= {*ITEMS, *DATA, "all"}


def test_links_and_places_exist() -> None:
    root = Path(__file__).parents[1]
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", README):
        assert (root / target).exists(), target
    for place in re.findall(r"`([\w/]+(?:\.py|/))`", README):
        assert any((base / place).exists() for base in (root, root / "src" / "fisherae")) or (
            place == "img_align_celeba/"
        ), place
