"""Every adapter on one family with the same demonstrations, samples and seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.evaluations import POLICY
from benchmarks.finetuning import demonstrations, outcomes, tune

NAME = "finetune-adapters"
TITLE = "adapters measured on one family at the same number of samples: success, forgetting, parameters, cost (rows)"
TARGET = 1.0
UNIT = "share of the methods"
BETTER = "higher"
TASK = "stack"
OLD = ("put_in_tray", "press_button", "open_drawer")
EPISODES = 50
DEMONSTRATIONS = 50
SETTINGS = ("train.samples=20000",)


def run(base: Path = POLICY, methods: tuple[str, ...] = ()) -> dict[str, Any]:
    """Train and evaluate ``methods`` (all, by default), one after the other."""
    from vla_agent.evaluation.statistics import wilson
    from vla_agent.finetuning.compare import judge
    from vla_agent.finetuning.recipe import METHODS

    wanted = methods or METHODS
    data = demonstrations(TASK, DEMONSTRATIONS)
    groups = {"new": (TASK,), "old": OLD}
    before = outcomes(base, (TASK, *OLD), EPISODES)
    rows = []
    for method in wanted:
        tuned = tune(base, data, method, SETTINGS)
        result = judge(before, outcomes(tuned.policy, (TASK, *OLD), EPISODES), groups)
        new, old = result["new"], result["old"]
        low, high = wilson(new["tuned"]["k"], new["tuned"]["n"])
        rows.append(
            {
                "adapter": method,
                "base": new["base"]["success"],
                "success": new["tuned"]["success"],
                "low": low,
                "high": high,
                "old families": old["difference"]["difference"],
                "trained": tuned.trained,
                "share": tuned.trained / tuned.in_all,
                "kB": tuned.adapter_kb,
                "seconds": tuned.seconds,
                "MiB": tuned.memory_mib,
            }
        )
    return {
        "value": len(rows) / len(wanted),
        "n": EPISODES * (1 + len(OLD)) * len(rows),
        "interval": None,
        "seeds": f"0 to {EPISODES - 1} of each family",
        "rows": rows,
        "notes": f"{TASK}, {DEMONSTRATIONS} demonstrations; the base has seen the family too; old families: change",
    }
