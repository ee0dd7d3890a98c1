"""Inverse kinematics on the model that a robot's file names: for every arm but the simulated Panda, which has its own.

Damped least squares (Wampler, 1986; Buss, 2004) with a pull towards the home posture.  An arm of fewer than six joints
cannot take every pose: there the position counts more than the rotation, by `POSITION_FIRST`.
"""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np

from vla_agent.control.rotation import rotation_between, shortened, turn
from vla_agent.errors import RobotError
from vla_agent.robot import Robot

DAMPING = 1e-3
NULL_GAIN = 0.02
ROUNDS = 4
POSITION_FIRST = 0.05  # metres of position error that weigh as much as a radian of rotation error
MAX_TRANSLATION, MAX_ROTATION = 0.025, 0.15  # of one action: metres, each axis; radians, each axis
MAX_LAG = (0.04, 0.3)  # metres, radians between commanded and measured pose


class ModelKinematics:
    """Forward and inverse kinematics of a robot's joints (J,), base frame: the model's own.

    Raises:
        RobotError: the model cannot be read, or lacks a joint or the end effector.
    """

    def __init__(self, robot: Robot) -> None:
        path = robot.model_path()
        try:
            self._model = _skeleton(path)
            joints = [self._model.joint(name) for name in robot.joint_names]
            self._site = self._model.site(robot.end_effector).id
        except (ValueError, KeyError) as error:
            raise RobotError(
                "the robot's model cannot be used",
                file=path,
                key="model, joints, end_effector",
                expected=f"a model with joints {', '.join(robot.joint_names)} and site {robot.end_effector}",
                found=str(error).splitlines()[0],
                remedy="name another model, or use the model's own names",
            ) from error
        self._data = mujoco.MjData(self._model)
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self._dofs = np.array([joint.dofadr[0] for joint in joints])
        self._home = np.array(robot.home)
        ranges = np.array([joint.range if joint.limited else (-np.inf, np.inf) for joint in joints])
        self.low, self.high = ranges[:, 0], ranges[:, 1]
        self._clip = np.maximum(self.low, robot.low), np.minimum(self.high, robot.high)
        self._weight = np.ones(6)
        self._weight[3:] = POSITION_FIRST if len(joints) < 6 else 1.0

    def forward(self, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Joint positions (J,) -> end-effector position (3,) and quaternion (4,) wxyz."""
        self._data.qpos[self._qpos] = joints
        mujoco.mj_kinematics(self._model, self._data)
        quaternion = np.empty(4)
        mujoco.mju_mat2Quat(quaternion, self._data.site_xmat[self._site])
        return self._data.site_xpos[self._site].copy(), quaternion

    def inverse(self, start: np.ndarray, position: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
        """(J,) joint positions near ``start``, within the limits, whose end effector comes nearest to the pose."""
        whole = np.zeros((6, self._model.nv))
        joints, error = np.array(start, dtype=np.float64), np.empty(6)
        for _ in range(ROUNDS):
            reached, turned = self.forward(joints)
            mujoco.mj_comPos(self._model, self._data)
            mujoco.mj_jacSite(self._model, self._data, whole[:3], whole[3:], self._site)
            jacobian = whole[:, self._dofs] * self._weight[:, None]
            error[:3], error[3:] = position - reached, rotation_between(turned, quaternion)
            gram = jacobian @ jacobian.T
            gram.flat[::7] += DAMPING * self._weight.min() ** 2
            rest = NULL_GAIN * (self._home - joints)
            joints = joints + rest + jacobian.T @ np.linalg.solve(gram, error * self._weight - jacobian @ rest)
            joints = np.clip(joints, *self._clip)
        return joints


class ModelController:
    """Keeps the commanded pose and turns actions into joint targets, as `sim.control.Controller` does for the Panda.

    Limits are the robot file's: how far a joint goes in a period, and the workspace.
    """

    def __init__(self, robot: Robot, mode: str) -> None:
        self._mode, self.kinematics = mode, ModelKinematics(robot)
        self._step = robot.limits("velocity") * robot.period
        self._low, self._high = np.array(robot.workspace.low), np.array(robot.workspace.high)
        self.joints = np.array(robot.home)
        self.position, self.quaternion = self.kinematics.forward(self.joints)
        self.gripper = 0.0

    def command(self, action: np.ndarray, position: np.ndarray, quaternion: np.ndarray) -> None:
        """Take one action, clipped to the limits; sets ``joints`` (J,) and ``gripper``.

        Args:
            action: (7,) in mode "ee_delta", (J + 1,) in mode "joint_position"; the gripper last, 0 open to 1 closed.
            position: (3,) measured end-effector position.
            quaternion: (4,) measured end-effector rotation, wxyz.
        """
        wanted = self._follow(action, position, quaternion) if self._mode == "ee_delta" else action[:-1]
        self.joints = self.joints + np.clip(wanted - self.joints, -self._step, self._step)
        if self._mode == "joint_position":
            self.position, self.quaternion = self.kinematics.forward(self.joints)
        self.gripper = min(max(float(action[-1]), 0.0), 1.0)

    def _follow(self, action: np.ndarray, position: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
        moved = self.position + np.clip(action[:3], -MAX_TRANSLATION, MAX_TRANSLATION)
        turned = turn(self.quaternion, np.clip(action[3:6], -MAX_ROTATION, MAX_ROTATION))
        moved = position + shortened(moved - position, MAX_LAG[0])
        turned = turn(quaternion, shortened(rotation_between(quaternion, turned), MAX_LAG[1]))
        self.position, self.quaternion = np.clip(moved, self._low, self._high), turned
        return self.kinematics.inverse(self.joints, self.position, self.quaternion)

    def get_state(self) -> tuple[np.ndarray, ...]:
        """Everything that `set_state` needs to come back here."""
        return self.joints.copy(), self.position.copy(), self.quaternion.copy(), np.array([self.gripper])

    def set_state(self, state: tuple[np.ndarray, ...]) -> None:
        """Go back to an earlier state."""
        self.joints, self.position, self.quaternion = (part.copy() for part in state[:3])
        self.gripper = float(state[3][0])


def _skeleton(path: Path) -> mujoco.MjModel:
    """The bodies, joints and sites of a model: all that kinematics needs, and compiled in a moment."""
    spec = mujoco.MjSpec.from_file(str(path))
    for element in (*spec.equalities, *spec.actuators, *spec.tendons, *spec.sensors, *spec.pairs, *spec.geoms):
        spec.delete(element)
    for mesh in list(spec.meshes):
        spec.delete(mesh)
    spec.compiler.boundmass = spec.compiler.boundinertia = 1.0  # of links that had their mass from what was deleted
    return spec.compile()
