"""Real-time scheduling for nodes with short, urgent work: SCHED_FIFO, no deep processor sleep, locked memory.

Linux permits SCHED_FIFO to root and to users with ``rtprio`` in /etc/security/limits.d; the processors stay awake for
users who may write to /dev/cpu_dma_latency; memory is locked for users with unlimited ``memlock`` (docs/ros2.md).
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from pathlib import Path

CPU_LATENCY = Path("/dev/cpu_dma_latency")  # Linux power management: largest wake-up time of a processor
CURRENT, FUTURE, ON_FAULT = 1, 2, 4  # of mlockall(2)
PRIORITY = 20  # SCHED_FIFO, 1 to 99, of the node nearest to the robot; below the kernel's own threads

_open_files: list[int] = []  # the setting lasts as long as the file is open


def keep_cpus_awake() -> bool:
    """Keep the processors out of deep sleep as long as this process lives.

    Returns whether the system permitted it.
    """
    try:
        file = os.open(CPU_LATENCY, os.O_WRONLY)
        os.write(file, (0).to_bytes(4, sys.byteorder))  # microseconds
    except OSError:
        return False
    _open_files.append(file)
    return True


def lock_memory() -> bool:
    """Keep the touched memory of this process from being paged out; returns whether the system permitted it.

    Otherwise the code of rare events, such as a stop, may be paged out and read from the disk while the robot moves.
    """
    if sys.platform != "linux":
        return False
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if limit != resource.RLIM_INFINITY and os.geteuid() != 0:  # a limit reached later would end the node
        return False
    return ctypes.CDLL(None).mlockall(CURRENT | FUTURE | ON_FAULT) == 0


def set_realtime_priority(priority: int = PRIORITY) -> bool:
    """Schedule the present threads of this process with SCHED_FIFO; returns whether the system permitted it.

    Threads and processes that start later, such as the inference thread, are ordinary ones.
    """
    if not hasattr(os, "SCHED_FIFO"):  # not Linux
        return False
    kind = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
    try:
        for thread in Path("/proc/self/task").iterdir():
            os.sched_setscheduler(int(thread.name), kind, os.sched_param(priority))
    except ProcessLookupError:  # a thread has ended meanwhile
        return set_realtime_priority(priority)
    except OSError:
        return False
    return True
