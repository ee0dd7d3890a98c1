"""Bad input: the fraction of real mistakes that end in a typed error with a remedy, and overwrite nothing.

Every command runs in its own process and temporary folder; `badinput.case` defines the criteria.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.shared.case_results import case_result

NAME = "spine-badinput"
TITLE = "bad input that ends in a typed error: place, expected, found, remedy; no traceback, nothing overwritten"
TARGET = 1.0
UNIT = "fraction of cases"
BETTER = "higher"
MIN_CASES = 25


def run() -> dict[str, Any]:
    """Run every case once."""
    from benchmarks.inputs.badinput.case import judge
    from benchmarks.inputs.badinput.cases import CASES
    from benchmarks.inputs.badinput.good_inputs import Good

    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        good = Good(Path(folder) / "good")
        for number, case in enumerate(CASES):
            answer = judge(case, Path(folder) / f"case{number}", good, own_process=True)
            rows.append({"case": case.name, "passed": answer.passed, "faults": "; ".join(answer.faults)})
    passed = sum(row["passed"] for row in rows)
    return case_result(rows, passed, MIN_CASES, "every case runs once; nothing is sampled, so there is no interval")
