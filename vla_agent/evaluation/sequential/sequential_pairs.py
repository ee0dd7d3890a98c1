"""A sequential test of two policies on the same scenes, which may be looked at after every pair.

Of a pair only who succeeded alone matters.  Where neither policy is better, each such pair is a fair coin, whatever
the rates, the scenes and the pairs without a winner are (McNemar, 1947).  So the probability to stop by mistake is
computed exactly, by recursion over the first policy's wins, given where the winners fell; after pair n of at most N it
may have reached alpha n / N (spending of Lan and DeMets, Biometrika 70, 1983), half of it on each side.  The error of
the verdict is at most alpha over all looks.

It answers the question of STEP (Snyder et al., "Is your imitation learning policy better than mine?", RSS 2025), which
spends its error in the same way over the two rates' exact distribution.  STEP's own package is not used: its licence
forbids commercial use, and its boundaries are pickles.  The benchmark open-step compares the two.
"""

from __future__ import annotations

import numpy as np

MOST_PAIRS = 5000
CONTINUATIONS = 200
SEED = 20_250_000  # of the continuations that `forecast` draws


class SequentialPairs:
    """R comparisons side by side, all at the same pair.

    Attributes:
        n: pairs so far.
        winners, wins: (R,) pairs in which one policy alone succeeded; of them, those of the first.
        stopped: (R,) the pair after which the verdict was there, 0 while it is open.
        verdict: (R,) 1 first better, -1 second better, 0 open; it does not change once it is not 0.
    """

    def __init__(self, most: int, alpha: float = 0.05, comparisons: int = 1) -> None:
        self.most, self.alpha = most, alpha
        self.n = 0
        self.wins, self.winners = np.zeros(comparisons, int), np.zeros(comparisons, int)
        self.verdict, self.stopped = np.zeros(comparisons, int), np.zeros(comparisons, int)
        self._mass = np.zeros((comparisons, most + 1))  # probability of each number of wins, not stopped, H0
        self._mass[:, 0] = 1.0
        self._spent = np.zeros(comparisons)  # on each side

    def add(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """The verdicts (R,) after one more pair of outcomes (R,) each."""
        self.n += 1
        first, second = np.asarray(first, bool), np.asarray(second, bool)
        won = first != second
        self.wins += first & ~second
        self.winners += won
        if won.any():
            width = int(self.winners.max()) + 1
            half = self._mass[won, :width] / 2
            half[:, 1:] += half[:, :-1].copy()
            self._mass[won, :width] = half
        self._stop()
        return self.verdict

    def _stop(self) -> None:
        """Move the boundary as far inwards as the error allows, and stop whoever is beyond it."""
        allowed = self.alpha / 2 * min(self.n / self.most, 1.0)
        top = int(self.winners.max()) + 1  # numbers of wins beyond have no mass
        tail = np.cumsum(self._mass[:, top - 1 :: -1], axis=1)[:, ::-1]  # (R, top): P(wins >= w)
        least = (self._spent[:, None] + tail > allowed + 1e-12).sum(axis=1)  # smallest number of wins that stops
        there = least < top
        self._spent += np.where(there, np.take_along_axis(tail, np.minimum(least, top - 1)[:, None], 1)[:, 0], 0.0)
        wins = np.arange(top)
        self._mass[:, :top][(wins >= least[:, None]) | (wins <= (self.winners - least)[:, None])] = 0.0
        new = np.where(self.wins >= least, 1, np.where(self.wins <= self.winners - least, -1, 0))
        fresh = (self.verdict == 0) & (new != 0)
        self.verdict = np.where(fresh, new, self.verdict)
        self.stopped = np.where(fresh, self.n, self.stopped)

    def copies(self, comparisons: int) -> SequentialPairs:
        """The first comparison, ``comparisons`` times, to be continued in different ways."""
        copy = SequentialPairs(self.most, self.alpha, comparisons)
        copy.n = self.n
        for name in ("wins", "winners", "verdict", "stopped", "_mass", "_spent"):
            setattr(copy, name, np.repeat(getattr(self, name)[:1], comparisons, axis=0))
        return copy


def forecast(state: SequentialPairs) -> dict[str, float | int | None]:
    """What an open comparison still needs, where the rates are those seen so far.

    Returns:
        ``chance`` of a verdict within the pairs that are left, and the median number of further ``pairs`` with which it
        comes, None where it never came in `CONTINUATIONS` continuations.
    """
    left = state.most - state.n
    first = (int(state.wins[0]) + 0.5) / (state.n + 1)  # half a pair each, so that nothing is impossible
    second = (int(state.winners[0] - state.wins[0]) + 0.5) / (state.n + 1)
    rng = np.random.default_rng(SEED)
    copies = state.copies(CONTINUATIONS)
    for _ in range(left):
        draw = rng.random(CONTINUATIONS)
        copies.add(draw < first, (first <= draw) & (draw < first + second))
        if copies.verdict.all():
            break
    came = copies.stopped[copies.verdict != 0] - state.n
    return {"chance": len(came) / CONTINUATIONS, "pairs": int(np.median(came)) if len(came) else None}
