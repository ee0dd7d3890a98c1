"""The inference latency of a policy on this machine.

``python -m vla_agent.policy.inference_timing POLICY ENOUGH DIGEST`` prints the 99th percentile in milliseconds, on one
thread: that of the first run within ENOUGH milliseconds, else of the best.  The policy's files must have that digest.
"""

from __future__ import annotations

import fcntl
import os
import stat
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
from vla_agent.models.timing_sections import INSTRUCTION

WARM_UP = 5
COUNT = 60  # inferences of a timing run
RUNS = 3  # another process may disturb a timing run; a slow machine is slow in each
PAUSE = 1.0  # seconds between two timing runs: what disturbed the one before may have ended
TOO_SLOW = 2  # inferences over the limit that put the 99th percentile of `COUNT` over it
TIMEOUT = 180.0  # seconds for all timing runs in their own process, the import of torch included


def inference_times(
    policy: Any, observation: Mapping[str, Any], instruction: str, count: int = COUNT, enough: float = np.inf
) -> list[float]:
    """Milliseconds of each of ``count`` inferences from the same observation, after a warm-up.

    Args:
        enough: milliseconds; `TOO_SLOW` inferences that take longer end the run.
    """
    policy.reset(instruction)
    times: list[float] = []
    with _one_at_a_time():
        for _ in range(WARM_UP):
            policy.act(observation)
        while len(times) < count and sum(one > enough for one in times) < TOO_SLOW:
            start = time.perf_counter()
            policy.act(observation)
            times.append(1000 * (time.perf_counter() - start))
    return times


def p99_ms(policy: Any, enough: float = np.inf) -> float:
    """The 99th percentile of the inference latency in milliseconds, on a blank observation.

    Args:
        enough: milliseconds; a run is ended early once its percentile must be longer, and a longer one is returned.
    """
    times = inference_times(policy, blank_observation(policy.contract), INSTRUCTION, enough=enough)
    return float(np.quantile(times, 0.99))


def best_p99_ms(policy: Any, enough: float, pause: float = PAUSE) -> float:
    """The first `p99_ms` of `RUNS` timing runs that is within ``enough`` milliseconds, else the best."""
    best = p99_ms(policy, enough)
    for _ in range(RUNS - 1):
        if best <= enough:
            break
        time.sleep(pause)
        best = min(best, p99_ms(policy, enough))
    return best


def p99_ms_in_subprocess(policy: str, enough: float, digest: str) -> float:
    """`best_p99_ms` of a policy, measured in its own process: independent of the process that runs it.

    Args:
        digest: of the policy's files, or of those that a server states; others are not timed.

    Raises:
        NodeError: the policy cannot be loaded and timed.
    """
    command = [sys.executable, "-m", "vla_agent.policy.inference_timing", policy, repr(enough), digest]
    try:
        printed = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=True).stdout
        return float(printed.split()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise NodeError(
            "the policy cannot be timed on this machine",
            file=policy,
            key="latency",
            expected="milliseconds from python -m vla_agent.policy.inference_timing",
            found=(getattr(error, "stderr", "") or str(error))[-300:],
            remedy="run that command and fix the error that it prints",
        ) from error


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """A lock among all processes of this user: two timing runs at once slow each other down.

    Raises:
        NodeError: what lies in the lock's place, where every user can write, is not this user's own regular file.
    """
    file = Path(tempfile.gettempdir()) / f"vla-agent-trial-{os.getuid()}.lock"
    flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(file, flags, 0o600)
    except OSError as error:
        raise _not_a_lock(file, error.strerror or str(error)) from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid():
            raise _not_a_lock(file, f"{stat.filemode(status.st_mode)} of user {status.st_uid}")
        fcntl.flock(handle, fcntl.LOCK_EX)  # released when the file is closed, also by a kill
        yield
    finally:
        os.close(handle)


def _not_a_lock(file: Path, found: str) -> NodeError:
    return NodeError(
        "the lock of timing runs is not this user's own file",
        file=file,
        key="lock",
        expected=f"a regular file of user {os.getuid()}, or nothing",
        found=found,
        remedy="find out who put it there and remove it, or set TMPDIR to a folder of your own",
    )


def main() -> None:
    """See the module."""
    import torch

    from vla_agent.policy.loading import load_policy

    torch.set_num_threads(1)
    name, enough, digest = sys.argv[1:]
    print(best_p99_ms(load_policy(name, expected=digest), float(enough)))


if __name__ == "__main__":
    main()
