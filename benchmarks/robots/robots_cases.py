"""Cases of real robots and their drivers, each with its right outcome: joint states, images, names, models, nodes."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

NAME = "robots-cases"
TITLE = "cases of real robots, their drivers and their users' mistakes that end as they should"
TARGET = 100.0
UNIT = "%"
BETTER = "higher"
PARTS = ("sensors", "names", "models", "nodes")


def run() -> dict[str, Any]:
    """All cases; VLA_AGENT_ROBOT_CASES names some of `PARTS`, separated by commas."""
    from benchmarks.robots.cases.case import judged
    from vla_agent.evaluation.exact_tests import clopper_pearson

    cases = all_cases(os.environ.get("VLA_AGENT_ROBOT_CASES", ",".join(PARTS)).split(","))
    wrong: list[tuple[str, str, str]] = []
    counts, right = Counter(case.kind for case in cases), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="robots-cases-") as folder:
        for number, case in enumerate(cases):
            if found := judged(case, Path(folder) / str(number)):
                wrong.append((case.kind, case.name, found))
            else:
                right[case.kind] += 1
    good, n = len(cases) - len(wrong), len(cases)
    rows = [{"asked": kind, "n": count, "good": right[kind]} for kind, count in counts.items()]
    return {
        "value": 100.0 * good / n,
        "n": n,
        "interval": [100 * x for x in clopper_pearson(good, n)],
        "seeds": [],
        "rows": rows + [{"asked": f"wrong: {kind}: {name}", "found": found} for kind, name, found in wrong],
        "notes": "Readers, tables and command lines in this process; kinds that are about nodes with the real nodes as "
        "processes, over Fast DDS.  The files of `launch` are not run here: no wheel has it; their arguments are those "
        "of `vla-agent up`.",
    }


def all_cases(parts: list[str]) -> list[Any]:
    """The cases of these parts, in order."""
    from benchmarks.robots.cases import model_cases, name_cases, node_cases, sensor_cases

    modules = dict(zip(PARTS, (sensor_cases, name_cases, model_cases, node_cases), strict=True))
    return [case for part in PARTS if part in parts for case in modules[part].CASES]
