"""Who commands: the policy, or a person whose actions the policy node passes on (topic teleop/action).

The stream of actions goes on over both hand-overs, so that the arm is never left to itself and a recording has no gap:
the person's first action follows the policy's last one, and after the person's last one the arm is held (`Step.HOLD`)
until the policy acts.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import numpy as np

PATIENCE = 2.0  # seconds that the arm is held for the policy after a person has ended
NEAREST = 0.5  # periods between two actions at least, as the supervisor demands
RESET = 1.0  # seconds by which a clock goes back where it began again
HELD_STILL = ("ee_translation", "ee_rotation")  # components that are changes: none of them, and the arm is held


class Step(Enum):
    """What the policy node does."""

    REFUSE = "refuse"  # the components are others than the policy's
    DROP = "drop"  # too soon after the last action
    PASS = "pass"  # publish it
    HOLD = "hold"  # publish `HandOver.hold`
    END = "end"  # end the stream: the robot rests
    NOTHING = "nothing"


class HandOver:
    """The state of a takeover; times in seconds of the clock of the stamps.

    Args:
        period: control period, seconds.
    """

    def __init__(self, period: float) -> None:
        self._period = period
        self.taken = False  # a person commands
        self._since: float | None = None  # when the policy's turn began, while it has not acted yet
        self._last = -np.inf  # stamp of the last action, whoever's
        self._row: np.ndarray | None = None

    @property
    def active(self) -> bool:
        """Whether a person commands, or the arm is held for the policy after that."""
        return self.taken or self._since is not None

    @property
    def next_stamp(self) -> float:
        """Stamp of an action that follows the last one."""
        return self._last + self._period

    def release(self) -> None:
        """The stream has ended for another reason: a stop, another instruction.  The policy's turn."""
        self.taken, self._since, self._row, self._last = False, None, None, -np.inf

    def fits(self, stamp: float) -> bool:
        """Whether an action of the policy may follow a person's last one; then it counts as published."""
        if self._since is not None and stamp - self._last < NEAREST * self._period:
            return False
        self._last, self._since = stamp, None
        return True

    def take(self, names: Sequence[str], row: np.ndarray | None, expected: Sequence[str], stamp: float) -> Step:
        """A message of a person.

        Args:
            names: its action components.
            row: (A,) its action; None ends the takeover.
            expected: the components of the policy's actions.
            stamp: of its control step.
        """
        if row is None:
            if self.taken:
                self.taken, self._since = False, stamp
            return Step.NOTHING
        if list(names) != list(expected) or not np.isfinite(row).all():
            return Step.REFUSE
        self.taken, self._since = True, None
        if -RESET < stamp - self._last < NEAREST * self._period:
            return Step.DROP
        still = [name.split(".")[0] in HELD_STILL for name in names]
        self._last, self._row = stamp, np.where(still, 0.0, row)
        return Step.PASS

    def wait(self, now: float, instructed: bool) -> Step:
        """Called while it is the policy's turn and it does not act.  ``instructed``: it has an instruction."""
        if self._since is None or self._row is None:
            return Step.NOTHING
        if not instructed or now - self._since > PATIENCE:
            self.release()
            return Step.END
        return Step.HOLD if now >= self.next_stamp else Step.NOTHING

    def hold(self) -> tuple[np.ndarray, float]:
        """The action (A,) that holds the arm, and its stamp; it counts as published."""
        assert self._row is not None
        self._last = self.next_stamp
        return self._row, self._last
