"""What the robot is told, as its controller takes it (robot file, ``controller``: ``type``).

Only safety_node sends these.  A class a type makes the message of an approved target; `output_of` publishes them.
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
from vla_agent.robot.safety.supervisor import Target
from vla_agent.ros.messages import conversions
from vla_agent.ros.process.node_base import COMMANDS

UNHEARD = 5.0  # seconds between two warnings that no action server is there


class Output(Protocol):
    """Makes messages of one ``kind``."""

    kind: Any

    def __init__(self, robot: Robot) -> None: ...

    def message(self, target: Target, time: float) -> Any:
        """The message of an approved target; ``time``: of its stamp, seconds."""
        ...


class JointPoint:
    """A trajectory of one point, one control period ahead."""

    kind = JointTrajectory

    def __init__(self, robot: Robot) -> None:
        self._names, self._period = robot.joint_names, robot.period

    def message(self, target: Target, time: float) -> JointTrajectory:
        return conversions.trajectory(self._names, target.joints[None], time, self._period)


class Positions:
    """Joint positions in the robot file's order, without a stamp."""

    kind = Float64MultiArray

    def __init__(self, robot: Robot) -> None:
        pass

    def message(self, target: Target, time: float) -> Float64MultiArray:
        return conversions.numbers(target.joints)


class Pose:
    """The target's end effector pose, base frame, by forward kinematics; unit quaternion.

    Raises:
        RobotError: the robot's joints are not those of its kinematics.
    """

    kind = PoseStamped

    def __init__(self, robot: Robot) -> None:
        self._forward, self._frame = ArmController(robot, "joint_position").forward, robot.base_frame

    def message(self, target: Target, time: float) -> PoseStamped:
        position, quaternion = self._forward(target.joints)
        (x, y, z), (qw, qx, qy, qz) = position.tolist(), (quaternion / np.linalg.norm(quaternion)).tolist()
        message = PoseStamped()
        message.header.stamp, message.header.frame_id = conversions.stamp_of(time), self._frame
        message.pose.position, message.pose.orientation = Point(x=x, y=y, z=z), Quaternion(x=qx, y=qy, z=qz, w=qw)
        return message


class Twist:
    """The end effector's velocity from where the arm is commanded now to the target in one control period.

    Metres and radians a second, base frame, by forward kinematics; exactly zero where the arm is to rest.

    Raises:
        RobotError: the robot's joints are not those of its kinematics.
    """

    kind = TwistStamped

    def __init__(self, robot: Robot) -> None:
        self._forward, self._frame = ArmController(robot, "joint_position").forward, robot.base_frame
        self._period = robot.period

    def message(self, target: Target, time: float) -> TwistStamped:
        message = TwistStamped()
        message.header.stamp, message.header.frame_id = conversions.stamp_of(time), self._frame
        if not np.array_equal(target.start, target.joints):
            (before, turned), (after, turning) = self._forward(target.start), self._forward(target.joints)
            message.twist.linear = _vector((after - before) / self._period)
            message.twist.angular = _vector(rotation_between(turned, turning) / self._period)
        return message


OUTPUTS: dict[str, type[Output]] = {
    "joint_trajectory": JointPoint,
    "forward_position": Positions,
    "twist": Twist,
    "pose": Pose,
}


class FollowJointTrajectory:
    """Each target is a goal of one point, one control period ahead; the action server drops the goal before it.

    Nothing here waits for the server: where it is missing or refuses, the robot does not follow, and the supervisor
    stops.

    Raises:
        NodeError: control_msgs is not installed.
    """

    def __init__(self, node: Any, robot: Robot, name: str) -> None:
        self._action, self._output, self._node, self._name = _follow_joint_trajectory(), JointPoint(robot), node, name
        self._client: Any = ActionClient(node, self._action, name)

    def goal(self, target: Target, time: float) -> Any:
        """The goal of an approved target; ``time``: of its stamp, seconds."""
        return self._action.Goal(trajectory=self._output.message(target, time))

    def send(self, target: Target, time: float) -> None:
        """Send the goal, where there is a server."""
        if self._client.server_is_ready():
            self._client.send_goal_async(self.goal(target, time))
        else:
            text = f"no action server {self._name}: the robot is told nothing"
            self._node.get_logger().warning(text, throttle_duration_sec=UNHEARD)


def output_of(node: Any, robot: Robot, topic: str) -> Callable[[Target, float], None]:
    """What tells the robot an approved target at a time (s), on ``topic`` or to the action of that name.

    Raises:
        NodeError: the messages of this controller are not installed.
        RobotError: the robot's joints are not those of its kinematics.
    """
    if robot.controller.type == "follow_joint_trajectory":
        return FollowJointTrajectory(node, robot, topic).send
    output = OUTPUTS[robot.controller.type](robot)
    publisher = node.create_publisher(output.kind, topic, COMMANDS)
    return lambda target, time: publisher.publish(output.message(target, time))


def _follow_joint_trajectory() -> Any:
    try:
        from control_msgs.action import FollowJointTrajectory as Action
    except ImportError as error:
        raise NodeError(
            "the controller's action is not installed",
            key="controller: type: follow_joint_trajectory",
            expected="control_msgs, a package of ROS 2",
            found=str(error),
            remedy=f"install ros-$ROS_DISTRO-control-msgs, or name another type: {', '.join(OUTPUTS)}",
        ) from error
    return Action


def _vector(values: np.ndarray) -> Vector3:
    x, y, z = values.tolist()
    return Vector3(x=x, y=y, z=z)
