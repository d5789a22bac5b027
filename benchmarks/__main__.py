"""Run benchmarks: `python -m benchmarks [NAME ...] [--out STEM]`.

Each answers one question by ratios within one run, in processor time on one thread, and in a
process of its own, for memory that another has left behind is quicker to get. Peers are installed
by `pip install -e '.[bench]'`. With --out, a table STEM.md and the numbers STEM.json.
"""

import argparse
import dataclasses
import multiprocessing
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import sampling, startup, training
from benchmarks.table import Row
from fisherae.files import write_atomically, write_json
from fisherae.training.run import environment

BENCHMARKS: dict[str, Callable[[], list[Row]]] = {
    "start": startup.start,
    "particles": sampling.particles,
    "memory": training.memory,
    "step": training.step,
    "precision": training.precision,
    "pythae": training.pythae,
    "capture": training.capture,
    "data": training.data,
    "exact": sampling.exact,
    "svgd": sampling.svgd,
    "pyro": sampling.pyro,
    "demo": startup.demo,
}


def main() -> int:
    names = "\n".join(f"  {name:10} {run.__doc__}" for name, run in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"{__doc__}\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="all, if none is given")
    parser.add_argument("--out", type=Path, metavar="STEM")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"unknown benchmark {unknown[0]!r}; known: {', '.join(BENCHMARKS)}")
    rows = {}
    for name in options.names or BENCHMARKS:
        print(f"{name}: {BENCHMARKS[name].__doc__}", file=sys.stderr, flush=True)
        rows[name] = alone(name)
    show([row for own in rows.values() for row in own])
    if options.out:
        write(rows, options.out)
    return 0


def alone(name: str) -> list[Row]:
    how = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, how, torch.set_num_threads, (1,)) as process:
        return process.submit(BENCHMARKS[name]).result()


def show(rows: list[Row]) -> None:
    table = Table()
    for heading in HEADINGS:
        table.add_column(heading)
    for row in rows:
        table.add_row(*cells(row))
    Console().print(table)


HEADINGS = ("what", "ours", "against", "result", "target", "", "note")


def cells(row: Row) -> tuple[str, ...]:
    against = "" if row.against is None else f"{row.against:.3g} {row.unit}"
    return (
        row.what,
        f"{row.value:.3g} {row.unit}",
        against,
        f"{row.result:.3g}",
        f"≤ {row.target:.3g}",
        "✓" if row.met else "✗",
        row.note,
    )


def write(rows: dict[str, list[Row]], stem: Path) -> None:
    machine = environment()
    machine["command"] = ["python", "-m", "benchmarks", *sys.argv[1:]]
    lines = [
        "# Benchmarks",
        "",
        f"`{' '.join(machine['command'])}`, processor time on one thread of "
        f"{machine['processor']}, {machine['platform']}, torch {machine['versions']['torch']}"
        + (f", and {machine['gpu']}" if machine["gpu"] else "")
        + ".",
        "",
        "| " + " | ".join(HEADINGS) + " |",
        "|" + "---|" * len(HEADINGS),
        *("| " + " | ".join(cells(row)) + " |" for own in rows.values() for row in own),
    ]
    write_atomically(stem.with_suffix(".md"), "\n".join(lines) + "\n")
    numbers = {
        name: [{**dataclasses.asdict(row), "result": row.result, "met": row.met} for row in own]
        for name, own in rows.items()
    }
    write_json(stem.with_suffix(".json"), {"environment": machine, "benchmarks": numbers})


if __name__ == "__main__":
    sys.exit(main())
