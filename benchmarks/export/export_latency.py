"""A chunk of the exported policy over one of the policy, and over the limit of the machine: one thread, in turns.

Everything is in processor time of the process, which other programs on the machine lengthen far less than the clock's.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.export.exports import exported
from benchmarks.shared.evaluations import POLICY

NAME = "export-latency"
TITLE = (
    "a chunk of the exported policy over one in PyTorch, median processor time, one thread, the slower of onnxruntime "
    "and OpenVINO (passed: also the faster one's at least 0.45 of the machine's limit)"
)
TARGET = 0.6
UNIT = "ratio"
BETTER = "lower"
ROUNDS, EACH, LIMIT = 20, 10, 0.45
CHUNKS = ROUNDS * EACH
PYTORCH, ONNX, OPENVINO = "PyTorch", "onnxruntime", "OpenVINO"
SIDE, COPIED = 1024, 2**25  # of the matrices and the array by which the machine's peaks are measured


def run() -> dict[str, Any]:
    import torch

    from sim.env import TabletopEnv
    from vla_agent.policy.loading import load_policy
    from vla_agent.policy.speed.latency_profile import profile

    torch.set_num_threads(1)
    folder = exported()
    policies = {
        PYTORCH: load_policy(POLICY),
        ONNX: load_policy(folder),
        OPENVINO: load_policy(folder, openvino=True),
    }
    work = next(row for row in profile(load_policy(POLICY), chunks=5)[0] if row.section == "chunk")
    env = TabletopEnv(task="put_in_tray")
    observation, info = env.reset(seed=0)
    env.close()
    times, peaks = _times(policies, observation, info["instruction"])
    ratios = {name: float(np.median(times[name]) / np.median(times[PYTORCH])) for name in (ONNX, OPENVINO)}
    slower = max(ratios, key=lambda name: ratios[name])
    pick = np.random.default_rng(0).integers(0, CHUNKS, (1000, CHUNKS))
    spread = np.median(times[slower][pick], axis=1) / np.median(times[PYTORCH][pick], axis=1)
    least = 1000 * np.maximum(work.mflop * 1e6 / peaks[:, 0], work.mib * 2**20 / peaks[:, 1])  # ms, of each round
    medians = {name: np.median(found.reshape(ROUNDS, EACH), axis=1) for name, found in times.items()}
    fractions = {name: float(np.median(least / found)) for name, found in medians.items()}
    best = {name: float(least.min() / found.min()) for name, found in times.items()}
    flops, bandwidth = np.median(peaks, axis=0)
    return {
        "value": ratios[slower],
        "n": CHUNKS,
        "interval": [float(x) for x in np.quantile(spread, [0.025, 0.975])],
        "seeds": "0",
        "rows": [
            {
                "runtime": name,
                "median_ms": float(np.median(found)),
                "p99_ms": float(np.quantile(found, 0.99)),
                "ratio": float(np.median(found) / np.median(times[PYTORCH])),
                "of_the_limit": fractions[name],
                "quickest_of_the_best_limit": best[name],
            }
            for name, found in times.items()
        ],
        "passed": ratios[slower] <= TARGET and max(fractions.values()) >= LIMIT,
        "notes": f"limit {np.median(least):.1f} ms: {work.mflop:.0f} MFLOP and {work.mib:.1f} MiB a chunk at "
        f"{flops / 1e9:.1f} GFLOP/s in a matrix product and {bandwidth / 1e9:.1f} GB/s in a copy; of_the_limit is the "
        f"median over {ROUNDS} rounds, each of {EACH} chunks and the best of 5 products and copies",
    }


def _times(policies: dict[str, Any], observation: Any, instruction: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Milliseconds of processor time a chunk (CHUNKS,) of each policy, in turns, and the peaks (ROUNDS, 2) between."""
    times: dict[str, list[float]] = {name: [] for name in policies}
    for policy in policies.values():
        policy.reset(instruction)
        for _ in range(5):
            policy.act(observation)
    peaks = []
    for _ in range(ROUNDS):  # other load affects chunks and peaks alike
        peaks.append(_peaks())
        for _ in range(EACH):
            for name, policy in policies.items():
                start = time.process_time()
                policy.act(observation)
                times[name].append(1000 * (time.process_time() - start))
    return {name: np.array(values) for name, values in times.items()}, np.array(peaks)


def _peaks() -> tuple[float, float]:
    """Floating-point operations of a matrix product and bytes of a copy, a second of processor time; the best of 5."""
    import torch

    a, b = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    source, out = torch.zeros(COPIED), torch.empty(SIDE, SIDE)
    target = torch.empty_like(source)
    products, copies = [], []
    for _ in range(6):
        start = time.process_time()
        torch.mm(a, b, out=out)
        middle = time.process_time()
        target.copy_(source)
        products.append(middle - start)
        copies.append(time.process_time() - middle)
    return 2 * SIDE**3 / min(products[1:]), 2 * source.nbytes / min(copies[1:])
