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


def quantile_rows(values: np.ndarray, unit: str = "ms", **others: np.ndarray) -> list[dict[str, Any]]:
    """A line for each of :data:`QUANTILES`; ``others``: name of a further column -> its values, in the same unit."""
    columns = {unit: values} | {f"{name}, {unit}": column for name, column in others.items()}
    return [
        {"quantile": q} | {name: float(np.quantile(column, q)) for name, column in columns.items()} for q in QUANTILES
    ]
