"""Nodes whose work is short and must not wait are scheduled before all ordinary programs, where the system allows it.

Linux allows it to root, or to users with ``rtprio`` in /etc/security/limits.d.  Who may write to /dev/cpu_dma_latency
keeps the processors awake, too, and who may lock memory without limit keeps the nodes in it (docs/ros2.md).
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from pathlib import Path

AWAKE = Path("/dev/cpu_dma_latency")  # Linux's power management: how long a processor may take to wake
CURRENT, FUTURE, ON_FAULT = 1, 2, 4  # of mlockall(2)
LEVEL = 20  # of SCHED_FIFO's 1 to 99, of what is nearest to the robot; below the kernel's own threads


_awake: list[int] = []  # what is written there counts as long as the file is open


def stay_awake() -> bool:
    """Keep the processors from sleeping deeper than they wake from at once, as long as this process lives.

    Returns whether the system allowed it.
    """
    try:
        file = os.open(AWAKE, os.O_WRONLY)
        os.write(file, (0).to_bytes(4, sys.byteorder))  # microseconds
    except OSError:
        return False
    _awake.append(file)
    return True


def stay_resident() -> bool:
    """Keep in memory what this process has and will have touched there; whether the system allowed it.

    A system that is short of memory, or that takes what has not been used for a while, would take the code of what is
    seldom done, such as a stop, and read it from the disk again while the robot moves.
    """
    if sys.platform != "linux":
        return False
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if limit != resource.RLIM_INFINITY and os.geteuid() != 0:  # a limit that is reached later would end the node
        return False
    return ctypes.CDLL(None).mlockall(CURRENT | FUTURE | ON_FAULT) == 0


def promote(level: int = LEVEL) -> bool:
    """Schedule every thread that this process has now first in, first out; whether the system allowed it.

    Threads and processes begun later, such as one that computes a policy, are ordinary ones.
    """
    if not hasattr(os, "SCHED_FIFO"):  # not Linux
        return False
    kind = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
    try:
        for thread in Path("/proc/self/task").iterdir():
            os.sched_setscheduler(int(thread.name), kind, os.sched_param(level))
    except ProcessLookupError:  # a thread has ended meanwhile
        return promote(level)
    except OSError:
        return False
    return True
