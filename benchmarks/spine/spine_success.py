"""Success rate of the shipped policy on new scenes with training wordings."""

from __future__ import annotations

from typing import Any

from benchmarks.shared.evaluations import families, report, seeds

NAME = "spine-success"
TITLE = "mean success rate of the shipped policy over the families; no family may be below 50 %"
TARGET = 0.80
UNIT = "of episodes"
BETTER = "higher"
WORST_FAMILY = 0.50


def run() -> dict[str, Any]:
    summary = report("seen")["summary"]
    whole, rows = summary["controls"]["policy"], families(summary)
    mean = sum(r["success"] for r in rows) / len(rows)
    worst = min(rows, key=lambda r: r["success"])
    return {
        "value": mean,
        "n": whole["n"],
        "interval": whole["interval"],
        "seeds": seeds(),
        "rows": rows,
        "passed": mean >= TARGET and worst["success"] >= WORST_FAMILY,
        "notes": f"worst family {worst['task']} {worst['k']}/{worst['n']}; controls: see spine-deaf",
    }
