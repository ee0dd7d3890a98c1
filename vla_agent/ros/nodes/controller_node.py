"""controller_node: from the policy's actions to joint targets, by `robot.control.arm_controller.ArmController`.

in:  policy/action (JointTrajectory; joint_names: the action's components; first point: this control step, then the
     next ones; no point ends the stream), joint_states, safety/stopped
out: controller/joint_trajectory (joints and gripper; first point: this control step, then the plan), /diagnostics;
     safety/stop where the filter (`robot.filter.barrier_filter`) finds no motion
parameters: see `ros.process.node_parameters` or `controller_node --help`

Where actions arrive at the control rate, early commands wait in a jitter buffer (`ros.runtime.jitter_buffer`).
"""

from __future__ import annotations

import time
from collections import Counter

import numpy as np
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, String
from trajectory_msgs.msg import JointTrajectory

from vla_agent.errors import ObservationError, RobotError
from vla_agent.files.input_limits import POINTS
from vla_agent.robot.control.action_modes import action_layouts, stream_mode
from vla_agent.robot.control.arm_controller import ArmController
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
    request_realtime,
    run,
)
from vla_agent.ros.runtime.jitter_buffer import JitterBuffer
from vla_agent.ros.runtime.timing_statistics import RateMeter

TOLD = 1.0  # seconds that the status says what the filter acted for


