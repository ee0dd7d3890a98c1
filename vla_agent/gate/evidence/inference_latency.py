"""The inference latency of a policy on this machine."""

from __future__ import annotations

from typing import Any

import numpy as np

from sim.env import TabletopEnv
from sim.policies import Policy
from sim.tasks.task import TaskFamily
from vla_agent.evaluation.play.worker_protocol import one_thread
from vla_agent.evaluation.provenance import cpu_name
from vla_agent.policy.inference_timing import inference_times


def measure(policy: Policy, family: TaskFamily) -> dict[str, Any]:
    """Milliseconds of one inference on one thread: ``median_ms``, ``p99_ms``, over ``n``; and the ``machine``."""
    env = TabletopEnv(task=family)
    try:
        observation, info = env.reset(seed=0)
        with one_thread():
            times = inference_times(policy, observation, info["instruction"])
    finally:
        env.close()
    return {
        "median_ms": round(float(np.median(times)), 3),
        "p99_ms": round(float(np.quantile(times, 0.99)), 3),
        "n": len(times),
        "machine": cpu_name(),
    }
