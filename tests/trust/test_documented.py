"""Each promise of docs/trust.md names a test that there is."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from fisherae.recipes.run import load_run

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "trust.md").read_text("utf-8")
ROWS = [line for line in TEXT.splitlines() if line.startswith("| ")][1:]


def functions_of(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(tests/[^`]*::[^`]*)`", TEXT))))
def test_the_test_is_there(name: str) -> None:
    file, test = name.split("::")
    assert test in functions_of(file)


def test_every_row_has_one() -> None:
    assert len(ROWS) > 20
    assert all(re.search(r"\| `tests/\S+::test_\w+` \|$", row) for row in ROWS)


def test_a_model_of_a_checkpoint(trained: Path) -> None:
    """The example, with a run and a step that there are."""
    (example,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    step = max((trained / "checkpoints").iterdir()).name
    example = example.replace("runs/digits-fisher", str(trained)).replace("step-00000540", step)
    names: dict[str, Any] = {}
    exec(example, names)
    last, _ = load_run(trained)
    x = torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(names["model"].encode(x).mean, last.encode(x).mean)
