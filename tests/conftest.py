"""Every test runs on one torch thread and from a known seed; shapes are checked by beartype."""

import importlib.util
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest
import torch
from jaxtyping import install_import_hook

# The modules whose signatures carry shapes.
MATHEMATICS = (
    "fisherae.autoencoder",
    "fisherae.distributions",
    "fisherae.divergences",
    "fisherae.evaluation.clustering",
    "fisherae.evaluation.likelihood",
    "fisherae.evaluation.probe",
    "fisherae.evaluation.robustness",
    "fisherae.objectives.deterministic",
    "fisherae.objectives.elbo",
    "fisherae.objectives.fisher",
    "fisherae.objectives.wae",
    "fisherae.one_dimensional",
    "fisherae.priors",
    "fisherae.samplers",
)

install_import_hook(MATHEMATICS, "beartype.beartype")
torch.set_num_threads(1)
# Tests assert no times: on a busy machine any example may take long.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")
# A shell that starts the tests in the background has them ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def script() -> Callable[[str], ModuleType]:
    """Loads a study's script of results/ by its name."""

    def load(name: str) -> ModuleType:
        path = Path(__file__).parents[1] / "results" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests that take minutes too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # What takes longest begins first, lest the other processes wait for it at the end.
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)
    reasons = {}
    if not config.getoption("--slow"):
        reasons["slow"] = "takes minutes: give --slow"
    if not torch.cuda.is_available():
        reasons["gpu"] = "needs a CUDA device"
    for item in items:
        for mark, reason in reasons.items():
            if item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=reason))
