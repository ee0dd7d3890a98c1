"""The inference latency of a policy on this machine.

``python -m vla_agent.policy.inference_timing POLICY`` prints the 99th percentile in milliseconds, on one thread.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from vla_agent.contract.blank_observation import blank_observation
from vla_agent.errors import NodeError

WARM_UP = 5
RUNS = 3  # another process may disturb a timing run; a slow machine is slow in each
TIMEOUT = 120.0  # seconds for one timing run in its own process, the import of torch included


def inference_times(policy: Any, observation: Mapping[str, Any], instruction: str, count: int = 60) -> list[float]:
    """Milliseconds of each of ``count`` inferences from the same observation, after a warm-up."""
    policy.reset(instruction)
    times = []
    with _one_at_a_time():
        for _ in range(WARM_UP + count):
            start = time.perf_counter()
            policy.act(observation)
            times.append(1000 * (time.perf_counter() - start))
    return times[WARM_UP:]


def p99_ms(policy: Any) -> float:
    """The 99th percentile of the inference latency in milliseconds, on a blank observation."""
    return float(np.quantile(inference_times(policy, blank_observation(policy.contract), "nothing"), 0.99))


def p99_ms_in_subprocess(policy: str, enough: float) -> float:
    """`p99_ms` of a policy's folder, measured in its own process: independent of the process that runs it.

    Args:
        enough: milliseconds; the first of `RUNS` timing runs within them is returned, else the best.

    Raises:
        NodeError: the policy cannot be loaded and timed.
    """
    best = np.inf
    for _ in range(RUNS):
        command = [sys.executable, "-m", "vla_agent.policy.inference_timing", policy]
        try:
            printed = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=True).stdout
            best = min(best, float(printed.split()[-1]))
        except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
            raise NodeError(
                "the policy cannot be timed on this machine",
                file=policy,
                key="latency",
                expected="milliseconds from python -m vla_agent.policy.inference_timing",
                found=(getattr(error, "stderr", "") or str(error))[-300:],
                remedy="run that command and fix the error that it prints",
            ) from error
        if best <= enough:
            break
    return best


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """A lock among all processes of this user: two timing runs at once slow each other down."""
    with open(Path(tempfile.gettempdir()) / f"vla-agent-trial-{os.getuid()}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed, also by a kill
        yield


def main() -> None:
    """See the module."""
    import torch

    from vla_agent.policy.loading import load_policy

    torch.set_num_threads(1)
    print(p99_ms(load_policy(sys.argv[1])))


if __name__ == "__main__":
    main()
