"""Rows of a batch in which each instruction is drawn as often as any other, however many frames it has.

Which rows a step gets follows from the seed and the step's number alone.
"""

from __future__ import annotations

import numpy as np

from vla_agent.training.recipe import ChunkStage


class TaskBalance:
    """Draws rows of training frames.

    Args:
        group: (n,) what is drawn equally often: the instruction of each row; zeros: each row.
        early: (n,) whether the row is among the first frames of an episode.
        weights: (n,) how often each row is drawn within its group; None: equally often.  A group without weight is
            left out.
    """

    def __init__(self, group: np.ndarray, early: np.ndarray, weights: np.ndarray | None = None) -> None:
        weights = np.ones(len(group)) if weights is None else weights.astype(np.float64)
        drawn = weights > 0
        self._all = _Groups(np.flatnonzero(drawn), group, weights)
        self._early = _Groups(np.flatnonzero(drawn & early), group, weights)

    def draw(self, settings: ChunkStage, rng: np.random.Generator) -> np.ndarray:
        """(batch,) rows; a fraction of ``early_share`` of first frames, which come first."""
        first = round(settings.batch * settings.early_share) if len(self._early.rows) else 0
        return np.concatenate([self._early.draw(first, rng), self._all.draw(settings.batch - first, rng)])


class _Groups:
    """Some rows, ordered by their group, with the sums of their weights before and after each group."""

    def __init__(self, rows: np.ndarray, group: np.ndarray, weights: np.ndarray) -> None:
        self.rows = rows[np.argsort(group[rows], kind="stable")]
        self._sums = np.cumsum(weights[self.rows])
        edges = np.flatnonzero(np.diff(group[self.rows], prepend=-1, append=-1)) if len(rows) else np.zeros(1, int)
        self._first, self._last = edges[:-1], edges[1:] - 1
        self._before = np.concatenate([[0.0], self._sums[self._last[:-1]]]) if len(rows) else np.zeros(0)

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """``count`` rows: first a group, all alike, then a row of it by its weight."""
        if not count:
            return self.rows[:0]
        which = rng.integers(len(self._first), size=count)
        low, high = self._before[which], self._sums[self._last[which]]
        at = np.searchsorted(self._sums, low + rng.random(count) * (high - low), side="right")
        return self.rows[np.clip(at, self._first[which], self._last[which])]
