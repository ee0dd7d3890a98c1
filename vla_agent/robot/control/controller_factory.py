"""Makes the kinematics and the pose controller that a robot file describes."""

from __future__ import annotations

import mujoco
import numpy as np

from vla_agent.errors import RobotError
from vla_agent.robot.description import Robot
from vla_agent.robot.kinematics.inverse_kinematics import IKSettings, Kinematics
from vla_agent.robot.kinematics.pose_controller import MotionLimits, PoseController
from vla_agent.robot.model.loading import load_model


def make_kinematics(robot: Robot) -> Kinematics:
    """Forward and inverse kinematics on the robot's own model.

    Raises:
        RobotError: the model cannot be read, lacks a joint or the end effector, or a joint is neither hinge nor slide.
    """
    spec = skeleton(robot)
    settings = IKSettings(robot.kinematics.rounds, robot.kinematics.null_gain)
    try:
        return Kinematics(
            spec.compile(),
            robot.joint_names,
            robot.end_effector,
            np.array(robot.home),
            (robot.low, robot.high),
            settings,
        )
    except (ValueError, KeyError) as error:
        raise RobotError(
            "the robot's model cannot be used",
            file=robot.model_path(),
            key="model, joints, end_effector",
            expected=f"a model with joints {', '.join(robot.joint_names)} and {robot.end_effector}",
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


def skeleton(robot: Robot) -> mujoco.MjSpec:
    """Bodies, joints and sites of a robot's model: all that kinematics needs, and fast to compile.

    Raises:
        RobotError: the model cannot be read, lacks the end effector, or states lower velocities than the robot file.
    """
    source = robot.model_source()
    model = load_model(source, geometry=False)
    stated = model.velocities()
    fast = [joint for joint in robot.joints if joint.velocity > stated.get(joint.name, np.inf) + 1e-6]
    if fast:
        raise RobotError(
            "the robot file allows joints to move faster than the robot's model does",
            file=source.path,
            key=", ".join(f"{joint.name} velocity" for joint in fast),
            expected=", ".join(f"at most {stated[joint.name]:g}" for joint in fast),
            found=", ".join(f"{joint.velocity:g}" for joint in fast),
            remedy="lower these velocities in the robot file",
        )
    spec = model.spec
    for element in (*spec.equalities, *spec.actuators, *spec.tendons, *spec.sensors, *spec.pairs, *spec.geoms):
        spec.delete(element)
    for mesh in list(spec.meshes):
        spec.delete(mesh)
    spec.compiler.boundmass = spec.compiler.boundinertia = 1.0  # the deleted geoms gave the links their mass
    return spec
