"""Keys and gamepads: what a person wants the end effector to do, and from it an action of the form ``ee_delta``.

Axes are those of the robot's base: x forward, y to the robot's left, z up; then rotations about them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vla_agent.errors import NodeError

AXES = ("x", "y", "z", "roll", "pitch", "yaw")
KEYS = {  # key -> axis and direction
    **{"w": (0, 1), "s": (0, -1), "a": (1, 1), "d": (1, -1), "r": (2, 1), "f": (2, -1)},
    **{"u": (3, 1), "o": (3, -1), "i": (4, 1), "k": (4, -1), "j": (5, 1), "l": (5, -1)},
}
TAKE, GRIPPER, STOP = " ", "g", "x"  # take over or give back, close or open, request a stop
HELD = 0.25  # seconds that a key counts as held: a terminal tells no release, and repeats about 30 times a second
SILENT = 0.5  # seconds without a message of the gamepad after which it counts as let go
DEAD = 0.1  # part of an axis around its middle that counts as none
HELP = "space: take over, give back; w s a d r f: move; u o i k j l: turn; g: gripper; x: stop"


@dataclass(frozen=True)
class Wish:
    """``axes`` (6,), each -1 to 1; ``gripper``: 0 open to 1 closed; ``takes``: whether the person commands."""

    axes: np.ndarray
    gripper: float
    takes: bool


class Keyboard:
    """Keys of a terminal.  Times are seconds of any monotonic clock."""

    def __init__(self) -> None:
        self._until = np.full(6, -np.inf)
        self._signs = np.zeros(6)
        self.takes, self.gripper, self.stops = False, 0.0, False

    def press(self, key: str, now: float) -> None:
        """A key; one that means nothing is ignored."""
        key = key.lower()
        if key in KEYS:
            axis, sign = KEYS[key]
            self._until[axis], self._signs[axis] = now + HELD, sign
        elif key == TAKE:
            self.takes = not self.takes
        elif key == GRIPPER:
            self.gripper = 1.0 - self.gripper
        elif key == STOP:
            self.stops = True

    def wish(self, now: float) -> Wish:
        """What the keys say now."""
        return Wish(np.where(self._until > now, self._signs, 0.0), self.gripper, self.takes)


class Gamepad:
    """A ``sensor_msgs/Joy``.

    Args:
        axes: number of the gamepad's axis for each of `AXES`, counted from 1; negative: reversed; 0: none.
        buttons: numbers, counted from 0, of the button that is held to command, and those that close and open the
            gripper.

    Raises:
        NodeError: other than six axes and three buttons, or a button below 0.
    """

    def __init__(self, axes: Sequence[int], buttons: Sequence[int]) -> None:
        if len(axes) != len(AXES) or len(buttons) != 3 or min(buttons) < 0:
            raise NodeError(
                "the gamepad's mapping is wrong",
                key="axes, buttons",
                expected=f"6 axes ({', '.join(AXES)}) from 1, 0 for none; 3 buttons (hold, close, open) from 0",
                found=f"{list(axes)}, {list(buttons)}",
                remedy="`ros2 topic echo /joy` shows the numbers of your gamepad",
            )
        self._axes, self._buttons = tuple(axes), tuple(buttons)
        self._values, self._held, self._at = np.zeros(6), False, -np.inf
        self.gripper = 0.0
        self.problem = ""  # why the last message cannot be used

    def read(self, axes: Sequence[float], buttons: Sequence[int], now: float) -> None:
        """A message; one with fewer axes or buttons than the mapping names lets go, and is a `problem`."""
        needed, count = max(map(abs, self._axes)), max(self._buttons)
        self.problem = ""
        if len(axes) < needed or len(buttons) <= count:
            self.problem = (
                f"the gamepad has {len(axes)} axes and {len(buttons)} buttons: {needed} and {count + 1} named"
            )
        elif not np.isfinite(axes).all():
            self.problem = "the gamepad's axes are not finite"
        self._at, self._held = now, not self.problem and bool(buttons[self._buttons[0]])
        if self.problem:
            return
        picked = np.array([np.sign(k) * axes[abs(k) - 1] if k else 0.0 for k in self._axes])
        self._values = np.where(np.abs(picked) < DEAD, 0.0, np.clip(picked, -1.0, 1.0))
        if buttons[self._buttons[1]]:
            self.gripper = 1.0
        elif buttons[self._buttons[2]]:
            self.gripper = 0.0

    def wish(self, now: float) -> Wish:
        """What the gamepad says now; one that is silent has let go."""
        takes = self._held and now - self._at < SILENT
        return Wish(self._values if takes else np.zeros(6), self.gripper, takes)


def ee_delta(wish: Wish, step: float, turn: float) -> np.ndarray:
    """The action (7,) of a wish: ``step`` m and ``turn`` rad a control period at full deflection; the gripper."""
    return np.concatenate([wish.axes[:3] * step, wish.axes[3:] * turn, [wish.gripper]])
