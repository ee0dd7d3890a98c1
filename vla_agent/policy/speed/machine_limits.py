"""What this machine can do at best, measured: floating-point operations and bytes a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

SIDE = 1024  # of the matrices whose product is timed
REACH = 2**26  # numbers that are copied: 256 MiB in float32, more than any cache
TRIES = 5


@dataclass(frozen=True)
class Machine:
    """Peaks of one device, with the threads that torch uses now."""

    flops: float  # a second, of a matrix product
    bandwidth: float  # bytes a second, read and written, of a copy

    def seconds(self, flops: float, size: float) -> float:
        """The least time for so many operations and so many bytes, where both run side by side (the roofline)."""
        return max(flops / self.flops, size / self.bandwidth)


def measure(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32, reach: int = REACH) -> Machine:
    """Best of a few tries each: a disturbance can only make a peak look lower."""
    device = torch.device(device)
    a, b = (torch.randn(SIDE, SIDE, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    product = _best(lambda: torch.mm(a, b, out=out), device)
    source = torch.zeros(reach, device=device)
    target = torch.empty_like(source)
    copy = _best(lambda: target.copy_(source), device)
    return Machine(2 * SIDE**3 / product, 2 * source.nbytes / copy)


def now(device: torch.device) -> float:
    """Seconds, once the device has done what it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _best(work: Callable[[], object], device: torch.device) -> float:
    seconds = []
    for _ in range(TRIES + 1):  # the first one warms up
        begun = now(device)
        work()
        seconds.append(now(device) - begun)
    return min(seconds[1:])
