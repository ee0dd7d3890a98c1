"""How late this machine wakes a thread of high real-time priority: no node that runs meanwhile can be more punctual.

A virtual machine may stand still for tens of milliseconds, since its host runs something else.
"""

from __future__ import annotations

import select
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from vla_agent.ros.process.realtime_priority import set_realtime_priority

ROOT = Path(__file__).parents[2]
PERIOD = 0.005  # s from one wake-up to the next
READY = b"."
PRIORITY = 90  # SCHED_FIFO: far above the nodes
NOTE = "machine, ms: how late the machine woke a thread of high real-time priority during the run"


class MachineWakeups:
    """Measures in a process of its own, as long as the context lasts; enter it before the nodes are started.

    ``late``: (N,) seconds after it should have been woken, of each wake-up; empty before the end.
    """

    def __enter__(self) -> MachineWakeups:
        self.late = np.empty(0)
        command = [sys.executable, "-m", "benchmarks.ros.machine_wakeups"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
        assert self._process.stdout is not None
        self._process.stdout.read(len(READY))  # its start takes time from whatever is measured
        return self

    def __exit__(self, *_: object) -> None:
        output = self._process.communicate()[0]  # its input ends
        self.late = np.frombuffer(output)


def main() -> None:
    """`READY`, and when the input has ended the seconds as bytes of float64."""
    set_realtime_priority(PRIORITY)
    sys.stdout.buffer.write(READY)
    sys.stdout.flush()
    late: list[float] = []
    while not select.select([sys.stdin], [], [], 0)[0]:
        began = time.perf_counter()
        time.sleep(PERIOD)
        late.append(time.perf_counter() - began - PERIOD)
    sys.stdout.buffer.write(np.array(late).tobytes())


if __name__ == "__main__":
    main()
