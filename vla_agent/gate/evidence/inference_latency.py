"""The inference latency of a policy on this machine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from sim.env import TabletopEnv
from sim.policies import Policy
from sim.tasks.task import TaskFamily
from vla_agent.evaluation.play.worker_protocol import one_thread
from vla_agent.evaluation.provenance import cpu_name
from vla_agent.gate.decision.gate_file import Gate
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


def certified_delay(gate: Gate, measured: Mapping[str, Any], control_hz: float) -> float:
    """The latency that a gate simulates and certifies, ms: that of the gate file, else the measured ``p99_ms``, rounded
    up to control periods.  A scripted policy has no inference, measures nothing, and is certified for none."""
    if not measured:
        return 0.0
    period = 1000.0 / control_hz
    return gate.delay_ms if gate.delay_ms is not None else period * math.ceil(measured["p99_ms"] / period)
