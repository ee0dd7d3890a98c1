"""A robot file's model as a figure in the window: where each link is, from joint positions."""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np

from vla_agent.robot.description import Robot
from vla_agent.robot.model.loading import load_model
from vla_agent.view.source import Scene
from vla_agent.view.sources.mujoco_scene import poses_of, scene_of

SETTLE = 25  # physics steps in which passive joints, such as those of a gripper's fingers, follow the others
SAME = 0.002  # rad or m: what moves less does not move the passive joints
WITHOUT = (
    mujoco.mjtDisableBit.mjDSBL_CONTACT | mujoco.mjtDisableBit.mjDSBL_GRAVITY | mujoco.mjtDisableBit.mjDSBL_ACTUATION
)


class RobotFigure:
    """``scene``: the robot's geometry.

    Args:
        prefix: before every body's name; tells two robots apart in one scene.
        offset: (3,) metres, where its base stands.

    Raises:
        RobotError: the model cannot be read.
    """

    def __init__(self, robot: Robot, prefix: str = "", offset: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> None:
        self._model = load_model(robot.model_source()).spec.compile()
        self._model.opt.disableflags |= WITHOUT
        self._data = mujoco.MjData(self._model)
        self._prefix, self._offset = prefix, np.array(offset)
        self._site = self._model.site(robot.end_effector).id
        names = (self._model.joint(k).name for k in range(self._model.njnt))
        self._joints = {name: self._model.joint(name).id for name in names if name}
        self._arm_names = frozenset(robot.joint_names)
        self._settled: tuple[float, ...] = ()  # the gripper's joints when the passive ones last moved
        self._arm = np.array([self._model.joint(name).qposadr[0] for name in robot.joint_names])
        self.scene: Scene = scene_of(self._model, prefix)
        self.pose(dict(zip(robot.joint_names, robot.home, strict=True)))

    def pose(self, positions: Mapping[str, float]) -> dict[str, np.ndarray]:
        """Poses of all bodies for joint positions (rad or m); joints that are not named follow where the model ties
        them to others, and else stay as they were."""
        model, data = self._model, self._data
        known = {name: value for name, value in positions.items() if name in self._joints and np.isfinite(value)}
        self._settle(known)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        poses = poses_of(model, data, self._prefix)
        for pose in poses.values():
            pose[:3] += self._offset
        return poses

    def _settle(self, known: Mapping[str, float]) -> None:
        """Hold the ``known`` joints, and let springs and equalities bring those that follow them to rest."""
        model, data = self._model, self._data
        joints = [self._joints[name] for name in known]
        places, speeds = model.jnt_qposadr[joints], model.jnt_dofadr[joints]
        values = np.array(list(known.values()))
        gripper = tuple(value for name, value in known.items() if name not in self._arm_names)
        same = len(gripper) == len(self._settled) and np.allclose(gripper, self._settled, rtol=0.0, atol=SAME)
        for _ in range(SETTLE if model.neq and not same else 0):
            data.qpos[places], data.qvel[speeds] = values, 0.0
            mujoco.mj_step(model, data)
        data.qpos[places], data.qvel[:] = values, 0.0
        self._settled = self._settled if same else gripper

    @property
    def end_effector(self) -> np.ndarray:
        """(3,) metres: where it is in the pose of the last `pose`."""
        return self._data.site_xpos[self._site] + self._offset

    def path(self, rows: np.ndarray) -> np.ndarray:
        """(N, 3): where the end effector is for arm joints (N, J); the pose is left as it was."""
        model, data = self._model, self._data
        before, points = data.qpos.copy(), []
        for row in rows:
            data.qpos[self._arm] = row
            mujoco.mj_kinematics(model, data)
            points.append(data.site_xpos[self._site] + self._offset)
        data.qpos[:] = before
        mujoco.mj_kinematics(model, data)
        return np.array(points).reshape(-1, 3)
