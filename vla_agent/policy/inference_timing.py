"""How long a chunk takes on this machine.

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
TRIES = 3  # something else may be starting on the machine; a slow machine is slow each time
PATIENCE = 120.0  # seconds for one trial in a process of its own, the import of torch included


def inference_times(policy: Any, observation: Mapping[str, Any], instruction: str, count: int = 60) -> list[float]:
    """Milliseconds of each of ``count`` inferences from the same observation, after a few to warm up."""
    policy.reset(instruction)
    taken = []
    with _one_at_a_time():
        for _ in range(WARM_UP + count):
            begun = time.perf_counter()
            policy.act(observation)
            taken.append(1000 * (time.perf_counter() - begun))
    return taken[WARM_UP:]


def p99_ms(policy: Any) -> float:
    """The 99th percentile of an inference's milliseconds, from an observation of nothing."""
    return float(np.quantile(inference_times(policy, blank_observation(policy.contract), "nothing"), 0.99))


def p99_ms_apart(policy: str, enough: float) -> float:
    """`p99_ms` of a policy's folder, measured in a process of its own: by who does not trust who runs the policy.

    Args:
        enough: milliseconds; the first of a few trials that keeps within them is taken, else the best of them.

    Raises:
        NodeError: the policy cannot be loaded and tried.
    """
    best = np.inf
    for _ in range(TRIES):
        command = [sys.executable, "-m", "vla_agent.policy.inference_timing", policy]
        try:
            said = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
            best = min(best, float(said.split()[-1]))
        except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
            raise NodeError(
                "the policy cannot be timed on this machine",
                file=policy,
                key="latency",
                expected="milliseconds from python -m vla_agent.policy.inference_timing",
                found=(getattr(error, "stderr", "") or str(error))[-300:],
                remedy="run that command, and mend what it says",
            ) from error
        if best <= enough:
            break
    return best


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Of all processes of this user: two that are timed beside each other are slower than each alone."""
    with open(Path(tempfile.gettempdir()) / f"vla-agent-trial-{os.getuid()}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # freed when the file is closed, by a killed process, too
        yield


def main() -> None:
    """See the module."""
    import torch

    from vla_agent.policy.loading import load_policy

    torch.set_num_threads(1)
    print(p99_ms(load_policy(sys.argv[1])))


if __name__ == "__main__":
    main()
