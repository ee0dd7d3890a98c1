"""Measured peaks of this machine: floating-point operations and bytes per second."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

SIDE = 1024  # of the matrices whose product is timed
COPY_SIZE = 2**26  # elements that are copied: 256 MiB in float32, more than any cache
TRIES = 5


@dataclass(frozen=True)
class Machine:
    """Peaks of one device, with torch's present number of threads."""

    flops: float  # per second, of a matrix product
    bandwidth: float  # bytes per second, read and written, of a copy

    def seconds(self, flops: float, size: float) -> float:
        """The minimal time for ``flops`` operations and ``size`` bytes (roofline model, Williams et al. 2009)."""
        return max(flops / self.flops, size / self.bandwidth)


def measure(
    device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32, copy_size: int = COPY_SIZE
) -> Machine:
    """The best of a few runs each: other load can only lower a peak."""
    device = torch.device(device)
    a, b = (torch.randn(SIDE, SIDE, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    product = _best(lambda: torch.mm(a, b, out=out), device)
    source = torch.zeros(copy_size, device=device)
    target = torch.empty_like(source)
    copy = _best(lambda: target.copy_(source), device)
    return Machine(2 * SIDE**3 / product, 2 * source.nbytes / copy)


def now(device: torch.device) -> float:
    """Seconds on the clock, after the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _best(work: Callable[[], object], device: torch.device) -> float:
    seconds = []
    for _ in range(TRIES + 1):  # the first one warms up
        start = now(device)
        work()
        seconds.append(now(device) - start)
    return min(seconds[1:])
