"""Quantiles of times, with intervals, as the ROS benchmarks report them."""

from __future__ import annotations

from typing import Any

import numpy as np

QUANTILES = (0.5, 0.9, 0.99, 1.0)


def quantile_interval(values: np.ndarray, q: float = 0.99, times: int = 1000) -> list[float]:
    """95 % bootstrap interval of a quantile of ``values`` (N,)."""
    rng = np.random.default_rng(0)
    drawn = [np.quantile(rng.choice(values, len(values)), q) for _ in range(times)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return [float(low), float(high)]


def quantile_rows(values: np.ndarray, unit: str = "ms") -> list[dict[str, Any]]:
    """A line for each of :data:`QUANTILES`."""
    return [{"quantile": q, unit: float(np.quantile(values, q))} for q in QUANTILES]
