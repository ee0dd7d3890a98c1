"""Latency of the shipped policy in OpenVINO: one observation to one chunk, on one thread."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.shared.evaluations import POLICY

NAME = "policy-nano-latency"
TITLE = (
    "nano, in OpenVINO, one CPU thread, batch 1, a chunk, median; rows: where the time goes, also compiled and as it is"
)
TARGET = 15.0
UNIT = "ms"
BETTER = "lower"
CHUNKS = 200
PLAIN, COMPILED, OPENVINO = "as it is", "compiled", "OpenVINO"


def run() -> dict[str, Any]:
    import torch

    from sim.env import TabletopEnv
    from vla_agent.policy.loading import load_policy
    from vla_agent.policy.speed.latency_profile import profile

    torch.set_num_threads(1)
    policies = {name: load_policy(POLICY) for name in (PLAIN, COMPILED, OPENVINO)}
    rows = []
    for name, policy in policies.items():
        sections, machine = profile(policy, compiled=name == COMPILED, openvino=name == OPENVINO)
        rows += [{"path": name} | vars(section) for section in sections if section.ms]
    env = TabletopEnv(task="put_in_tray")
    observation, info = env.reset(seed=0)
    times = measure(policies, observation, info["instruction"], CHUNKS)
    env.close()
    rng = np.random.default_rng(0)
    pick = rng.integers(0, CHUNKS, (1000, CHUNKS))
    low, high = np.quantile(np.median(times[OPENVINO][pick], axis=1), [0.025, 0.975])
    chunks = {}
    for name, policy in policies.items():  # the same noise: they differ by rounding
        policy.reset(info["instruction"])
        chunks[name] = policy.act(observation)
    off = {name: float(np.abs(chunks[PLAIN] - chunks[name]).max()) for name in (COMPILED, OPENVINO)}
    torchs = "torch.compile" if policies[COMPILED].compiled else "torch.compile (NOT possible on this machine)"
    ratios = {name: float(np.median(times[name] / times[PLAIN])) for name in (COMPILED, OPENVINO)}
    return {
        "value": float(np.median(times[OPENVINO])),
        "n": CHUNKS,
        "interval": [float(low), float(high)],
        "seeds": "0",
        "rows": rows,
        "notes": f"in turns: as it is {np.median(times[PLAIN]):.1f} ms, {torchs} {np.median(times[COMPILED]):.1f} ms; "
        f"ratios to as it is: OpenVINO {ratios[OPENVINO]:.2f}, compiled {ratios[COMPILED]:.2f}; p99 in OpenVINO "
        f"{np.quantile(times[OPENVINO], 0.99):.1f} ms; chunks differ from those as it is by {off[OPENVINO]:.1e} "
        f"(OpenVINO) and {off[COMPILED]:.1e} (compiled) at most; {policies[PLAIN].head.config.serve_steps} steps; "
        f"{machine.flops / 1e9:.1f} GFLOP/s in a matrix product, {machine.bandwidth / 1e9:.1f} GB/s in a copy",
    }


def measure(policies: dict[str, Any], observation: Any, instruction: str, chunks: int) -> dict[str, np.ndarray]:
    """Milliseconds a chunk (chunks,) of each policy; they take turns, so that other load affects all alike."""
    times: dict[str, list[float]] = {name: [] for name in policies}
    for policy in policies.values():
        policy.reset(instruction)
        for _ in range(10):
            policy.act(observation)
    for _ in range(chunks):
        for name, policy in policies.items():
            start = time.perf_counter()
            policy.act(observation)
            times[name].append(1000 * (time.perf_counter() - start))
    return {name: np.array(values) for name, values in times.items()}
