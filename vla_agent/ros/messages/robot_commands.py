"""Command messages of the robot's controller, by type (robot file, ``controller``: ``type``).

Only safety_node sends them, through the one `RobotOutput`, which has the robot's topics.  One class for each type makes
the message of an approved target.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from geometry_msgs.msg import Point, PoseStamped, Quaternion, TwistStamped, Vector3
from rclpy.action import ActionClient
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from vla_agent.errors import NodeError
from vla_agent.robot.control.arm_controller import ArmController
from vla_agent.robot.description import Robot
from vla_agent.robot.kinematics.rotation import rotation_between
from vla_agent.robot.safety.hold import Target
from vla_agent.ros.messages import conversions
from vla_agent.ros.process.node_base import COMMANDS

WARNING_INTERVAL = 5.0  # seconds between two warnings of a missing action server


class CommandFormat(Protocol):
    """Makes messages of the type ``kind``."""

    kind: Any

    def __init__(self, robot: Robot) -> None: ...

    def message(self, target: Target, time: float) -> Any:
        """The message of an approved target; ``time``: its stamp, seconds."""
        ...


class JointTrajectoryFormat:
    """A trajectory of one point, one control period ahead."""

    kind = JointTrajectory

    def __init__(self, robot: Robot) -> None:
        self._names, self._period = robot.joint_names, robot.period

    def message(self, target: Target, time: float) -> JointTrajectory:
        return conversions.trajectory_message(self._names, target.joints[None], time, self._period)


class JointPositionsFormat:
    """Joint positions in the robot file's order, without a stamp."""

    kind = Float64MultiArray

    def __init__(self, robot: Robot) -> None:
        pass

    def message(self, target: Target, time: float) -> Float64MultiArray:
        return conversions.float_array(target.joints)


class PoseFormat:
    """The target's end effector pose, base frame, by forward kinematics; unit quaternion.

    Raises:
        RobotError: the robot's joints do not fit its kinematic model.
    """

    kind = PoseStamped

    def __init__(self, robot: Robot) -> None:
        self._forward, self._frame = ArmController(robot, "joint_position").forward, robot.base_frame

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

    def __init__(self, robot: Robot) -> None:
        self._forward, self._frame = ArmController(robot, "joint_position").forward, robot.base_frame
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
    "twist": TwistFormat,
    "pose": PoseFormat,
}


class FollowJointTrajectorySender:
    """Each target is a goal of one point, one control period ahead; the action server drops the previous goal.

    It never waits for the server: where that is missing or refuses, the robot does not follow, and the supervisor
    stops it.

    Raises:
        NodeError: control_msgs is not installed.
    """

    def __init__(self, node: Any, robot: Robot, name: str) -> None:
        self._action, self._format, self._node, self._name = (
            _follow_joint_trajectory(),
            JointTrajectoryFormat(robot),
            node,
            name,
        )
        self._client: Any = ActionClient(node, self._action, name)

    def goal(self, target: Target, time: float) -> Any:
        """The goal of an approved target; ``time``: of its stamp, seconds."""
        return self._action.Goal(trajectory=self._format.message(target, time))

    def send(self, target: Target, time: float) -> None:
        """Send the goal, if there is a server."""
        if self._client.server_is_ready():
            self._client.send_goal_async(self.goal(target, time))
        else:
            text = f"no action server {self._name}: no command reaches the robot"
            self._node.get_logger().warning(text, throttle_duration_sec=WARNING_INTERVAL)


class RobotOutput:
    """The topics of arm and gripper, or the arm's action: the only way out of these nodes to the robot.

    `robot.safety.command_gate.CommandGate` alone may use it.

    Args:
        hardware: the robot's own topics; else those under ``sim/``.

    Raises:
        NodeError: the messages of this controller are not installed, or a simulated topic is remapped.
        RobotError: the robot's joints do not fit its kinematic model.
    """

    def __init__(self, node: Any, robot: Robot, hardware: bool) -> None:
        arm, gripper = robot.controller.topics(hardware)
        if not hardware:
            for topic in (arm, gripper):
                _require_simulated(node, topic)
        self.topics = (arm, gripper)
        self._robot = robot
        self._send_arm = _arm_sender(node, robot, arm)
        self._gripper = node.create_publisher(Float64MultiArray, gripper, COMMANDS)

    def send(self, target: Target, time: float) -> None:
        """Send an approved target; ``time``: its stamp, seconds."""
        self._send_arm(target, time)
        self._gripper.publish(conversions.float_array(np.array([self._robot.gripper.position(target.gripper)])))


def _arm_sender(node: Any, robot: Robot, topic: str) -> Callable[[Target, float], None]:
    """A function that sends an approved target with a stamp (s), on ``topic`` or to the action of that name."""
    if robot.controller.type == "follow_joint_trajectory":
        return FollowJointTrajectorySender(node, robot, topic).send
    command_format = COMMAND_FORMATS[robot.controller.type](robot)
    publisher = node.create_publisher(command_format.kind, topic, COMMANDS)
    return lambda target, time: publisher.publish(command_format.message(target, time))


def _require_simulated(node: Any, topic: str) -> None:
    goals = f"{topic}/_action/send_goal"  # where the topic is an action: the service that takes its goals
    for key, resolve in ((topic, node.resolve_topic_name), (goals, node.resolve_service_name)):
        expected, found = resolve(key, only_expand=True), resolve(key)
        if found == expected:
            continue
        raise NodeError(
            "the commands of a simulated robot may not be remapped: they could reach a motor without a certificate",
            key=key,
            expected=expected,
            found=found,
            remedy="leave the topic as it is, or run with hardware:=true and a certificate",
        )


def _follow_joint_trajectory() -> Any:
    try:
        from control_msgs.action import FollowJointTrajectory as Action
    except ImportError as error:
        raise NodeError(
            "the action type of the controller is not installed",
            key="controller: type: follow_joint_trajectory",
            expected="control_msgs, a package of ROS 2",
            found=str(error),
            remedy=f"install ros-$ROS_DISTRO-control-msgs, or use another type: {', '.join(COMMAND_FORMATS)}",
        ) from error
    return Action


def _vector(values: np.ndarray) -> Vector3:
    x, y, z = values.tolist()
    return Vector3(x=x, y=y, z=z)
