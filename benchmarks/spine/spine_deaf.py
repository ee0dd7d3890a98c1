"""Success with a shuffled instruction, measured against the true task: what a policy reaches without reading."""

from __future__ import annotations

from typing import Any

from benchmarks.shared.evaluations import families, report, seeds

NAME = "spine-deaf"
TITLE = "success with a shuffled instruction, where several targets exist"
TARGET = 0.25
UNIT = "of episodes"
BETTER = "lower"
EPISODES = 10


def run() -> dict[str, Any]:
    summary = report("seen", "all", EPISODES)["summary"]
    deaf = summary["deaf"]
    rows = families(summary, "shuffled")
    beside = ", ".join(f"{c} {v['k']}/{v['n']}" for c, v in summary["controls"].items())
    return {
        "value": deaf["success"],
        "n": deaf["n"],
        "interval": deaf["interval"],
        "seeds": seeds(EPISODES),
        "rows": rows,
        "notes": f"all controls on the same seeds: {beside}",
    }
