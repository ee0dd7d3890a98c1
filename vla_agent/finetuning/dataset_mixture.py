"""Rows of a batch from several datasets by weight: small ones are seen as often as wanted, whatever the others' size.

Which rows a step gets follows from the seed and the step's number alone, so that a resumed run goes on in the middle of
a dataset with the rows that the uninterrupted one would have had.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vla_agent.errors import RecipeError
from vla_agent.training.recipe import TrainHead
from vla_agent.training.stages.head_stage import draw_rows


class Mixture:
    """Draws rows of training frames.

    Args:
        owner: (n,) number of the dataset that each row belongs to.
        early: (n,) whether the row is among the first frames of an episode.
        folders: the datasets, for the error.
        weights: how often each dataset is drawn, relative to the others; empty: every row as often as any other.

    Raises:
        RecipeError: a dataset has no rows to draw.
    """

    def __init__(
        self, owner: np.ndarray, early: np.ndarray, folders: Sequence[str], weights: Sequence[float] = ()
    ) -> None:
        self.count, self.early = len(owner), np.flatnonzero(early)
        self.share = np.array(weights, dtype=np.float64) / sum(weights) if weights else np.zeros(0)
        if not weights:
            return
        self._rows = [np.flatnonzero(owner == k) for k in range(len(folders))]
        self._first = [rows[early[rows]] if early[rows].any() else rows for rows in self._rows]
        empty = [folder for folder, rows in zip(folders, self._rows, strict=True) if not len(rows)]
        if empty:
            raise RecipeError(
                "a dataset has a weight and no frames to draw",
                file=empty[0],
                key="data.weights",
                expected="at least one usable frame in each dataset",
                found="none" + (f"; also {', '.join(empty[1:])}" if empty[1:] else ""),
                remedy="leave the dataset out, or raise data.episodes, which counts over all datasets in their order",
            )

    def draw(self, settings: TrainHead, rng: np.random.Generator) -> np.ndarray:
        """(batch,) rows, the share of first frames first, as `vla_agent.training.stages.head_stage.draw_rows` does."""
        if not len(self.share):
            return draw_rows(self.early, self.count, settings, rng)
        first = round(settings.batch * settings.early_share) if len(self.early) else 0
        return np.concatenate(
            [self._pick(self._first, first, rng), self._pick(self._rows, settings.batch - first, rng)]
        )

    def _pick(self, groups: list[np.ndarray], count: int, rng: np.random.Generator) -> np.ndarray:
        which = rng.choice(len(groups), size=count, p=self.share)
        sizes = np.array([len(rows) for rows in groups])
        place = rng.integers(sizes[which])
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        return np.concatenate(groups)[starts[which] + place]
