"""Loss of success of the shipped policy on held-out wordings."""

from __future__ import annotations

from typing import Any

from benchmarks.shared.evaluations import families, report, seeds
from vla_agent.evaluation.success_statistics import paired_difference

NAME = "spine-wordings"
TITLE = "success rate lost on held-out wordings, same scenes"
TARGET = 0.10
UNIT = "fraction of episodes"
BETTER = "lower"


def run() -> dict[str, Any]:
    seen, held = report("seen"), report("wordings")
    outcomes = [
        {(e["task"], e["seed"]): e["success"] for e in r["episodes"] if e["control"] == "policy"} for r in (seen, held)
    ]
    keys = sorted(outcomes[0].keys() & outcomes[1].keys())
    lost = paired_difference(*([o[k] for k in keys] for o in outcomes))
    return {
        "value": lost["difference"],
        "n": lost["n"],
        "interval": lost["interval"],
        "seeds": seeds(),
        "rows": families(held["summary"]),
    }
