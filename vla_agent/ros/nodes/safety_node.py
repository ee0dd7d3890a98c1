"""safety_node: passes commands to the robot only through `robot.safety.supervisor.Supervisor`.

in:  controller/joint_trajectory, joint_states, safety/stop (String: any node may stop), safety/deadman (Bool)
out: the robot's commands (robot file, ``controller``; without ``hardware`` under sim/), safety/stopped (Bool, latched),
     /diagnostics
services: safety/estop, safety/reset (Trigger)
parameters: see `ros.process.node_parameters` or `safety_node --help`

On hardware it checks the certificate itself, whatever the policy node does.  Without a valid one for exactly the files
of ``policy``, this robot, and an inference latency that this machine keeps (the node times the policy itself, once, in
a separate process) nothing is passed on, and a reset is refused.  Once a second it checks whether the certificate has
expired or was revoked, which stops the robot.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import replace
from datetime import datetime, timezone

import numpy as np
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64MultiArray, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from vla_agent.errors import ObservationError, VlaAgentError
from vla_agent.gate.certificate.certificate import Certificate, require_current
from vla_agent.gate.certificate.enforce import Deployment, require_certificate
from vla_agent.gate.certificate.keys import keys_folder, revoked
from vla_agent.policy.inference_timing import p99_ms_in_subprocess
from vla_agent.robot.description import read_robot
from vla_agent.robot.safety.supervisor import RUNNING, STOPPED, Command, Supervisor, Target
from vla_agent.ros.messages import conversions
from vla_agent.ros.messages.robot_commands import make_command_sender
from vla_agent.ros.process.node_base import (
    COMMANDS,
    LATCHED,
    SENSORS,
    ControlClock,
    Node,
    StatusReporter,
    checked_factor,
    declare_parameters,
    request_realtime,
    run,
)
from vla_agent.ros.runtime.timing_statistics import RateMeter, quantiles

TICKS = 8  # a control period


class SafetyNode(Node):
    """See the module."""

    def __init__(self) -> None:
        super().__init__("safety_node")
        values = declare_parameters(self, "safety_node")
        request_realtime(self, values)
        self._robot, self._robot_file = read_robot(values["robot"])
        factor = checked_factor(values)
        self._now = ControlClock(factor)
        self._supervisor = Supervisor(self._robot, deadman=bool(values["deadman"]))
        self._names = [*self._robot.joint_names, self._robot.gripper.joint]
        self._reporter = StatusReporter(self)
        self._hardware = bool(values["hardware"])
        self._policy, self._file = str(values["policy"]), str(values["certificate"])
        self._certificate: Certificate | None = None
        self._latency_ms = float("inf")  # p99 of an inference on this machine; not measured yet
        self._refused = self._refusal()
        self._latencies: deque[float] = deque(maxlen=400)  # seconds from a command's arrival to its publication
        self._ages: deque[float] = deque(maxlen=400)  # seconds from the stamp of an approved command to its publication
        self._rate = RateMeter()
        self._stopped = self.create_publisher(Bool, "safety/stopped", LATCHED)
        self._published_stop: bool | None = None
        arm, gripper = self._robot.controller.topics(self._hardware)
        self._arm = make_command_sender(self, self._robot, arm)
        self._gripper = self.create_publisher(Float64MultiArray, gripper, COMMANDS)
        self.create_subscription(JointTrajectory, "controller/joint_trajectory", self._command, COMMANDS)
        self.create_subscription(JointState, self._robot.joint_states, self._receive_state, SENSORS)
        self.create_subscription(String, "safety/stop", self._stop_on_request, 10)
        self.create_subscription(Bool, "safety/deadman", self._deadman, SENSORS)
        self.create_service(Trigger, "safety/estop", self._estop)
        self.create_service(Trigger, "safety/reset", self._reset)
        self._timer = self.create_timer(
            self._robot.period / TICKS / factor, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        if self._hardware:
            self.create_timer(1.0, self._check_certificate, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._publish_stopped()

    # -- certificate ---------------------------------------------------------------------------------------------

    def _refusal(self) -> str:
        """Why hardware may not move; empty where it may."""
        if not self._hardware:
            return ""
        robot, self._certificate = self._robot, None
        deployment = Deployment(
            robot.name,
            True,
            cameras=robot.camera_names,
            control_hz=robot.control_hz,
            robot_file=self._robot_file,
            unknown=("execution", "latency_ms"),  # the mode is the policy node's; the latency is measured below
        )
        try:
            certificate = require_certificate(self._policy, self._file, deployment)
            assert certificate is not None  # it is None where nothing needs to be certified alone
            allowed = float(certificate.payload["latency"]["certified_ms"])
            if not self._latency_ms <= allowed:
                self._latency_ms = p99_ms_in_subprocess(self._policy, allowed)
            deployment = replace(deployment, latency_ms=self._latency_ms, unknown=("execution",))
            self._certificate = require_certificate(self._policy, self._file, deployment)
        except VlaAgentError as error:
            self.get_logger().error(str(error))
            return f"not certified: {error.what}: {error.key}"
        return ""

    def _check_certificate(self) -> None:
        if self._certificate is None or self._supervisor.mode == STOPPED:
            return
        try:
            require_current(self._certificate, revoked(keys_folder()), datetime.now(timezone.utc))
        except VlaAgentError as error:
            self._send(self._supervisor.stop("certificate", f"{error.what}: {error.key}", self._now()))

    # -- in ------------------------------------------------------------------------------------------------------

    def _command(self, message: JointTrajectory) -> None:
        began = time.perf_counter()
        now = self._now()
        if self._refused:
            self._supervisor.counts["refused without a certificate"] += 1
            return
        try:
            rows = conversions.trajectory_points(message, self._names)
        except ObservationError as error:
            self._send(self._supervisor.stop("command", f"{error.what}: {error.found}", now))
            return
        if not len(rows):
            self._send(self._supervisor.end())
            return
        stamp = conversions.to_seconds(message.header.stamp)
        fraction = self._fraction(rows[0, -1])
        command = Command(rows[0, :-1], fraction, stamp, rows[1:, :-1])
        self._send(self._supervisor.command(command, self._ros_time() - stamp, now))
        self._latencies.append(time.perf_counter() - began)
        if self._supervisor.mode == RUNNING:
            self._ages.append(self._ros_time() - stamp)

    def _receive_state(self, message: JointState) -> None:
        now = self._now()
        try:
            positions = conversions.joint_positions(message, self._names)
        except ObservationError as error:
            self._send(self._supervisor.stop("joint state", f"{error.what}: {error.key}", now))
            return
        stamp = conversions.to_seconds(message.header.stamp)
        gripper, effort = self._fraction(positions[-1]), self._effort(message)
        self._send(self._supervisor.on_joint_state(positions[:-1], gripper, stamp, now, effort))

    def _effort(self, message: JointState) -> float | None:
        """Effort of the gripper's joint, where the supervisor needs it and the message has it."""
        gripper = self._robot.gripper
        if gripper.max_effort is None:
            return None
        try:
            return float(conversions.joint_positions(message, [gripper.joint], "effort")[0])
        except ObservationError:
            return None

    def _stop_on_request(self, message: String) -> None:
        if self._supervisor.mode != STOPPED:
            self._send(self._supervisor.stop("asked", message.data, self._now()))

    def _deadman(self, message: Bool) -> None:
        if message.data:
            self._supervisor.on_deadman_pressed(self._now())
        else:
            self._send(self._supervisor.on_deadman_released(self._now()))

    def _estop(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._send(self._supervisor.stop("e-stop", "the service safety/estop was called", self._now()))
        response.success, response.message = True, self._supervisor.reason
        return response

    def _reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        now = self._now()  # before the files are checked: that takes longer than a joint state stays fresh
        self._refused = self._refusal()  # everything again: files may have changed
        done = (False, self._refused) if self._refused else self._supervisor.reset(now)
        response.success, response.message = done
        self._publish_stopped()
        return response

    # -- out -----------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._send(self._supervisor.tick(self._now(), self._ros_time()))
        supervisor = self._supervisor
        level = "error" if supervisor.mode == STOPPED or self._refused else "ok"
        message = f"stopped: {supervisor.reason}" if supervisor.mode == STOPPED else self._refused or supervisor.mode
        self._reporter.report(level, message, self._values)

    def _values(self) -> dict[str, object]:
        counts = self._supervisor.counts
        values: dict[str, object] = dict(sorted(counts.items()))
        values |= {"last stop": self._supervisor.last_stop, "commands Hz": self._rate(counts["commands"])}
        return values | quantiles("latency", self._latencies) | quantiles("camera to command", self._ages)

    def _send(self, target: Target | None) -> None:
        if target is not None:
            self._arm(target, self._ros_time())
            self._gripper.publish(conversions.float_array(np.array([self._robot.gripper.position(target.gripper)])))
        self._publish_stopped()

    def _publish_stopped(self) -> None:
        stopped = self._supervisor.mode == STOPPED or bool(self._refused)
        if stopped != self._published_stop:
            self._published_stop = stopped
            self._stopped.publish(Bool(data=stopped))

    def _fraction(self, position: float) -> float:
        """Gripper joint position -> 0 open to 1 closed, neither NaN nor values out of range are changed."""
        gripper = self._robot.gripper
        return float((position - gripper.open) / (gripper.closed - gripper.open))

    def _ros_time(self) -> float:
        return self.get_clock().now().nanoseconds * 1e-9

    def final(self) -> None:
        """Before the process ends: the robot is commanded to rest."""
        self._send(self._supervisor.final())
        self._reporter.report("warn", "ended; the robot was commanded to hold", self._values)


def main() -> None:
    """Run the node; see `ros.process.start`."""
    run(SafetyNode)
