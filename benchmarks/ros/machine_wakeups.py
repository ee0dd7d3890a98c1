"""How late this machine wakes a thread of the highest priority that it permits: no node can be more punctual.

A virtual machine may stand still for tens of milliseconds, since its host runs something else.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from vla_agent.ros.process.realtime_priority import set_realtime_priority

ROOT = Path(__file__).parents[2]
SECONDS = 10.0
PERIOD = 0.001  # s from one wake-up to the next
PRIORITY = 90  # SCHED_FIFO: far above the nodes
NOTE = (
    f"machine, ms: how late the machine woke a thread, at rest, in the {SECONDS:g} s before; of high real-time "
    "priority where the system permits that"
)


def late_wakeups(seconds: float = SECONDS) -> np.ndarray:
    """(N,) ms that a thread slept too long, for ``seconds``; call it before the nodes start, which it would disturb."""
    command = [sys.executable, "-m", "benchmarks.ros.machine_wakeups", str(seconds)]
    return 1000 * np.frombuffer(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)


def main() -> None:
    """Measure for as many seconds as the argument says, in a process of its own; writes seconds as float64."""
    set_realtime_priority(PRIORITY)
    late: list[float] = []
    end = time.perf_counter() + float(sys.argv[1])
    while (began := time.perf_counter()) < end:
        time.sleep(PERIOD)
        late.append(time.perf_counter() - began - PERIOD)
    sys.stdout.buffer.write(np.array(late).tobytes())


if __name__ == "__main__":
    main()
