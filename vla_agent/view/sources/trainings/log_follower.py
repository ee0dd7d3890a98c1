"""Follows a stage's loss curve, ``NAME.jsonl``, while a training writes it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from vla_agent.view.source import Plot

MOST = 4000  # rows that are kept: then every second of the older ones is dropped
POINTS = 400  # of a curve that is shown
CHUNK = 1 << 20  # bytes that are read at once
FIXED = ("step", "samples", "seconds")  # the other columns are losses


class LogFollower:
    """The rows of a log, as far as they are written; a line that is half written is read when it is whole.

    Attributes:
        rows: each with ``samples``, ``seconds`` and the losses.
        changed: `Path.stat`'s time of the last change, seconds; 0 before the first row.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.rows: list[dict[str, float]] = []
        self.changed = 0.0
        self._offset, self._rest = 0, b""

    def read(self) -> bool:
        """Read what is new; whether there was something.  A log that has become shorter is another run's."""
        try:
            status = self.file.stat()
            if status.st_size < self._offset:
                self.rows, self._offset, self._rest = [], 0, b""
            if status.st_size == self._offset:
                return False
            with self.file.open("rb") as stream:
                stream.seek(self._offset)
                data = stream.read(CHUNK)
        except OSError:  # it is being replaced: the next look finds it
            return False
        self._offset += len(data)
        self.changed = status.st_mtime
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.rows += [row for row in map(_row, lines) if row is not None]
        while len(self.rows) > MOST:
            half = len(self.rows) // 2
            self.rows = self.rows[:half:2] + self.rows[half:]
        return True

    @property
    def losses(self) -> tuple[str, ...]:
        """Names of the losses."""
        return tuple(sorted({key for row in self.rows[-50:] for key in row} - set(FIXED)))

    def loss_plot(self, logarithmic: bool) -> Plot:
        """Each loss against the samples; ``logarithmic``: its decimal logarithm."""
        rows = self._thinned()
        lines = {key: np.array([row.get(key, np.nan) for row in rows], np.float64) for key in self.losses}
        if logarithmic:
            lines = {f"log10 {key}": np.log10(np.where(line > 0, line, np.nan)) for key, line in lines.items()}
        return Plot(f"losses: {self.file.stem}", _column(rows, "samples"), lines, "samples")

    def speed_plot(self) -> Plot:
        """Samples a second against the samples."""
        rows = self._thinned()
        samples, seconds = _column(rows, "samples"), _column(rows, "seconds")
        passed = np.diff(seconds, prepend=np.nan)
        speed = np.diff(samples, prepend=np.nan) / np.where(passed > 0, passed, np.nan)
        return Plot("samples a second", samples, {"speed": speed}, "samples")

    @property
    def speed(self) -> float:
        """Samples a second over the last rows; NaN before there are two."""
        last = self.rows[-10:]
        passed = last[-1]["seconds"] - last[0]["seconds"] if len(last) > 1 else 0.0
        return (last[-1]["samples"] - last[0]["samples"]) / passed if passed > 0 else float("nan")

    def _thinned(self) -> list[dict[str, float]]:
        if len(self.rows) <= POINTS:
            return self.rows
        return [self.rows[k] for k in np.linspace(0, len(self.rows) - 1, POINTS).astype(int)]


def _column(rows: list[dict[str, float]], key: str) -> np.ndarray:
    return np.array([row[key] for row in rows], np.float64)


def _row(line: bytes) -> dict[str, float] | None:
    """A line's numbers; None where it is no row of a log."""
    try:
        found = json.loads(line)
        row = {str(key): float(value) for key, value in found.items() if isinstance(value, (int, float))}
    except (ValueError, AttributeError):
        return None
    return row if {"samples", "seconds"} <= row.keys() else None
