"""Who commands: the policy, or a person whose actions the policy node passes on (topic teleop/action)."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

SETTLE = 0.3  # seconds between the policy's last action and the person's first: the arm comes to rest


class Step(Enum):
    """What the policy node does with one message of teleop/action."""

    REFUSE = "refuse"  # its components are others than the policy's
    BEGIN = "begin"  # end the policy's stream; the message is dropped
    WAIT = "wait"  # the arm comes to rest; the message is dropped
    PASS = "pass"  # publish it
    END = "end"  # publish it: it ends the stream; the policy observes anew
    IGNORE = "ignore"


class HandOver:
    """The state of a takeover; times in seconds of the clock of the stamps."""

    def __init__(self) -> None:
        self._since: float | None = None

    @property
    def taken(self) -> bool:
        """Whether a person commands."""
        return self._since is not None

    def release(self) -> None:
        """The supervisor stopped, or the policy was given another instruction: the policy's turn again."""
        self._since = None

    def step(self, names: Sequence[str], points: int, expected: Sequence[str], now: float) -> Step:
        """Take one message.

        Args:
            names: its action components.
            points: number of its actions; 0 ends the takeover.
            expected: the components of the policy's actions.
            now: time of the control clock.
        """
        if not points:
            ended, self._since = self.taken, None
            return Step.END if ended else Step.IGNORE
        if list(names) != list(expected):
            return Step.REFUSE
        if self._since is None:
            self._since = now
            return Step.BEGIN
        return Step.PASS if now - self._since >= SETTLE else Step.WAIT
