"""Makes the kinematics and the pose controller that a robot file describes."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np

from vla_agent.errors import RobotError
from vla_agent.robot.description import Robot
from vla_agent.robot.kinematics.inverse_kinematics import IKSettings, Kinematics
from vla_agent.robot.kinematics.pose_controller import MotionLimits, PoseController


def make_kinematics(robot: Robot) -> Kinematics:
    """Forward and inverse kinematics on the robot's own model.

    Raises:
        RobotError: the model cannot be read, lacks a joint or the end effector, or a joint is neither hinge nor slide.
    """
    path = robot.model_path()
    settings = IKSettings(robot.kinematics.rounds, robot.kinematics.null_gain)
    try:
        return Kinematics(
            skeleton(path).compile(),
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
            remedy="use another model, or the model's own names",
        ) from error


def make_pose_controller(robot: Robot, mode: str) -> PoseController:
    """Turns actions of a mode (``ee_delta`` or ``joint_position``) into joint targets within the robot file's limits.

    Raises:
        RobotError: the model cannot be used.
    """
    box = robot.kinematics.workspace or robot.workspace
    limits = MotionLimits(robot.limits("velocity") * robot.period, np.array(box.low), np.array(box.high))
    return PoseController(make_kinematics(robot), limits, mode)


def skeleton(path: Path) -> mujoco.MjSpec:
    """Bodies, joints and sites of a model: all that kinematics needs, and fast to compile."""
    spec = mujoco.MjSpec.from_file(str(path))
    for element in (*spec.equalities, *spec.actuators, *spec.tendons, *spec.sensors, *spec.pairs, *spec.geoms):
        spec.delete(element)
    for mesh in list(spec.meshes):
        spec.delete(mesh)
    spec.compiler.boundmass = spec.compiler.boundinertia = 1.0  # the deleted geoms gave the links their mass
    return spec
