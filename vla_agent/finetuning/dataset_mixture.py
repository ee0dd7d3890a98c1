"""Rows of a batch from several datasets by weight, whatever the sizes of the datasets.

Which rows a step gets follows from the seed and the step's number alone, so that a resumed run draws the rows that the
uninterrupted one would have drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vla_agent.errors import RecipeError
from vla_agent.training.recipe import TrainHead
from vla_agent.training.stages.head_stage import draw_rows, weighted_choice


class Mixture:
    """Draws rows of training frames.

    Args:
        dataset: (n,) number of the dataset that each row belongs to.
        early: (n,) whether the row is among the first frames of an episode.
        folders: the datasets, for the error.
        weights: how often each dataset is drawn, relative to the others; empty: every row as often as any other.
        row_weights: (n,) how often each row is drawn, within its dataset where these have weights; None: equally often.

    Attributes:
        fractions: (datasets,) of the samples; empty without weights.

    Raises:
        RecipeError: a dataset has no rows to draw.
    """

    def __init__(
        self,
        dataset: np.ndarray,
        early: np.ndarray,
        folders: Sequence[str],
        weights: Sequence[float] = (),
        row_weights: np.ndarray | None = None,
    ) -> None:
        self.count, self.early, self.row_weights = len(dataset), np.flatnonzero(early), row_weights
        self.fractions = np.array(weights, dtype=np.float64) / sum(weights) if weights else np.zeros(0)
        if not weights:
            return
        drawn = np.ones(len(dataset), bool) if row_weights is None else row_weights > 0
        self._rows = [np.flatnonzero((dataset == k) & drawn) for k in range(len(folders))]
        self._early_rows = [rows[early[rows]] if early[rows].any() else rows for rows in self._rows]
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
        """(batch,) rows; those of first frames come first, as in `vla_agent.training.stages.head_stage.draw_rows`."""
        if not len(self.fractions):
            return draw_rows(self.early, self.count, settings, rng, self.row_weights)
        early = round(settings.batch * settings.early_share) if len(self.early) else 0
        return np.concatenate(
            [self._pick(self._early_rows, early, rng), self._pick(self._rows, settings.batch - early, rng)]
        )

    def _pick(self, rows: list[np.ndarray], count: int, rng: np.random.Generator) -> np.ndarray:
        """``count`` rows, each from a dataset drawn by weight; ``rows`` holds those of each dataset."""
        which = rng.choice(len(rows), size=count, p=self.fractions)
        if self.row_weights is not None:
            picked = np.empty(count, dtype=np.int64)
            for k, own in enumerate(rows):
                at = np.flatnonzero(which == k)
                picked[at] = weighted_choice(own, self.row_weights, len(at), rng)
            return picked
        sizes = np.array([len(of_dataset) for of_dataset in rows])
        place = rng.integers(sizes[which])
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        return np.concatenate(rows)[starts[which] + place]
