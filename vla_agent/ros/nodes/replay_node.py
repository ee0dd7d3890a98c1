"""replay_node: replays the actions of a recorded episode through controller and safety node, one a control period.

in:  joint_states, safety/stopped
out: policy/action (JointTrajectory, see controller_node), /diagnostics
parameters: see `ros.process.node_parameters` or `replay_node --help`

It starts when the arm is within the tolerance of the recorded start, ends with the recording, and gives up where the
supervisor stops the robot.  Objects are not reset: what was grasped must be in its recorded place.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from trajectory_msgs.msg import JointTrajectory

from vla_agent.errors import NodeError, ObservationError
from vla_agent.robot.description import load_robot
from vla_agent.robot.joint_states import JointJoiner
from vla_agent.ros.messages import conversions
from vla_agent.ros.process.node_base import (
    COMMANDS,
    JOINT_STATES,
    LATCHED,
    Node,
    StatusReporter,
    checked_factor,
    declare_parameters,
    run,
)
from vla_agent.ros.process.start import STOP
from vla_agent.ros.runtime.bag_actions import read_actions
from vla_agent.ros.runtime.policy_loop import PLAN

TICKS = 8  # a control period
SETTLED = 1.0  # seconds that the robot is there before the first action: the supervisor must see its joints, too


class ReplayNode(Node):
    """See the module."""

    COMMAND_TOPIC = "policy/action"  # not to be remapped

    def __init__(self) -> None:
        super().__init__("replay_node")
        values = declare_parameters(self, "replay_node")
        self._robot = load_robot(values["robot"])
        factor = checked_factor(values)
        self._tolerance = float(values["start_tolerance"])
        self._recorded = read_actions(
            Path(values["bag"]),
            self.resolve_topic_name(self.COMMAND_TOPIC),
            [self.resolve_topic_name(topic) for topic in self._robot.joint_state_topics],
            self._robot.joint_names,
            conversions.deserialize,
        )
        self._joiner = JointJoiner(self._robot.joint_names)
        self._reporter = StatusReporter(self)
        self._joints: np.ndarray | None = None
        self._stopped: bool | None = None
        self._began: float | None = None  # seconds, of the first action
        self._ready_at: float | None = None  # seconds, of the monotonic clock
        self._next = 0
        self._publisher = self.create_publisher(JointTrajectory, self.COMMAND_TOPIC, COMMANDS)
        for topic in self._robot.joint_state_topics:
            self.create_subscription(JointState, topic, self._state, JOINT_STATES)
        self.create_subscription(Bool, "safety/stopped", self._set_stopped, LATCHED)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(self._robot.period / TICKS / factor, self._tick, clock=steady)

    def _state(self, message: JointState) -> None:
        try:
            state = self._joiner.add(message)
        except ObservationError as error:
            self._reporter.report("error", f"{error.what}: {error.key}")
            return
        self._joints = self._joints if state is None else state.positions

    def _set_stopped(self, message: Bool) -> None:
        self._stopped = message.data

    def _tick(self) -> None:
        now = self.get_clock().now().nanoseconds * 1e-9
        if self._began is None:
            if not self._ready():
                return
            self._ready_at = self._ready_at or time.monotonic()
            if time.monotonic() - self._ready_at < SETTLED:
                return
            self._began = now
        if self._stopped:
            raise NodeError(
                "the supervisor stopped the replay",
                key=f"action {self._next} of {len(self._recorded.actions)}",
                remedy="/diagnostics and the safety node's log say why; safety/reset, then replay again",
            )
        stamp = self._began + self._next * self._robot.period
        if now < stamp:
            return
        rows = self._recorded.actions[self._next : self._next + PLAN]
        if not len(rows):
            self._reporter.report("ok", "the recording ended", actions=self._next)
            self.get_logger().info(f"replayed {self._next} actions")
            STOP.set()
            return
        self._publisher.publish(conversions.trajectory_message(self._recorded.names, rows, stamp, self._robot.period))
        self._next += 1
        self._reporter.report("ok", "replaying", actions=self._next, of=len(self._recorded.actions))

    def _ready(self) -> bool:
        """Whether joint states come, the controller is there, and the arm is at the recorded start."""
        if self._joints is None or self._stopped is not False or not self.count_subscribers("policy/action"):
            self._reporter.report("ok", "waiting for the robot, the controller and the supervisor")
            return False
        distance = float(np.abs(self._joints - self._recorded.start).max())
        if distance > self._tolerance:
            raise NodeError(
                "the arm is not at the start of the recording",
                key="start_tolerance",
                expected=f"joints {np.round(self._recorded.start, 3).tolist()} rad, within {self._tolerance:g}",
                found=f"{np.round(self._joints, 3).tolist()}, {distance:.3f} rad away",
                remedy="move the arm there first; in simulation use the task and seed of the recording",
            )
        return True

    def final(self) -> None:
        """Before the process ends: an empty trajectory ends the stream, and the robot rests."""
        if self._began is not None:
            now = self.get_clock().now().nanoseconds * 1e-9
            nothing = np.empty((0, len(self._recorded.names)))
            self._publisher.publish(
                conversions.trajectory_message(self._recorded.names, nothing, now, self._robot.period)
            )


def main() -> None:
    """Run the node; see `ros.process.start`."""
    run(ReplayNode)
