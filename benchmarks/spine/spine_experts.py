"""Success rate of the scripted experts per task family; physics alone, nothing is rendered."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
from scipy.stats import binomtest

NAME = "spine-experts"
TITLE = "success rate of the scripted experts, worst family, 200 seeds each"
TARGET = 0.95
UNIT = "of episodes"
BETTER = "higher"

_world: Any = None


def episode(task: str, seed: int, noise: float = 0.0, random_steps: int = 0) -> tuple[bool, int]:
    """One expert episode; success and control periods.

    Args:
        task: name of the family.
        seed: as `vla-agent eval` uses it.
        noise: disturbance (`sim.experts.disturbance`); 1 is that of demonstrations.
        random_steps: control periods of random actions before the expert takes over; they count towards the time limit.
    """
    global _world
    from sim.experts.expert import Expert
    from sim.policies import RandomPolicy
    from sim.tasks.task import select
    from sim.world.world import World

    if _world is None:
        _world = World()
    instance = select(task)[task].episode(seed)
    _world.reset(instance.scene)
    expert = Expert(_world, instance, np.random.default_rng([seed, 1]), noise)
    random = RandomPolicy()
    random.reset("", seed)
    held = np.zeros((0, 7))
    for step in range(instance.steps_limit):
        if step < random_steps:
            held = held if len(held) else random.act({})
            action, held = held[0], held[1:]
        else:
            action = expert.decide().executed
        _world.step(action)
        if instance.success(_world):
            return True, step + 1
    return False, instance.steps_limit


def measure(
    seeds: int = 200, workers: int = 2, tasks: tuple[str, ...] = (), first: int = 0, **options: Any
) -> list[dict[str, Any]]:
    """One row per family: success, n, successes, low, high (Wilson, 95 %), mean steps of successes, failed seeds."""
    from sim.tasks.task import load_suite

    rows = []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for task in tasks or tuple(load_suite("tabletop")):
            outcomes = list(pool.map(partial(episode, task, **options), range(first, first + seeds), chunksize=5))
            steps = [n for success, n in outcomes if success]
            interval = binomtest(len(steps), seeds).proportion_ci(method="wilson")
            rows.append(
                {
                    "task": task,
                    "success": len(steps) / seeds,
                    "n": seeds,
                    "successes": len(steps),
                    "low": float(interval.low),
                    "high": float(interval.high),
                    "steps": float(np.mean(steps)) if steps else None,
                    "failed": [first + k for k, (success, _) in enumerate(outcomes) if not success],
                }
            )
            print(line(rows[-1]), flush=True)
    return rows


def line(row: dict[str, Any]) -> str:
    """A row of the table as text."""
    steps = "-" if row["steps"] is None else f"{row['steps']:.0f}"
    return (
        f"{row['task']:<20} {row['successes']:>4}/{row['n']:<4} {100 * row['success']:5.1f} %  "
        f"[{100 * row['low']:.1f}, {100 * row['high']:.1f}]  {steps:>4} steps  failed {row['failed'][:12]}"
    )


def run() -> dict[str, Any]:
    """The worst family's success over 200 seeds each."""
    rows = measure()
    worst = min(rows, key=lambda row: row["success"])
    return {
        "value": worst["success"],
        "n": sum(row["n"] for row in rows),
        "interval": [worst["low"], worst["high"]],
        "seeds": [0, worst["n"]],
        "rows": rows,
    }


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tasks", default="")
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--random-steps", type=int, default=0)
    a = parser.parse_args()
    chosen = tuple(t for t in a.tasks.split(",") if t)
    measure(a.seeds, a.workers, chosen, a.first, noise=a.noise, random_steps=a.random_steps)
