"""Latency of the shipped policy as it can be served: compiled, one observation to one chunk on one thread."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.evaluations import POLICY

NAME = "policy-nano-latency"
TITLE = "nano, compiled, one CPU thread, batch 1, a chunk, median; rows: where the time goes, as it is and compiled"
TARGET = 15.0
UNIT = "ms"
BETTER = "lower"
CHUNKS = 200


def run() -> dict[str, Any]:
    import torch

    from sim.env import TabletopEnv
    from vla_agent.policy import load_policy
    from vla_agent.speed.profile import profile

    torch.set_num_threads(1)
    policies = {"as it is": load_policy(POLICY), "compiled": load_policy(POLICY)}
    rows = []
    for name, policy in policies.items():
        parts, machine = profile(policy, compiled=name == "compiled")
        rows += [{"path": name} | vars(part) for part in parts]
    env = TabletopEnv(task="put_in_tray")
    observation, info = env.reset(seed=0)
    times = measure(policies, observation, info["instruction"], CHUNKS)
    env.close()
    plain, compiled = times["as it is"], times["compiled"]
    rng = np.random.default_rng(0)
    pick = rng.integers(0, CHUNKS, (1000, CHUNKS))
    low, high = np.quantile(np.median(compiled[pick], axis=1), [0.025, 0.975])
    chunks = {}
    for name, policy in policies.items():  # the same noise: they differ by rounding
        policy.reset(info["instruction"])
        chunks[name] = policy.act(observation)
    apart = float(np.abs(chunks["as it is"] - chunks["compiled"]).max())
    how = "compiled" if policies["compiled"].compiled else "NOT compiled: it is not possible on this machine"
    steps = policies["compiled"].head.config.serve_steps
    return {
        "value": float(np.median(compiled)),
        "n": CHUNKS,
        "interval": [float(low), float(high)],
        "seeds": "0",
        "rows": rows,
        "notes": f"{how}; as it is {np.median(plain):.1f} ms, interleaved; ratio {np.median(compiled / plain):.2f}; "
        f"p99 {np.quantile(compiled, 0.99):.1f} ms; chunks differ by {apart:.1e} at most; {steps} denoising steps; "
        f"{machine.flops / 1e9:.1f} GFLOP/s in a matrix product, {machine.bandwidth / 1e9:.1f} GB/s in a copy",
    }


def measure(policies: dict[str, Any], observation: Any, instruction: str, chunks: int) -> dict[str, np.ndarray]:
    """Milliseconds a chunk (chunks,) of each policy; they take turns, so that a disturbance meets both."""
    times: dict[str, list[float]] = {name: [] for name in policies}
    for policy in policies.values():
        policy.reset(instruction)
        for _ in range(10):
            policy.act(observation)
    for _ in range(chunks):
        for name, policy in policies.items():
            begun = time.perf_counter()
            policy.act(observation)
            times[name].append(1000 * (time.perf_counter() - begun))
    return {name: np.array(values) for name, values in times.items()}
