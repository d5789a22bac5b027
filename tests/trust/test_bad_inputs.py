"""The bad inputs, counted."""

import runpy
from pathlib import Path

TABLES = ("arrays", "command_lines", "images", "models", "runs")


def test_there_are_hundreds_of_bad_inputs_all_different() -> None:
    cases = [
        case[:2]
        for table in TABLES
        for case in runpy.run_path(str(Path(__file__).with_name(f"test_bad_{table}.py")))[
            "CASES"
        ].values()
    ]
    assert len(set(cases)) >= 400
