"""The message of an approved target, by type of output (robot file, ``controller``: ``type``)."""

from __future__ import annotations

import array
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, PoseStamped, Quaternion, TwistStamped, Vector3
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from vla_agent.robot.command_interfaces import ArmOutput
from vla_agent.robot.control.controller_factory import make_kinematics
from vla_agent.robot.control.point_velocities import point_velocities
from vla_agent.robot.description import Robot
from vla_agent.robot.kinematics.rotation import rotation_between
from vla_agent.robot.safety.hold import Target
from vla_agent.ros.messages import conversions
from vla_agent.ros.outputs.interface_types import interface_type


class CommandFormat(Protocol):
    """Makes messages of the type ``kind``."""

    kind: Any

    def __init__(self, robot: Robot, output: ArmOutput) -> None: ...

    def message(self, target: Target, time: float) -> Any:
        """The message of an approved target; ``time``: its stamp, seconds."""
        ...


class JointSelection:
    """The joints of an output in its order, the gripper's joint possibly among them.  ``names``: None for the arm's."""

    def __init__(self, robot: Robot, names: Sequence[str] | None) -> None:
        self.names = list(robot.joint_names if names is None else names)
        known = [*robot.joint_names, robot.gripper.joint]
        self._places = [known.index(name) for name in self.names]
        self._gripper = robot.gripper

    def rows(self, joints: np.ndarray, gripper: float) -> np.ndarray:
        """(N, n): of ``joints`` (N, J) rad and the gripper (0 open to 1 closed), these joints' positions."""
        column = np.full((len(joints), 1), self._gripper.position(gripper))
        return np.hstack([joints, column])[:, self._places]


class JointTrajectoryFormat:
    """A trajectory: the target one control period ahead, its plan, and velocities; the last point rests."""

    kind = JointTrajectory

    def __init__(self, robot: Robot, output: ArmOutput) -> None:
        self._joints, self._period = JointSelection(robot, output.joints), robot.period

    def message(self, target: Target, time: float) -> JointTrajectory:
        positions = self._joints.rows(target.path, target.gripper)
        start = self._joints.rows(target.start[None], target.gripper)[0]  # a gripper is sent to its target, at rest
        message = JointTrajectory(joint_names=self._joints.names)
        message.header.stamp = conversions.to_stamp(time)
        message.points = points(positions, point_velocities(start, positions, self._period), self._period)
        return message


def points(positions: np.ndarray, velocities: np.ndarray, period: float) -> list[JointTrajectoryPoint]:
    """Points of ``positions`` and ``velocities`` (N, n), one a ``period`` (s), the first after one."""
    made = []
    for k, (position, velocity) in enumerate(zip(positions, velocities, strict=True), start=1):
        nanoseconds = round(k * period * 1e9)
        after = Duration(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)
        made.append(
            JointTrajectoryPoint(
                positions=array.array("d", position), velocities=array.array("d", velocity), time_from_start=after
            )
        )
    return made


class JointPositionsFormat:
    """Joint positions in the output's order, without a stamp."""

    kind = Float64MultiArray

    def __init__(self, robot: Robot, output: ArmOutput) -> None:
        self._joints = JointSelection(robot, output.joints)

    def message(self, target: Target, time: float) -> Float64MultiArray:
        return conversions.float_array(self._joints.rows(target.joints[None], target.gripper)[0])


class JointJogFormat:
    """Joint velocities in rad/s from the previous target to this one; exactly zero where the arm must rest.

    Raises:
        NodeError: control_msgs is not installed.
    """

    def __init__(self, robot: Robot, output: ArmOutput) -> None:
        self.kind = interface_type("control_msgs", "msg", "JointJog", "controller: type: joint_jog")
        self._joints, self._period = JointSelection(robot, output.joints), robot.period
        self._frame = robot.base_frame

    def message(self, target: Target, time: float) -> Any:
        rows = self._joints.rows(np.vstack([target.start, target.joints]), target.gripper)
        message = self.kind(joint_names=self._joints.names, duration=self._period)
        message.header.stamp, message.header.frame_id = conversions.to_stamp(time), self._frame
        message.velocities = array.array("d", (rows[1] - rows[0]) / self._period)
        return message


class PoseFormat:
    """The target's end effector pose, base frame, by forward kinematics; unit quaternion.

    Raises:
        RobotError: the robot's joints do not fit its kinematic model.
    """

    kind = PoseStamped

    def __init__(self, robot: Robot, output: ArmOutput) -> None:
        self._forward, self._frame = make_kinematics(robot).forward, output.frame or robot.base_frame

    def message(self, target: Target, time: float) -> PoseStamped:
        position, quaternion = self._forward(target.joints)
        (x, y, z), (qw, qx, qy, qz) = position.tolist(), (quaternion / np.linalg.norm(quaternion)).tolist()
        message = PoseStamped()
        message.header.stamp, message.header.frame_id = conversions.to_stamp(time), self._frame
        message.pose.position, message.pose.orientation = Point(x=x, y=y, z=z), Quaternion(x=qx, y=qy, z=qz, w=qw)
        return message


class TwistFormat:
    """The end effector's velocity from the previous target to this one in a control period.

    m/s and rad/s, base frame, by forward kinematics; exactly zero where the arm must rest.

    Raises:
        RobotError: the robot's joints do not fit its kinematic model.
    """

    kind = TwistStamped

    def __init__(self, robot: Robot, output: ArmOutput) -> None:
        self._forward, self._frame = make_kinematics(robot).forward, output.frame or robot.base_frame
        self._period = robot.period

    def message(self, target: Target, time: float) -> TwistStamped:
        message = TwistStamped()
        message.header.stamp, message.header.frame_id = conversions.to_stamp(time), self._frame
        if not np.array_equal(target.start, target.joints):
            (before, start), (after, end) = self._forward(target.start), self._forward(target.joints)
            message.twist.linear = _vector((after - before) / self._period)
            message.twist.angular = _vector(rotation_between(start, end) / self._period)
        return message


COMMAND_FORMATS: dict[str, type[CommandFormat]] = {
    "joint_trajectory": JointTrajectoryFormat,
    "forward_position": JointPositionsFormat,
    "joint_jog": JointJogFormat,
    "twist": TwistFormat,
    "pose": PoseFormat,
}


def _vector(values: np.ndarray) -> Vector3:
    x, y, z = values.tolist()
    return Vector3(x=x, y=y, z=z)
