"""The floors of the house: nothing imports upwards.

distributions, divergences → priors, networks → samplers → auto-encoder → inference → objectives,
data → training, evaluation → recipes → studies → estimator, command line.
"""

import ast
from pathlib import Path

import pytest

import fisherae

PACKAGE = Path(fisherae.__file__).parent
FLOORS = [
    {"counts", "errors", "functions", "one_dimensional", "progress"},
    {"files", "distributions", "divergences"},
    {"priors", "networks"},
    {"samplers"},
    {"autoencoder"},
    {"inference"},
    {"objectives", "data"},
    {"training", "evaluation"},
    {"recipes"},
    {"studies"},
    {"estimator", "cli"},
]
FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
# Free of torch, so that the command line's help answers at once; all floors may read them.
CONFIGURATIONS = {"fisherae.data.config", "fisherae.training.config"}


def imported(path: Path) -> set[str]:
    """The modules of the package that a file names in an import, wherever it stands."""
    names = set()
    for node in ast.walk(ast.parse((PACKAGE / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name for name in names if name.startswith("fisherae.") and "__version__" not in name}


def test_every_room_has_a_floor() -> None:
    assert {path.parts[0].removesuffix(".py") for path in MODULES} - {"__init__"} == set(FLOOR)


@pytest.mark.parametrize(
    "path", [path for path in MODULES if len(path.parts) > 1 or path.stem != "__init__"], ids=str
)
def test_nothing_imports_upwards(path: Path) -> None:
    room = path.parts[0].removesuffix(".py")
    for name in imported(path):
        other = name.split(".")[1]
        if other == room or name.rpartition(".")[0] in CONFIGURATIONS:
            continue
        assert FLOOR[other] < FLOOR[room], f"{room} imports {name}, which is above it or beside it"
