"""What this process occupies."""

from __future__ import annotations

from pathlib import Path


def own_memory(key: str) -> int:
    """Bytes of an entry of this process's status: ``VmSize``, ``VmRSS``, ``VmHWM``.

    Raises:
        KeyError: there is no such entry.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(key)
