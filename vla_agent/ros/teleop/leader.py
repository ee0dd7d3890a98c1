"""A leader arm: its joint states become joint targets of the robot, or steps of the robot's end effector."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_agent.errors import NodeError
from vla_agent.robot.kinematics.rotation import rotate, rotation_between

Forward = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # joints (J,) -> position (3,) m, quaternion wxyz (4,)


@dataclass(frozen=True)
class LeaderMapping:
    """How a leader's joints lead: robot joint = sign * leader joint + offset, rad, in the robot's order.

    ``gripper``: joint of the leader's handle, empty for none; ``gripper_open``, ``gripper_closed``: its positions.
    """

    joints: tuple[str, ...]
    signs: tuple[float, ...]
    offsets: tuple[float, ...]
    gripper: str = ""
    gripper_open: float = 0.0
    gripper_closed: float = 1.0

    @classmethod
    def checked(cls, robot_joints: Sequence[str], values: Mapping[str, Any]) -> LeaderMapping:
        """From the parameters ``leader_*``; where they are empty: the robot's own names, signs of 1, offsets of 0.

        Raises:
            NodeError: a list of another length than the robot has joints, a sign that is not 1 or -1, an offset that is
                no number, or a handle whose open and closed positions are the same.
        """
        count = len(robot_joints)
        lists: dict[str, list[str]] = {}
        for key in ("leader_joints", "leader_signs", "leader_offsets"):
            words = [word.strip() for word in str(values[key]).split(",") if str(values[key]).strip()]
            if words and len(words) != count:
                raise _wrong(key, f"one for each of the robot's {count} joints, separated by commas, or none", words)
            lists[key] = words
        signs = _numbers("leader_signs", lists["leader_signs"] or ["1"] * count)
        if any(abs(sign) != 1 for sign in signs):
            raise _wrong("leader_signs", "1 or -1 each", lists["leader_signs"])
        opened, closed = float(values["leader_gripper_open"]), float(values["leader_gripper_closed"])
        if opened == closed:
            raise _wrong("leader_gripper_closed", "another position than leader_gripper_open", closed)
        return cls(
            tuple(lists["leader_joints"]) or tuple(robot_joints),
            signs,
            _numbers("leader_offsets", lists["leader_offsets"] or ["0"] * count),
            str(values["leader_gripper"]),
            opened,
            closed,
        )

    def targets(self, positions: np.ndarray) -> np.ndarray:
        """Leader joints (J,) -> robot joints (J,), rad."""
        return np.array(self.signs) * positions + np.array(self.offsets)

    def fraction(self, position: float) -> float:
        """Position of the handle -> 0 open to 1 closed; beyond its ends it is at the end."""
        return float(np.clip((position - self.gripper_open) / (self.gripper_closed - self.gripper_open), 0.0, 1.0))


def _numbers(key: str, words: Sequence[str]) -> tuple[float, ...]:
    try:
        numbers = tuple(float(word) for word in words)
    except ValueError:
        numbers = (np.nan,)
    if not np.isfinite(numbers).all():
        raise _wrong(key, "finite numbers separated by commas", list(words))
    return numbers


def _wrong(key: str, expected: str, found: object) -> NodeError:
    return NodeError(
        "the leader arm's mapping is wrong", key=key, expected=expected, found=found, remedy="correct the parameter"
    )


class PoseFollower:
    """Steps of the end effector that lead from where the robot stood to where the leader points.

    Args:
        forward: kinematics of the robot.
        joints: (J,) of the robot at the takeover.
        most: largest step of a control period, (m, rad) a component.
    """

    def __init__(self, forward: Forward, joints: np.ndarray, most: tuple[float, float]) -> None:
        self._forward, self._most = forward, most
        self._position, self._quaternion = forward(joints)

    def step(self, targets: np.ndarray) -> np.ndarray:
        """Joint targets (J,) -> (6,) translation (m) and rotation vector (rad) of this control period."""
        position, quaternion = self._forward(targets)
        translation = np.clip(position - self._position, -self._most[0], self._most[0])
        turn = np.clip(rotation_between(self._quaternion, quaternion), -self._most[1], self._most[1])
        self._position = self._position + translation
        self._quaternion = rotate(self._quaternion, turn)
        return np.concatenate([translation, turn])