class ControllerNode(Node):
    """See the module."""

    COMMAND_TOPIC = "controller/joint_trajectory"  # not to be remapped

    def __init__(self) -> None:
        super().__init__("controller_node")
        values = declare_parameters(self, "controller_node")
        request_realtime(self, values, distance=1)
        self._robot = load_robot(values["robot"])
        self._demanded = str(values["mode"])
        self._arm = ArmController(self._robot, self._demanded or "ee_delta")  # until the first action says otherwise
        self._layouts = action_layouts(len(self._robot.joints))
        self._names = [*self._robot.joint_names, self._robot.gripper.joint]
        self._joints = JointJoiner(self._robot.joint_names, [self._robot.gripper.joint])
        self._horizon = max(1, round(self._robot.lookahead.seconds / self._robot.period))
        self._measured: np.ndarray | None = None
        self._gripper = 0.0
        self._last: float | None = None  # stamp of the last command; None: a new stream
        self._stopped = False
        self._jitter_buffer = JitterBuffer(self._robot.period / checked_factor(values))
        self._first = 0.0  # stamp of the stream's first command
        self._waiting: JointTrajectory | None = None  # a command that is early
        self._release_timer = self.create_timer(1.0, self._release, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._release_timer.cancel()
        self._counts: Counter[str] = Counter()
        self._rate = RateMeter()
        self._reporter = StatusReporter(self)
        self._filter_status, self._filter_until, self._last_filter = "", 0.0, ""
        self._publisher = self.create_publisher(JointTrajectory, self.COMMAND_TOPIC, COMMANDS)
        self._stop_request = self.create_publisher(String, "safety/stop", 10)
        self.create_subscription(JointTrajectory, "policy/action", self._action, COMMANDS)
        for topic in self._robot.joint_state_topics:
            self.create_subscription(JointState, topic, self._state, JOINT_STATES)
        self.create_subscription(Bool, "safety/stopped", self._set_stopped, LATCHED)

    def _state(self, message: JointState) -> None:
        try:
            state = self._joints.add(message)
        except ObservationError as error:
            self._measured = None
            self._report("error", f"{error.what}: {error.key}")
            return
        if state is not None:
            self._measured = state.positions[:-1]
            self._gripper = self._robot.gripper.fraction(state.positions[-1])

    def _set_stopped(self, message: Bool) -> None:
        self._stopped, self._last, self._waiting = message.data, None, None

    def _action(self, message: JointTrajectory) -> None:
        actions = self._read(message)
        if actions is None:
            return
        self._release()
        stamp, period = conversions.to_seconds(message.header.stamp), self._robot.period
        if not len(actions):
            self._last = None
            self._publisher.publish(
                conversions.trajectory_message(self._names, np.empty((0, len(self._names))), stamp, period)
            )
            return
        if self._stopped or self._measured is None:
            why = "stopped" if self._stopped else self._joints.missing or "no joint state yet"
            self._counts[f"refused: {why}"] += 1
            self._report("warn", why)
            return
        if not np.isfinite(actions).all():  # passed on: the supervisor refuses it, and reports why
            rows = np.full((1, len(self._names)), np.nan)
            self._publisher.publish(conversions.trajectory_message(self._names, rows, stamp, period))
            return
        if self._last is None:
            self._arm.rest(self._measured, self._gripper)
            self._jitter_buffer.clear()
            self._first = stamp
        elif stamp - self._last > 1.5 * period:
            self._arm.pause()
        self._last = stamp
        targets = self._targets(actions, self._measured)
        if targets is None:
            return
        self._waiting = conversions.trajectory_message(self._names, targets, stamp, period)
        early = self._jitter_buffer.wait(round((stamp - self._first) / period), time.monotonic())
        if early > 0:
            self._release_timer.timer_period_ns = 1 + round(early * 1e9)
            self._release_timer.reset()
        else:
            self._release()
        self._report("ok", f"following the policy{self._filter_status}")

    def _read(self, message: JointTrajectory) -> np.ndarray | None:
        """(N, A) the actions; None where they are refused.  What they are may only change between two streams."""
        try:
            demanded = self._demanded if self._last is None else self._arm.mode
            mode = stream_mode(message.joint_names[:POINTS], len(self._robot.joints), demanded)
            actions = conversions.trajectory_points(message, self._layouts[mode])
        except (RobotError, ObservationError) as error:
            self._counts[f"refused: {error.what}"] += 1
            self._report("error", f"{error.what}; {error.remedy}")
            return None
        if self._last is None:
            self._arm.mode = mode
        return actions

    def _targets(self, actions: np.ndarray, measured: np.ndarray) -> np.ndarray | None:
        """(N, J + 1): this period's target and the plan; None where the filter has no motion: a stop is requested."""
        try:
            joints = self._arm.command(actions, measured)
            plan = self._arm.preview(actions[1:], self._horizon - 1)
        except RobotError as error:
            self._counts["refused: the filter"] += 1
            self._stop_request.publish(String(data=f"{error.what}: {error.found}"))
            self._report("error", error.what)
            return None
        self._note_filter()
        gripper = self._robot.gripper.position(self._arm.gripper)
        return np.column_stack([np.vstack([joints[None], plan]), np.full(1 + len(plan), gripper)])

    def _note_filter(self) -> None:
        """What the filter did to this command, for the diagnostics."""
        filtered, now = self._arm.filtered, time.monotonic()
        if filtered is not None:
            self._counts[f"filter: {filtered.limit}"] += 1
            self._last_filter = f"{filtered.limit}, {filtered.change:.4f} rad less"
            if now >= self._filter_until:
                self._filter_status = f"; the filter acts: {filtered.limit}"
            self._filter_until = max(self._filter_until, now + TOLD)
        elif now >= self._filter_until:
            self._filter_status = ""

    def _report(self, level: str, message: str) -> None:
        self._reporter.report(level, message, self._values)

    def _values(self) -> dict[str, object]:
        values: dict[str, object] = dict(self._counts)
        return values | {"last filter": self._last_filter, "commands Hz": self._rate(self._counts["commands"])}

    def _release(self) -> None:
        """Publish the waiting command, if there is one."""
        self._release_timer.cancel()
        if self._waiting is not None:
            self._publisher.publish(self._waiting)
            self._waiting = None
            self._counts["commands"] += 1

    def final(self) -> None:
        """Before the process ends."""
        self._release()


def main() -> None:
    """Run the node; see `ros.process.start`."""
    run(ControllerNode)
