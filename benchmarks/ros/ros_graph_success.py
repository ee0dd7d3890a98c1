"""Success of the shipped policy through the whole ROS graph, against the same seeds in one process."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.ros.ros_graph import Graph
from benchmarks.shared.evaluations import POLICY

NAME = "ros-graph-success"
TITLE = "success through the ROS graph, points below the same seeds in one process"
TARGET = 5.0
UNIT = "points"
BETTER = "lower"
EACH = 20  # episodes of each of the ten families: 5 points need more than the 50 episodes of the target
FIRST_SEED = 1000
PACE = float(os.environ.get("VLA_AGENT_PACE", "1.0"))  # real time, unless the machine cannot


def run() -> dict[str, Any]:
    from sim.env import TabletopEnv
    from sim.rollout import run_episode
    from sim.tasks.task import load_suite
    from vla_agent.policy.loading import load_policy

    families = load_suite("tabletop")
    seeds = range(FIRST_SEED, FIRST_SEED + EACH)
    env, policy = TabletopEnv(task=next(iter(families))), load_policy(POLICY)
    inside: dict[tuple[str, int], bool] = {}
    limits: dict[tuple[str, int], int] = {}
    for name, family in families.items():
        env.set_task(family)
        for seed in seeds:
            inside[name, seed] = run_episode(env, policy, seed).success
            limits[name, seed] = env.task.steps_limit
    env.close()
    through, reasons = _through_the_graph(limits)
    n = len(inside)
    rows = [
        {
            "family": name,
            "n": EACH,
            "in one process": sum(inside[name, seed] for seed in seeds),
            "through the graph": sum(through[name, seed] for seed in seeds),
            "stopped": sum((name, seed) in reasons for seed in seeds),
        }
        for name in families
    ]
    differences = [int(inside[key]) - int(through[key]) for key in inside]
    mean = sum(differences) / n
    error = math.sqrt(sum((d - mean) ** 2 for d in differences) / (n - 1) / n)
    return {
        "value": 100 * mean,
        "n": n,
        "interval": [100 * (mean - 1.96 * error), 100 * (mean + 1.96 * error)],
        "seeds": f"{seeds.start} to {seeds.stop - 1} of each family",
        "rows": rows,
        "notes": "paired differences, normal interval; in one process the simulation is paused during inference and "
        f"chunks are executed open loop, in the graph it runs on at {PACE:g} of real time and they are executed in "
        "real time; "
        f"stopped by the supervisor: {'; '.join(f'{n} {s}: {why}' for (n, s), why in reasons.items()) or 'none'}",
    }


def _through_the_graph(
    limits: dict[tuple[str, int], int],
) -> tuple[dict[tuple[str, int], bool], dict[tuple[str, int], str]]:
    """Success of each (family, seed) within its steps, and why the supervisor stopped those that it did."""
    results, reasons = {}, {}
    values: dict[str, Any] = {"real_time_factor": PACE, "policy": str(POLICY)}
    with tempfile.TemporaryDirectory() as folder, Graph(Path(folder), **values) as graph:
        graph.require_motion()
        for (name, seed), limit in limits.items():
            graph.episode(seed, name)
            began = graph.time
            success = False
            while not success and graph.time < began + limit * graph.robot.period and not graph.stopped:
                graph.pause(5)
                success, _steps = graph.call("sim/success")
            results[name, seed] = success
            if graph.stopped and not success:
                graph.pause(20)  # the reason arrives on another topic
                reasons[name, seed] = graph.diagnostics["safety_node"].get("last stop", "not reported")
    return results, reasons
