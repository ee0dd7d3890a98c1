"""Every adapter on a family and objects new to the shipped policy: same demonstrations, samples and seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.finetune import finetune_new_task as new_task
from benchmarks.shared.evaluations import POLICY

NAME = "finetune-adapters"
TITLE = (
    "adapters measured on one new family at the same number of samples: success, forgetting, parameters, cost (rows)"
)
TARGET = 1.0
UNIT = "share of the methods"
BETTER = "higher"
TASK = "put_on_cabinet"
DEMONSTRATIONS = 50  # as in finetune-new-task, whose trainings are reused


def run(base: Path = POLICY, methods: tuple[str, ...] = ()) -> dict[str, Any]:
    """Train and evaluate ``methods`` (all, by default), one after the other."""
    from vla_agent.adapters.adapter_settings import METHODS

    wanted = methods or METHODS
    new_task.train(base, ((TASK, DEMONSTRATIONS, method) for method in wanted))
    rows = [new_task.measure(base, TASK, DEMONSTRATIONS, method)[0] for method in wanted]
    return {
        "value": len(rows) / len(wanted),
        "n": new_task.EPISODES * len(rows),
        "interval": None,
        "seeds": f"0 to {new_task.EPISODES - 1} of the family, 0 to {new_task.EPISODES_OLD - 1} of each old one",
        "rows": [{k: v for k, v in row.items() if k not in ("family", "demonstrations")} for row in rows],
        "notes": f"{TASK}, {DEMONSTRATIONS} demonstrations, {', '.join(new_task.SETTINGS)}; old: change over the "
        "ten old families",
    }
