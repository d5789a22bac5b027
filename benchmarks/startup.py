"""How long a user waits before anything happens."""

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.table import Row

__all__ = ["demo", "start"]


_IMPORTS = "import torch, sklearn.datasets, fisherae; fisherae.Autoencoder"
_BATCH = """
from fisherae.data.images import Batches
from fisherae.data.sources import load
print(next(Batches(load("digits", "train").images, 128).epoch(0)).shape)
"""


def start() -> list[Row]:
    """Help, import and the first batch, in fresh processes."""
    commands: dict[str, tuple[str, ...]] = {
        "help": ("-m", "fisherae.cli", "--help"),
        "torch": ("-c", "import torch"),
        # The first name that is asked for brings everything.
        "fisherae": ("-c", "import torch, fisherae; fisherae.Autoencoder"),
        "imports": ("-c", _IMPORTS),
        "batch": ("-c", _IMPORTS + _BATCH),
    }
    # In turn, and the least of each: what else the machine does only adds to these seconds.
    rounds = [
        {name: processor_seconds(*words) for name, words in commands.items()} for _ in range(5)
    ]
    seconds = {name: min(one[name] for one in rounds) for name in commands}
    beyond = seconds["fisherae"] - seconds["torch"]
    note = f"of which torch {seconds['torch']:.2g} s; scikit-learn, which has the digits, is dear"
    return [
        Row("fisherae --help", seconds["help"], None, "s", 0.3),
        Row("import fisherae, beyond import torch", beyond, None, "s", 0.3),
        Row(
            "first batch of digits / imports", seconds["batch"], seconds["imports"], "s", 1.1, note
        ),
    ]


def demo() -> list[Row]:
    """`make demo` after set-up."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "demo"
        seconds = processor_seconds("-m", "fisherae.cli", "demo", "--out", str(out))
    return [Row("fisherae demo", seconds, None, "s", 90)]


def processor_seconds(*arguments: str) -> float:
    """User and system time of a Python process on one thread."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
