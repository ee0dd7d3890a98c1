"""What somebody else's environment costs: lines of its adapter; and what the checker finds in faulty ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

NAME = "open-env"
TITLE = "Planted faults of environments that `vla-agent env check` names as what they are"
TARGET = 100.0
UNIT = "% of the faults"
BETTER = "higher"
LINES = 120  # of an adapter, at most
ADAPTERS = ("metaworld.py", "metaworld_demonstrations.py", "libero.py", "pusht.yaml", "squares.yaml")


def run() -> dict[str, Any]:
    """Check the sound environment and every faulty one; count the lines of the adapters."""
    from benchmarks.open.planted_environments import FAULTS, Sound
    from vla_agent.environments import adapters
    from vla_agent.environments.check.check import check
    from vla_agent.environments.opening import open_environment
    from vla_agent.evaluation.success_statistics import wilson

    folder = Path(str(adapters.__file__)).parent
    lines = {name: len((folder / name).read_text(encoding="utf-8").splitlines()) for name in ADAPTERS}
    rows: list[dict[str, Any]] = []
    for fault, expected in FAULTS.items():
        findings = check(lambda fault=fault: Sound(fault))  # type: ignore[misc]  # a bound default
        named = [finding.check for finding in findings]
        rows.append({"fault": fault, "check": expected, "found": expected in named, "findings": len(findings)})
    false = len(check(Sound)) + len(check(lambda: open_environment("squares", {}).environment))
    found = sum(row["found"] for row in rows)
    low, high = wilson(found, len(rows))
    return {
        "value": 100.0 * found / len(rows),
        "n": len(rows),
        "interval": [100 * low, 100 * high],
        "seeds": [1000],
        "rows": rows,
        "passed": found == len(rows) and false == 0 and max(lines.values()) <= LINES,
        "notes": (
            f"Findings in two sound environments: {false}.  Lines of the adapters, at most {LINES}: "
            f"{', '.join(f'{name} {count}' for name, count in lines.items())}; Meta-World's sentences and groups are a "
            "table of 58 lines beside it.  The faults were planted by the authors of the checker."
        ),
    }
