"""Loss of success of the shipped policy on held-out (colour, shape) pairs."""

from __future__ import annotations

from typing import Any

from benchmarks.shared.evaluations import difference, families, report, seeds

NAME = "spine-objects"
TITLE = "success rate lost on held-out (colour, shape) pairs"
TARGET = 0.20
UNIT = "fraction of episodes"
BETTER = "lower"


def run() -> dict[str, Any]:
    seen, held = report("seen")["summary"], report("objects")["summary"]
    a, b = (s["controls"]["policy"] for s in (seen, held))
    value, interval = difference((a["k"], a["n"]), (b["k"], b["n"]))
    return {"value": value, "n": a["n"] + b["n"], "interval": interval, "seeds": seeds(), "rows": families(held)}
