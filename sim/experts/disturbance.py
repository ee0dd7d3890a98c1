"""Disturbance for demonstrations: small noise on every step, and bursts that the expert has to recover from.

Noise injection (DART, Laskey et al. 2017) shows the learner states off the expert's path and the expert's action there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SMALL = 0.0015  # metres, standard deviation of the noise on every step's translation
SMALL_TURN = 0.01  # radians
BURSTS = 1.5 / 100  # bursts per control period
DROPS = 0.04 / 100  # premature releases per control period, only while an object is carried


@dataclass
class Disturbance:
    """Turns the expert's action into the one that is executed."""

    rng: np.random.Generator
    scale: float = 1.0
    _left: int = 0
    _drift: np.ndarray | None = None  # (3,) metres per control period
    _open: bool = False

    def apply(self, action: np.ndarray, low: bool, carrying: bool) -> tuple[np.ndarray, bool]:
        """One control period.

        Args:
            action: (7,) the expert's action.
            low: the fingers are near the table, where the drift stays horizontal.
            carrying: an object is gripped.

        Returns:
            The action (7,) to execute, and whether it is clean, that is, not part of a burst.
        """
        if self.scale <= 0.0:
            return action, True
        executed = action.copy()
        self._begin(low, carrying)
        clean = self._left == 0
        if not clean:
            self._left -= 1
            if self._open:
                executed[6] = 0.0
            else:
                executed[:3] = self._drift
        executed[:3] += self.rng.normal(0.0, SMALL * self.scale, 3)
        executed[3:6] += self.rng.normal(0.0, SMALL_TURN * self.scale, 3) * (0.0, 0.0, 1.0)
        executed[:3] = np.clip(executed[:3], -0.025, 0.025)
        executed[3:6] = np.clip(executed[3:6], -0.15, 0.15)
        return executed.astype(np.float32), clean

    def _begin(self, low: bool, carrying: bool) -> None:
        if self._left:
            return
        draw = self.rng.uniform(size=2)
        if carrying and draw[0] < DROPS * self.scale:
            self._open, self._left = True, 6
        elif draw[1] < BURSTS * self.scale:
            self._open, self._left = False, int(self.rng.integers(3, 9))
            direction = self.rng.normal(size=3) * (1.0, 1.0, 0.0 if low else 0.5)
            self._drift = direction / np.linalg.norm(direction) * self.rng.uniform(0.01, 0.02)
