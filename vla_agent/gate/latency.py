"""How long a policy takes to think on this machine."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from sim.env import TabletopEnv
from sim.policies import Policy
from sim.task import TaskFamily
from vla_agent.evaluation.provenance import cpu_name
from vla_agent.evaluation.workers import one_thread

INFERENCES = 60
WARM_UP = 5


def measure(policy: Policy, family: TaskFamily) -> dict[str, Any]:
    """Milliseconds of one inference on one thread: ``median_ms``, ``p99_ms``, over ``n``; and the ``machine``."""
    env = TabletopEnv(task=family)
    try:
        observation, info = env.reset(seed=0)
        with one_thread():
            policy.reset(info["instruction"])
            times = []
            for _ in range(WARM_UP + INFERENCES):
                begun = time.perf_counter()
                policy.act(observation)
                times.append(1000 * (time.perf_counter() - begun))
    finally:
        env.close()
    kept = times[WARM_UP:]
    return {
        "median_ms": round(float(np.median(kept)), 3),
        "p99_ms": round(float(np.quantile(kept, 0.99)), 3),
        "n": len(kept),
        "machine": cpu_name(),
    }
