"""Inference latency of the shipped policy: one observation to one chunk, on one thread."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.shared.evaluations import POLICY

NAME = "spine-latency"
TITLE = "inference latency of the policy per chunk, batch 1, one thread, median"
TARGET = 40.0
UNIT = "ms"
BETTER = "lower"
CHUNKS = 200


def run() -> dict[str, Any]:
    import torch

    from sim.env import TabletopEnv
    from vla_agent.policy.loading import load_policy

    torch.set_num_threads(1)
    policy = load_policy(POLICY)
    env = TabletopEnv(task="put_in_tray")
    observation, info = env.reset(seed=0)
    policy.reset(info["instruction"])
    for _ in range(10):
        policy.act(observation)
    milliseconds = []
    for _ in range(CHUNKS):
        begun = time.perf_counter()
        policy.act(observation)
        milliseconds.append(1000 * (time.perf_counter() - begun))
    env.close()
    rng = np.random.default_rng(0)
    medians = [np.median(rng.choice(milliseconds, CHUNKS)) for _ in range(1000)]
    low, median, high, p99 = (
        float(x) for x in (*np.quantile(medians, [0.025, 0.5, 0.975]), np.quantile(milliseconds, 0.99))
    )
    return {
        "value": float(np.median(milliseconds)),
        "n": CHUNKS,
        "interval": [low, high],
        "seeds": "0",
        "notes": f"bootstrap interval of the median ({median:.1f} ms); p99 {p99:.1f} ms; "
        f"{policy.head.config.serve_steps} denoising steps; parameters {policy.parameter_counts()}",
    }
