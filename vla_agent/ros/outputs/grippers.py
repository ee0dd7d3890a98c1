"""Outputs of the gripper: a topic, or goals of an action, which are sent where the target changes."""

from __future__ import annotations

import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from vla_agent.robot.command_interfaces import (
    FRANKA_ACTIONS,
    FrankaGripper,
    GripperCommandGripper,
    GripperOutput,
    ParallelGripper,
    TopicGripper,
)
from vla_agent.robot.description import Robot
from vla_agent.ros.messages import conversions
from vla_agent.ros.outputs.arm_messages import points
from vla_agent.ros.outputs.goals import GoalSender
from vla_agent.ros.outputs.interface_types import interface_type
from vla_agent.ros.process.node_base import COMMANDS

RESOLUTION = 0.02  # of the gripper's opening: a goal is sent where the target changes by more, and at both ends


class GripperPosition:
    """Fraction (0 open to 1 closed) -> position of the interface: its own ends, or those of the gripper's joint."""

    def __init__(self, robot: Robot, output: GripperOutput) -> None:
        own = output.open is not None and output.closed is not None
        self._open = output.open if own else robot.gripper.open
        self._closed = output.closed if own else robot.gripper.closed

    def __call__(self, fraction: float) -> float:
        assert self._open is not None and self._closed is not None
        return float(self._open + min(max(fraction, 0.0), 1.0) * (self._closed - self._open))


def unheard(publisher: Any) -> dict[str, object]:
    """For /diagnostics: that nobody listens to a publisher; nothing where somebody does."""
    return (
        {f"nobody listens on {publisher.topic_name}": "is the controller active?"}
        if not publisher.get_subscription_count()
        else {}
    )


class TopicGripperOutput:
    """The position as a message, once a control period."""

    problem = ""

    def __init__(self, node: Any, robot: Robot, output: TopicGripper, topic: str) -> None:
        self._position, self._joint, self._period = GripperPosition(robot, output), robot.gripper.joint, robot.period
        self._trajectory = output.type == "joint_trajectory"
        kind = JointTrajectory if self._trajectory else Float64MultiArray
        self._publisher = node.create_publisher(kind, topic, COMMANDS)

    def send(self, fraction: float, time: float) -> None:
        """Send the target ``fraction`` (0 open to 1 closed) with the stamp ``time`` (s)."""
        positions = np.array([self._position(fraction)])
        if not self._trajectory:
            self._publisher.publish(conversions.float_array(positions))
            return
        message = JointTrajectory(joint_names=[self._joint])
        message.header.stamp = conversions.to_stamp(time)
        message.points = points(positions[None], np.zeros((1, 1)), self._period)
        self._publisher.publish(message)

    def clear(self) -> None:
        """There is nothing to try again."""

    def values(self) -> dict[str, object]:
        """For /diagnostics."""
        return unheard(self._publisher)


class GripperGoals:
    """Goals for the actions that a gripper has, one at a time: each replaces the one before.

    A gripper that does not reach its goal is no fault, since it may hold an object; a goal that is rejected or not
    answered is one.
    """

    def __init__(self, node: Any, robot: Robot, output: GripperOutput, names: Sequence[str]) -> None:
        self._position, self._output, self._joint = GripperPosition(robot, output), output, robot.gripper.joint
        self._types = [interface_type(*which, f"controller: gripper: type: {output.type}") for which in _types(output)]
        self._senders = [
            GoalSender(node, action, name, self._note) for action, name in zip(self._types, names, strict=True)
        ]
        self._last: float | None = None  # fraction of the newest goal
        self._ending, self._goals = "none yet", 0

    def send(self, fraction: float, _time: float) -> None:
        """Send a goal where the target ``fraction`` (0 open to 1 closed) differs from that of the goal before."""
        if not all(sender.ready for sender in self._senders):
            self._last = None  # another server knows of no goal
            return
        if any(sender.waits for sender in self._senders) or not self._differs(fraction):
            return
        which, goal = self._goal(fraction)
        if self._senders[which].send(goal):
            self._last, self._ending, self._goals = fraction, "on its way", self._goals + 1

    def _differs(self, fraction: float) -> bool:
        if self._last is None:
            return True
        return abs(fraction - self._last) > RESOLUTION or (fraction in (0.0, 1.0) and fraction != self._last)

    def _goal(self, fraction: float) -> tuple[int, Any]:
        """The action, by its place among the gripper's, and the goal."""
        output, position = self._output, self._position(fraction)
        goal = self._types[0].Goal()
        if isinstance(output, GripperCommandGripper):
            goal.command.position, goal.command.max_effort = position, output.max_effort
        elif isinstance(output, ParallelGripper):
            goal.command = JointState(name=[self._joint], position=array.array("d", [position]))
            goal.command.velocity = array.array("d", [output.max_velocity] if output.max_velocity else [])
            goal.command.effort = array.array("d", [output.max_effort] if output.max_effort else [])
        elif isinstance(output, FrankaGripper) and fraction >= output.grasp_from:
            goal = self._types[1].Goal(width=position, speed=output.speed, force=output.force)
            goal.epsilon.inner = goal.epsilon.outer = float(abs(self._position(0.0)))  # an object of any size
            return 1, goal
        elif isinstance(output, FrankaGripper):
            goal.width, goal.speed = position, output.speed
        return 0, goal

    def _note(self, ending: str, result: Any) -> None:
        stalled = " (stalled)" if getattr(result, "stalled", False) else ""
        self._ending = ending + stalled + (f": {result.error}" if getattr(result, "error", "") else "")

    @property
    def problem(self) -> str:
        """Why the gripper cannot be commanded; empty where it can."""
        return next((sender.problem for sender in self._senders if sender.problem), "")

    def clear(self) -> None:
        """Try again, with a new goal."""
        self._last = None
        for sender in self._senders:
            sender.clear()

    def values(self) -> dict[str, object]:
        """For /diagnostics."""
        return {"gripper goals": self._goals, "last gripper goal": self._ending}


def _types(output: GripperOutput) -> list[tuple[str, str, str]]:
    if isinstance(output, FrankaGripper):
        return [("franka_msgs", "action", action.capitalize()) for action in FRANKA_ACTIONS]
    name = "GripperCommand" if output.type == "gripper_command" else "ParallelGripperCommand"
    return [("control_msgs", "action", name)]
