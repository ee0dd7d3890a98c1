"""From actions to joint targets: end-effector deltas through inverse kinematics, or joint positions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_agent.robot.kinematics.inverse_kinematics import Kinematics
from vla_agent.robot.kinematics.rotation import clip_norm, rotate, rotation_between

MAX_TRANSLATION = 0.025  # metres of one action, each axis
MAX_ROTATION = 0.15  # radians of one action, each axis
MAX_LAG = (0.04, 0.3)  # metres, radians between commanded and measured pose


@dataclass(frozen=True)
class MotionLimits:
    """``step`` (J,): radians of a joint in a control period.  ``low``, ``high`` (3,): of the commanded position."""

    step: np.ndarray
    low: np.ndarray
    high: np.ndarray


class PoseController:
    """Integrates the commanded pose, and turns each action into joint targets (J,) and a gripper target.

    Args:
        kinematics: of the arm; it starts at its home posture.
        limits: of the motion.
        mode: ``ee_delta`` or ``joint_position``.
    """

    def __init__(self, kinematics: Kinematics, limits: MotionLimits, mode: str) -> None:
        self.mode, self.kinematics, self._limits = mode, kinematics, limits
        self.joints = kinematics.home.copy()
        self.gripper = 0.0
        self.position, self.quaternion = kinematics.forward(self.joints)

    def command(self, action: np.ndarray, position: np.ndarray, quaternion: np.ndarray) -> None:
        """Apply one action, clipped to the limits; sets ``joints`` (J,) and ``gripper``.

        Args:
            action: (7,) in mode "ee_delta", (J + 1,) in mode "joint_position"; the gripper last, 0 open to 1 closed.
            position: (3,) measured end-effector position.
            quaternion: (4,) measured end-effector rotation, wxyz.
        """
        if self.mode == "ee_delta":
            wanted = self._follow(action, position, quaternion)
        else:
            wanted = np.clip(action[:-1], self.kinematics.low, self.kinematics.high)
        self.joints = self.joints + np.clip(wanted - self.joints, -self._limits.step, self._limits.step)
        if self.mode == "joint_position":
            self.position, self.quaternion = self.kinematics.forward(self.joints)
        self.gripper = min(max(float(action[-1]), 0.0), 1.0)

    def _follow(self, action: np.ndarray, position: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
        moved = self.position + np.clip(action[:3], -MAX_TRANSLATION, MAX_TRANSLATION)
        turned = rotate(self.quaternion, np.clip(action[3:6], -MAX_ROTATION, MAX_ROTATION))
        moved = position + clip_norm(moved - position, MAX_LAG[0])
        turned = rotate(quaternion, clip_norm(rotation_between(quaternion, turned), MAX_LAG[1]))
        self.position, self.quaternion = np.clip(moved, self._limits.low, self._limits.high), turned
        return self.kinematics.inverse(self.joints, self.position, self.quaternion)

    def get_state(self) -> tuple[np.ndarray, ...]:
        """The state that `set_state` restores."""
        return self.joints.copy(), self.position.copy(), self.quaternion.copy(), np.array([self.gripper])

    def set_state(self, state: tuple[np.ndarray, ...]) -> None:
        """Restore an earlier state."""
        self.joints, self.position, self.quaternion = (part.copy() for part in state[:3])
        self.gripper = float(state[3][0])
