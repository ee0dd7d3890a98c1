"""The result of a benchmark that judges a fixed list of cases once each."""

from __future__ import annotations

from typing import Any


def case_result(rows: list[dict[str, Any]], passed: int, min_cases: int, notes: str) -> dict[str, Any]:
    """What `run` of such a benchmark returns; the target is reached where all of at least ``min_cases`` pass."""
    return {
        "value": passed / len(rows),
        "n": len(rows),
        "interval": None,  # nothing is sampled
        "seeds": [0],
        "rows": rows,
        "passed": passed == len(rows) >= min_cases,
        "notes": notes,
    }
