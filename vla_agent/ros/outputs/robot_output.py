"""All outputs of a robot together: what `robot.safety.command_gate.CommandGate` delivers approved targets to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from vla_agent.errors import NodeError
from vla_agent.robot.command_interfaces import ArmOutput, TopicGripper, simulated
from vla_agent.robot.description import Robot
from vla_agent.robot.safety.hold import Target
from vla_agent.ros.outputs.arm_messages import COMMAND_FORMATS, JointTrajectoryFormat
from vla_agent.ros.outputs.goals import GoalSender
from vla_agent.ros.outputs.grippers import GripperGoals, TopicGripperOutput, unheard
from vla_agent.ros.outputs.interface_types import interface_type
from vla_agent.ros.outputs.servo import ServoSwitch
from vla_agent.ros.process.node_base import COMMANDS


class _Output(Protocol):
    """Takes targets of the arm."""

    @property
    def problem(self) -> str:
        """Why it cannot; empty where it can."""
        ...

    def send(self, target: Target, time: float) -> None:
        """Send an approved target; ``time``: its stamp, seconds."""
        ...

    def prepare(self) -> None:
        """Ask for what is needed before the first message."""
        ...

    def clear(self) -> None:
        """Try again after a problem."""
        ...

    def values(self) -> dict[str, object]:
        """For /diagnostics."""
        ...


class _MessageOutput:
    """A message a control period, to a controller or to MoveIt Servo."""

    def __init__(self, node: Any, robot: Robot, output: ArmOutput, place: Callable[[str], str]) -> None:
        self._format = COMMAND_FORMATS[output.type](robot, output)
        self._servo = ServoSwitch(node, place(output.servo), output.type) if output.servo is not None else None
        self._publisher = node.create_publisher(self._format.kind, place(output.topic), COMMANDS)

    @property
    def problem(self) -> str:
        return self._servo.problem if self._servo is not None else ""

    def send(self, target: Target, time: float) -> None:
        self._publisher.publish(self._format.message(target, time))

    def prepare(self) -> None:
        if self._servo is not None:
            self._servo.prepare()

    def clear(self) -> None:
        if self._servo is not None:
            self._servo.clear()

    def values(self) -> dict[str, object]:
        return unheard(self._publisher)


class _TrajectoryGoals:
    """Each target is a goal with its plan; the action server drops the goal before."""

    def __init__(self, node: Any, robot: Robot, output: ArmOutput, place: Callable[[str], str]) -> None:
        key = "controller: type: follow_joint_trajectory"
        self._action = interface_type("control_msgs", "action", "FollowJointTrajectory", key)
        self._format = JointTrajectoryFormat(robot, output)
        self._sender = GoalSender(node, self._action, place(output.topic), self._take_end)

    @property
    def problem(self) -> str:
        return self._sender.problem

    def send(self, target: Target, time: float) -> None:
        self._sender.send(self._action.Goal(trajectory=self._format.message(target, time)))

    def _take_end(self, ending: str, result: Any) -> None:
        if ending != "reached":
            self._sender.refuse(f"the goal was {ending}: {result.error_string or f'error code {result.error_code}'}")

    def prepare(self) -> None:
        """Nothing."""

    def clear(self) -> None:
        self._sender.clear()

    def values(self) -> dict[str, object]:
        return {}


class RobotOutput:
    """The topics and actions of arm and gripper: the only way out of these nodes to the robot.

    `robot.safety.command_gate.CommandGate` alone may use `send` and `prepare`.

    Args:
        hardware: the robot's own topics; else those under ``sim/``.

    Raises:
        NodeError: the messages of this controller are not installed, or a simulated topic is remapped.
        RobotError: the robot's joints do not fit its kinematic model.
    """

    def __init__(self, node: Any, robot: Robot, hardware: bool) -> None:
        spec = robot.controller
        self.topics = spec.topics(hardware)
        place: Callable[[str], str] = str if hardware else simulated  # a name of the robot file -> in this graph
        servos = [f"{place(output.servo)}/switch_command_type" for output in spec.arms if output.servo]
        if not hardware:
            for topic in (*self.topics, *servos):
                _require_simulated(node, topic)
        self._arms: list[_Output] = [
            _TrajectoryGoals(node, robot, output, place)
            if output.type == "follow_joint_trajectory"
            else _MessageOutput(node, robot, output, place)
            for output in spec.arms
        ]
        self._gripper: TopicGripperOutput | GripperGoals | None = None
        gripper = spec.gripper_output
        if isinstance(gripper, TopicGripper):
            self._gripper = TopicGripperOutput(node, robot, gripper, place(gripper.topic))
        elif gripper is not None:
            self._gripper = GripperGoals(node, robot, gripper, [place(name) for name in gripper.names])

    def send(self, target: Target, time: float) -> None:
        """Send an approved target; ``time``: its stamp, seconds."""
        for output in self._arms:
            output.send(target, time)
        if self._gripper is not None:
            self._gripper.send(target.gripper, time)

    def prepare(self) -> None:
        """Ask the robot's side for what is needed before the first message; call it several times a second."""
        for output in self._arms:
            output.prepare()

    @property
    def problem(self) -> str:
        """Why commands do not reach the robot; empty where nothing is known to be wrong."""
        parts = [*self._arms, *([self._gripper] if self._gripper is not None else [])]
        return "; ".join(dict.fromkeys(part.problem for part in parts if part.problem))

    def clear(self) -> None:
        """Try again after a problem."""
        for output in self._arms:
            output.clear()
        if self._gripper is not None:
            self._gripper.clear()

    def values(self) -> dict[str, object]:
        """For /diagnostics."""
        parts = [*self._arms, *([self._gripper] if self._gripper is not None else [])]
        return {key: value for part in parts for key, value in part.values().items()}


def _require_simulated(node: Any, topic: str) -> None:
    goals = f"{topic}/_action/send_goal"  # where the topic is an action: the service that takes its goals
    resolvers = (node.resolve_topic_name, node.resolve_service_name)
    for key, resolve in ((topic, resolvers[0]), (goals, resolvers[1]), (topic, resolvers[1])):
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
