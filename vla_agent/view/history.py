"""The last samples of several curves: what a plot that runs for hours keeps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vla_agent.view.source import Plot


class History:
    """A ring buffer of samples, all lines at the same x.

    Args:
        labels: of the lines.
        length: samples kept; older ones are dropped.
    """

    def __init__(self, title: str, labels: tuple[str, ...], length: int = 400, x_label: str = "s") -> None:
        self.title, self.labels, self.x_label = title, labels, x_label
        self._rows = np.full((length, 1 + len(labels)), np.nan)
        self._count = 0

    def add(self, x: float, values: Mapping[str, float]) -> None:
        """One more sample at ``x``, not before the last one; a line without a value gets a gap."""
        self._rows[self._count % len(self._rows)] = [x, *(values.get(label, np.nan) for label in self.labels)]
        self._count += 1

    def clear(self) -> None:
        self._count = 0

    def plot(self) -> Plot:
        """The samples, oldest first; copies."""
        length = len(self._rows)
        if self._count <= length:
            rows = self._rows[: self._count].copy()
        else:
            rows = np.roll(self._rows, -(self._count % length), axis=0)
        lines = {label: rows[:, 1 + k] for k, label in enumerate(self.labels)}
        return Plot(self.title, rows[:, 0], lines, self.x_label)
