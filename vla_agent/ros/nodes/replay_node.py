"""replay_node: the actions of a recorded episode again, one a control period, through controller and safety node.

in:  joint_states, safety/stopped
out: policy/action (JointTrajectory, see controller_node), /diagnostics
parameters: robot, bag (folder of the episode), start_tolerance (0.1 rad)

It begins where the arm stands within the tolerance of where it stood then, ends with the recording, and gives up where
the supervisor stops the robot.  Objects are not put back: what was grasped then must lie there again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from trajectory_msgs.msg import JointTrajectory

from vla_agent.errors import NodeError, ObservationError
from vla_agent.ros.messages import conversions
from vla_agent.ros.process.node_base import COMMANDS, LATCHED, SENSORS, Node, Reporter, pace_of, robot_of, run
from vla_agent.ros.process.start import STOP
from vla_agent.ros.runtime.agent import PLAN
from vla_agent.ros.runtime.bag_actions import read_actions

TICKS = 8  # a control period


class ReplayNode(Node):
    """See the module."""

    def __init__(self) -> None:
        super().__init__("replay_node")
        self._robot = robot_of(self)
        factor = pace_of(self)
        bag = Path(str(self.declare_parameter("bag", "").value))
        self._tolerance = float(self.declare_parameter("start_tolerance", 0.1).value)
        self._recorded = read_actions(bag, self._robot.joint_states, self._robot.joint_names, conversions.decode)
        self._reporter = Reporter(self)
        self._joints: np.ndarray | None = None
        self._stopped: bool | None = None
        self._began: float | None = None  # seconds, of the first action
        self._next = 0
        self._publisher = self.create_publisher(JointTrajectory, "policy/action", COMMANDS)
        self.create_subscription(JointState, self._robot.joint_states, self._state, SENSORS)
        self.create_subscription(Bool, "safety/stopped", self._stopping, LATCHED)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(self._robot.period / TICKS / factor, self._tick, clock=steady)

    def _state(self, message: JointState) -> None:
        try:
            self._joints = conversions.joint_positions(message, self._robot.joint_names)
        except ObservationError as error:
            self._reporter.report("error", f"{error.what}: {error.key}")

    def _stopping(self, message: Bool) -> None:
        self._stopped = message.data

    def _tick(self) -> None:
        now = self.get_clock().now().nanoseconds * 1e-9
        if self._began is None:
            if not self._ready():
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
        self._publisher.publish(conversions.trajectory(self._recorded.names, rows, stamp, self._robot.period))
        self._next += 1
        self._reporter.report("ok", "replaying", actions=self._next, of=len(self._recorded.actions))

    def _ready(self) -> bool:
        """Whether the arm is heard of, the controller listens, and the arm stands where it stood."""
        if self._joints is None or self._stopped is not False or not self.count_subscribers("policy/action"):
            self._reporter.report("ok", "waiting for the robot, the controller and the supervisor")
            return False
        apart = float(np.abs(self._joints - self._recorded.start).max())
        if apart > self._tolerance:
            raise NodeError(
                "the arm does not stand where the recording began",
                key="start_tolerance",
                expected=f"joints {np.round(self._recorded.start, 3).tolist()} rad, within {self._tolerance:g}",
                found=f"{np.round(self._joints, 3).tolist()}, {apart:.3f} apart",
                remedy="bring the arm there first; in simulation use the task and seed of the recording",
            )
        return True

    def final(self) -> None:
        """Before the process ends: an empty trajectory has the robot rest."""
        if self._began is not None:
            now = self.get_clock().now().nanoseconds * 1e-9
            nothing = np.empty((0, len(self._recorded.names)))
            self._publisher.publish(conversions.trajectory(self._recorded.names, nothing, now, self._robot.period))


def main() -> None:
    """Run the node; see `nodes.start`."""
    run(ReplayNode)
