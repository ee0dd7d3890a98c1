"""From actions to joint targets: end-effector deltas through inverse kinematics, or joint positions.

Inverse kinematics is damped least squares (Wampler, 1986; Buss, 2004) with a null-space pull towards a home posture,
on a model of the arm alone.
"""

from __future__ import annotations

import mujoco
import numpy as np

from sim.model import build_arm
from vla_agent.control.rotation import rotation_between, shortened, turn

HOME = np.array([0.0, 0.195, 0.0, -2.43, 0.0, 2.62, 0.785])  # rad; the gripper points down, elbow up
MAX_TRANSLATION = 0.025  # metres per control period, each axis
MAX_ROTATION = 0.15  # radians per control period, each axis
MAX_JOINT_STEP = np.array([0.109] * 4 + [0.13] * 3)  # radians per control period: the Panda's joint speed limits
MAX_LAG = (0.04, 0.3)  # metres, radians between commanded and measured pose
WORKSPACE = (np.array([0.22, -0.42, 0.004]), np.array([0.80, 0.42, 0.50]))  # of the commanded position
ACTION_LIMITS = {  # mode -> lowest and highest action
    "ee_delta": (
        np.array([-MAX_TRANSLATION] * 3 + [-MAX_ROTATION] * 3 + [0.0], np.float32),
        np.array([MAX_TRANSLATION] * 3 + [MAX_ROTATION] * 3 + [1.0], np.float32),
    ),
    "joint_position": (
        np.array([-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973, 0.0], np.float32),
        np.array([2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973, 1.0], np.float32),
    ),
}
DAMPING = 1e-3
NULL_GAIN = 0.05


def down_quaternion(yaw: float) -> np.ndarray:
    """(4,) wxyz of the end effector pointing down; at yaw 0 its x is the base's x and the fingers close along y."""
    return np.array([0.0, np.cos(yaw / 2), np.sin(yaw / 2), 0.0])


class Kinematics:
    """Forward and inverse kinematics of the arm."""

    def __init__(self) -> None:
        self._model = build_arm()
        self._data = mujoco.MjData(self._model)
        self._site = self._model.site("ee").id
        self._jacobian = np.zeros((6, 7))
        self.low, self.high = self._model.jnt_range[:, 0].copy(), self._model.jnt_range[:, 1].copy()

    def forward(self, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Joint positions (7,) -> end-effector position (3,) and quaternion (4,) wxyz."""
        model, data = self._model, self._data
        data.qpos[:] = joints
        mujoco.mj_kinematics(model, data)
        quaternion = np.empty(4)
        mujoco.mju_mat2Quat(quaternion, data.site_xmat[self._site])
        return data.site_xpos[self._site].copy(), quaternion

    def inverse(self, start: np.ndarray, position: np.ndarray, quaternion: np.ndarray, rounds: int = 2) -> np.ndarray:
        """(7,) joint positions near ``start`` whose end effector comes nearest to the pose."""
        model, data, jacobian = self._model, self._data, self._jacobian
        joints = start.copy()
        error = np.empty(6)
        for _ in range(rounds):
            reached, turned = self.forward(joints)
            mujoco.mj_comPos(model, data)
            mujoco.mj_jacSite(model, data, jacobian[:3], jacobian[3:], self._site)
            error[:3] = position - reached
            error[3:] = rotation_between(turned, quaternion)
            gram = jacobian @ jacobian.T
            gram.flat[::7] += DAMPING
            rest = NULL_GAIN * (HOME - joints)
            joints += rest + jacobian.T @ np.linalg.solve(gram, error - jacobian @ rest)
            np.clip(joints, self.low, self.high, out=joints)
        return joints


class Controller:
    """Keeps the commanded pose and turns actions into joint targets and a gripper target."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.kinematics = Kinematics()
        self.joints = HOME.copy()
        self.gripper = 0.0
        self.position, self.quaternion = self.kinematics.forward(self.joints)

    def start(self, position: np.ndarray, yaw: float, gripper: float) -> np.ndarray:
        """Command a gripper-down pose at once; returns the joint positions (7,) that reach it."""
        self.position, self.quaternion = np.array(position, dtype=np.float64), down_quaternion(yaw)
        self.joints = self.kinematics.inverse(HOME, self.position, self.quaternion, rounds=60)
        self.gripper = float(gripper)
        return self.joints

    def command(self, action: np.ndarray, position: np.ndarray, quaternion: np.ndarray) -> None:
        """Take one action, clipped to the limits; sets ``joints`` and ``gripper``.

        Args:
            action: (7,) or (8,), see :data:`ACTION_LIMITS`.
            position: (3,) measured end-effector position.
            quaternion: (4,) measured end-effector rotation, wxyz.
        """
        if self.mode == "ee_delta":
            wanted = self._follow(action, position, quaternion)
        else:
            wanted = np.clip(action[:7], self.kinematics.low, self.kinematics.high)
        self.joints = self.joints + np.clip(wanted - self.joints, -MAX_JOINT_STEP, MAX_JOINT_STEP)
        if self.mode == "joint_position":
            self.position, self.quaternion = self.kinematics.forward(self.joints)
        self.gripper = min(max(float(action[-1]), 0.0), 1.0)

    def _follow(self, action: np.ndarray, position: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
        moved = self.position + np.clip(action[:3], -MAX_TRANSLATION, MAX_TRANSLATION)
        turned = turn(self.quaternion, np.clip(action[3:6], -MAX_ROTATION, MAX_ROTATION))
        moved = position + shortened(moved - position, MAX_LAG[0])
        turned = turn(quaternion, shortened(rotation_between(quaternion, turned), MAX_LAG[1]))
        self.position, self.quaternion = np.clip(moved, *WORKSPACE), turned
        return self.kinematics.inverse(self.joints, self.position, self.quaternion)

    def get_state(self) -> tuple[np.ndarray, ...]:
        return self.joints.copy(), self.position.copy(), self.quaternion.copy(), np.array([self.gripper])

    def set_state(self, state: tuple[np.ndarray, ...]) -> None:
        self.joints, self.position, self.quaternion = (part.copy() for part in state[:3])
        self.gripper = float(state[3][0])
