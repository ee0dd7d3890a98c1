"""Meta-World MT10: one small policy for ten tasks that are told by their sentences, trained on two cores.

Protocol of LeRobot: camera corner2 at (0.75, 0.075, 0.7) m, 480 pixels, as shipped, both axes flipped; state = hand and
gripper; 80 Hz; at most 500 steps; ends at the first success.  The policy reduces the image to 120 pixels.
"""

from __future__ import annotations

from typing import Any

NAME = "open-mt10"
TITLE = "Meta-World MT10: success of one policy for the ten tasks, trained on demonstrations of the benchmark's experts"
TARGET = 90.0
UNIT = "%"
BETTER = "higher"
TASKS = (
    "reach-v3",
    "push-v3",
    "pick-place-v3",
    "door-open-v3",
    "drawer-open-v3",
    "drawer-close-v3",
    "button-press-topdown-v3",
    "peg-insert-side-v3",
    "window-open-v3",
    "window-close-v3",
)
SAMPLES = 160_000
EPISODES = 20  # of each task


def run() -> dict[str, Any]:
    """Collect, train and evaluate; what is there already is used."""
    from benchmarks.open.metaworld_policy import DEMONSTRATIONS, FIRST, SEED, MetaWorldPolicy
    from benchmarks.shared.evaluations import families
    from vla_agent.evaluation.success_statistics import wilson

    policy = MetaWorldPolicy("metaworld-mt10", TASKS, SAMPLES)
    summary = policy.evaluate(EPISODES)["summary"]
    rows, about = families(summary), policy.about()
    k, n = sum(row["k"] for row in rows), sum(row["n"] for row in rows)
    low, high = wilson(k, n)
    groups = summary["groups"]
    each = ", ".join(f"{name} {found['k']} of {found['n']}" for name, found in groups["rates"].items())
    return {
        "value": 100 * k / n,
        "n": n,
        "interval": [100 * low, 100 * high],
        "seeds": f"{FIRST} to {FIRST + EPISODES - 1} of each task; demonstrations from {SEED}",
        "rows": rows + [{"task": "training"} | about],
        "passed": 100 * k / n >= TARGET,
        "notes": f"{DEMONSTRATIONS} demonstrations of each task by Meta-World's scripted experts with disturbances, "
        f"with the place of the object and of the goal in each image; {SAMPLES} samples, one thread, "
        f"{about['training minutes']:.0f} minutes beside other work; "
        f"{about['parameters'] / 1e6:.2f} M parameters in all; {each}; mean over groups "
        f"{100 * groups['mean_over_groups']:.1f} %",
    }
