"""The kinematics and the controller that a robot's file describes."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np

from vla_agent.errors import RobotError
from vla_agent.robot.description import Robot
from vla_agent.robot.kinematics.inverse_kinematics import IKSettings, Kinematics
from vla_agent.robot.kinematics.pose_controller import MotionLimits, PoseController


def kinematics_of(robot: Robot) -> Kinematics:
    """Forward and inverse kinematics on the robot's own model.

    Raises:
        RobotError: the model cannot be read, or lacks a joint or the end effector.
    """
    path = robot.model_path()
    settings = IKSettings(robot.kinematics.rounds, robot.kinematics.null_gain)
    try:
        return Kinematics(
            _skeleton(path),
            robot.joint_names,
            robot.end_effector,
            np.array(robot.home),
            (robot.low, robot.high),
            settings,
        )
    except (ValueError, KeyError) as error:
        raise RobotError(
            "the robot's model cannot be used",
            file=path,
            key="model, joints, end_effector",
            expected=f"a model with joints {', '.join(robot.joint_names)} and site {robot.end_effector}",
            found=str(error).splitlines()[0],
            remedy="name another model, or use the model's own names",
        ) from error


def controller_of(robot: Robot, mode: str) -> PoseController:
    """Turns actions of a mode (``ee_delta`` or ``joint_position``) into joint targets within the robot file's limits.

    Raises:
        RobotError: the model cannot be used.
    """
    box = robot.kinematics.workspace or robot.workspace
    limits = MotionLimits(robot.limits("velocity") * robot.period, np.array(box.low), np.array(box.high))
    return PoseController(kinematics_of(robot), limits, mode)


def _skeleton(path: Path) -> mujoco.MjModel:
    """The bodies, joints and sites of a model: all that kinematics needs, and compiled in a moment."""
    spec = mujoco.MjSpec.from_file(str(path))
    for element in (*spec.equalities, *spec.actuators, *spec.tendons, *spec.sensors, *spec.pairs, *spec.geoms):
        spec.delete(element)
    for mesh in list(spec.meshes):
        spec.delete(mesh)
    spec.compiler.boundmass = spec.compiler.boundinertia = 1.0  # of links that had their mass from what was deleted
    return spec.compile()
