"""Evaluation in another environment against stepping it the usual way: one process, an image in every step.

Both play the same episodes of Meta-World (480 px, images as shipped) with the same policy, which looks, executes eight
actions, and looks again, on the same cores, one after the other and in turn.  Opening the environments is not counted.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

NAME = "open-eval-rate"
TITLE = "Episodes a second in Meta-World: two workers of `vla-agent eval`, over serial stepping with an image a step"
TARGET = 4.0
UNIT = "times"
BETTER = "higher"
TASKS = ("drawer-open-v3", "push-v3")
ROUNDS, SEED, WORKERS = 3, 5_400_000, 2


class Wanderer:
    """Looks, and executes eight actions that follow from what it sees and from its own generator."""

    execute = 8

    def reset(self, instruction: str, seed: int = 0) -> None:
        self._random = np.random.default_rng([seed, 7])

    def act(self, observation: Any) -> np.ndarray:
        (image,) = observation["images"].values()
        spread = 0.3 + float(image.mean()) / 1000
        return np.tile(self._random.uniform(-spread, spread, 4), (16, 1)).astype(np.float32)


def wanderer(name: str) -> Wanderer:
    """`Wanderer`, for the workers."""
    return Wanderer()


def run() -> dict[str, Any]:
    """Play the rounds both ways, in turn."""
    from vla_agent.environments.choice import Choice
    from vla_agent.environments.opening import open_environment
    from vla_agent.evaluation.play.local_workers import LocalWorkers
    from vla_agent.evaluation.play.player import Job, PlayerSettings, play

    name = f"metaworld@{Path(__file__).with_name('short_metaworld.py')}:ShortMetaWorld"
    rows, ratios, same = [], [], True
    serial = open_environment(name, {}).environment
    settings = PlayerSettings("wanderer", Choice(name, TASKS), wanderer)
    with LocalWorkers(settings, WORKERS) as workers:
        warm = [Job("policy", task, SEED - 1 - k) for k in range(WORKERS) for task in TASKS]
        list(workers.map(play, warm))
        for number in range(ROUNDS):
            jobs = [Job("policy", task, SEED + 2 * number + k) for task in TASKS for k in range(2)]
            began = time.perf_counter()
            usual = {job.key: _usual(serial, job.task, job.seed) for job in jobs}
            seconds = time.perf_counter() - began
            began = time.perf_counter()
            ours = {played.job.key: played.record["state_hash"] for played in workers.map(play, jobs)}
            mine = time.perf_counter() - began
            same &= usual == ours
            ratios.append(seconds / mine)
            took = {"serial s": round(seconds, 2), "ours s": round(mine, 2), "times": round(seconds / mine, 2)}
            rows.append({"round": number, "episodes": len(jobs)} | took)
    serial.close()
    return {
        "value": float(np.median(ratios)),
        "n": ROUNDS * len(TASKS) * 2,
        "interval": [min(ratios), max(ratios)],
        "seeds": list(range(SEED, SEED + 2 * ROUNDS)),
        "rows": rows,
        "passed": float(np.median(ratios)) >= TARGET and same,
        "notes": (
            f"Median of {ROUNDS} rounds; the interval is their smallest and largest.  Episodes of 40 control periods, "
            f"which end {'in the same states, bit for bit' if same else 'in OTHER states'}, both ways.  Most of the "
            "gain is that images are rendered when the policy looks; the rest is the second core."
        ),
    }


def _usual(environment: Any, task: str, seed: int) -> str:
    """An episode as most harnesses step it: every step returns an image; the hash of its last state."""
    policy = Wanderer()
    actions: list[np.ndarray] = []
    policy.reset(environment.reset(task, seed), seed=seed)
    observation = environment.observe()
    for _ in range(environment.limit(task)):
        if not actions:
            actions = list(policy.act(observation)[: policy.execute])
        done = environment.step(actions.pop(0))
        observation = environment.observe()
        if done:
            break
    return str(environment.state_hash())
