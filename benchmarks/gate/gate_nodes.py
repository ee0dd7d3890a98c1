"""The robot's own nodes with a certificate, as processes with ``hardware``: what they let through, and why not."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ros.ros_graph import DOMAIN, PATIENCE
from vla_agent.errors import VlaAgentError
from vla_agent.gate.certificate.certificate import read_certificate
from vla_agent.robot.description import load_robot
from vla_agent.ros.process.graph_processes import Processes
from vla_agent.ros.process.graph_table import Value, arguments_of
from vla_agent.ros.process.realtime_priority import PRIORITY

ROBOT = "panda"
REFUSED = 20  # commands that a safety node has to refuse before it counts as refusing
ANSWER = 5.0  # seconds that a node has to tell its state; one that has ended never does
FIRST = 10  # joint states before the first command
INACTIVE, ACTIVE = 2, 3  # of lifecycle_msgs/State


def safety_node(
    logs: Path,
    policy: Path,
    certificate: Path | str,
    keys: Path,
    robot: str = ROBOT,
    then: Callable[[], None] | None = None,
    silence: float = 0.0,
) -> tuple[bool, str]:
    """Whether a safety node on hardware passes on what a patched policy node would have it pass on, and its status.

    The commands come from this process: that of a controller that rests, at the robot's home; it says that
    the certified policy is loaded.

    Args:
        then: called once commands are let through; the status is that of the refusal which has to follow.
        silence: seconds without commands before that: a stop for that, or because this process was late, is reset.
    """
    values: dict[str, Value] = {"robot": robot, "policy": str(policy), "certificate": str(certificate)}
    with _running("safety_node", values, logs, keys) as (node, spin):
        probe = _SafetyProbe(node, robot, silence, _certified_digest(certificate))
        called, deadline = False, time.monotonic() + PATIENCE
        with probe.stream:
            while time.monotonic() < deadline:
                spin(probe.period)
                if called and "not certified" in probe.status:
                    return False, probe.status  # a stop because this process was late may come before it
                if probe.refuses():
                    return probe.targets > 0, probe.status
                if not called and probe.lets_through():
                    if then is None:
                        return True, probe.status
                    then()
                    called = True
    raise RuntimeError(f"the safety node neither passes commands on nor refuses them: {probe.status}, {probe.counts}")


def _certified_digest(certificate: Path | str) -> str:
    """Digest of the policy that it is for; empty where it cannot be read."""
    try:
        return str(read_certificate(Path(certificate)).payload["policy"]["digest"])
    except VlaAgentError:
        return ""


class _SafetyProbe:
    """What reaches the robot and what the safety node reports, while `stream` plays joint states and commands."""

    def __init__(self, node: Any, robot: str, silence: float, loaded: str) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from sensor_msgs.msg import JointState
        from std_msgs.msg import String
        from std_srvs.srv import Trigger
        from trajectory_msgs.msg import JointTrajectory

        from vla_agent.ros.messages import conversions
        from vla_agent.ros.process.node_base import COMMANDS, LATCHED, SENSORS

        spec = load_robot(robot)
        self.targets, self.status, self.period = 0, "", spec.period
        self.counts: dict[str, str] = {}
        self._silence, self._request = silence, Trigger.Request()
        names = [*spec.joint_names, spec.gripper.joint]
        rows, efforts = np.append(np.array(spec.home), spec.gripper.open)[None], np.zeros(len(names))
        node.create_subscription(DiagnosticArray, "/diagnostics", self._take_status, 50)
        node.create_subscription(JointTrajectory, spec.controller.topics(hardware=True)[0], self._count_target, 50)
        joints = node.create_publisher(JointState, spec.joint_states, SENSORS)
        commands = node.create_publisher(JointTrajectory, "controller/joint_trajectory", COMMANDS)
        node.create_publisher(String, "policy/loaded", LATCHED).publish(String(data=loaded))
        self._reset = node.create_client(Trigger, "safety/reset")
        self.stream = _Stream(
            lambda now: joints.publish(conversions.joint_state_message(names, rows[0], now, spec.base_frame, efforts)),
            lambda now: commands.publish(conversions.trajectory_message(names, rows, now, spec.period)),
            lambda: bool(self.status) and joints.get_subscription_count() > 0,
            spec.period,
        )

    def _take_status(self, message: Any) -> None:
        for one in message.status:
            if one.name == "safety_node":
                self.status = one.message
                self.counts = {pair.key: pair.value for pair in one.values}

    def _count_target(self, _message: Any) -> None:
        self.targets += 1

    def lets_through(self) -> bool:
        """Whether commands reach the robot, after the silence if any; a stop for missing commands is reset."""
        if self.status.startswith("stopped: command: none for"):
            self.status, self.stream.states_sent = "", 0
            self._reset.call_async(self._request)
        if self.targets <= 2 or self.status != "running":
            return False
        if self._silence and "stop: command" not in self.counts:
            self.stream.silent_until = time.monotonic() + self._silence
            return False
        return True

    def refuses(self) -> bool:
        """Whether the safety node refuses commands for want of a certificate."""
        return int(self.counts.get("refused without a certificate", 0)) > REFUSED and "not certified" in self.status


class _Stream(threading.Thread):
    """Publishes a joint state each period, and after the first of them a command, too, while somebody ``listens``.

    Scheduled as the controller node is, where the system allows it.  ``states_sent``: joint states since the beginning;
    a command before any joint state stops the supervisor, certified or not.  ``silent_until``: no command before that
    time of `time.monotonic`.
    """

    def __init__(
        self,
        state: Callable[[float], None],
        command: Callable[[float], None],
        listens: Callable[[], bool],
        period: float,
    ) -> None:
        super().__init__(daemon=True)
        self._state, self._command, self._listens, self._period = state, command, listens, period
        self._done = threading.Event()
        self.states_sent, self.silent_until = 0, 0.0

    def __enter__(self) -> _Stream:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self.join()

    def run(self) -> None:
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY - 1))
        while not self._done.wait(self._period - time.monotonic() % self._period):
            now = time.time()
            self._state(now)
            self.states_sent += self._listens()
            if self.states_sent > FIRST and time.monotonic() > self.silent_until:
                self._command(now)


def policy_node(
    logs: Path, policy: Path, certificate: Path | str, keys: Path, robot: str = ROBOT, **values: Value
) -> tuple[bool, str]:
    """Whether a policy node on hardware becomes active, and the end of its log."""
    from lifecycle_msgs.srv import GetState

    values |= {"robot": robot, "policy": str(policy), "certificate": str(certificate)}
    with _running("policy_node", values, logs, keys) as (node, spin):
        client = node.create_client(GetState, "policy_node/get_state")
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            log = (logs / "policy_node.log").read_text(encoding="utf-8", errors="replace")
            if client.service_is_ready():
                future = client.call_async(GetState.Request())
                answer = time.monotonic() + ANSWER
                while not future.done() and time.monotonic() < answer:
                    spin(0.1)
                state = future.result().current_state.id if future.done() else 0
                if state == ACTIVE or (state == INACTIVE and "remedy" in log):
                    return state == ACTIVE, log
            if "the policy node cannot be configured" in log:
                return False, log
            spin(0.2)
    raise RuntimeError(f"the policy node neither becomes active nor refuses: {log[-500:]}")


@contextmanager
def _running(executable: str, values: dict[str, Value], logs: Path, keys: Path) -> Iterator[tuple[Any, Any]]:
    """One node of the graph ``robot`` in a domain of its own; a node of this process, and how to spin it."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    from vla_agent.ros.process.graph_table import GRAPHS

    before = os.environ.get("VLA_AGENT_KEYS")
    os.environ |= {"ROS_DOMAIN_ID": DOMAIN, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "VLA_AGENT_KEYS": str(keys)}
    others = [entry.executable for entry in GRAPHS["robot"] if entry.executable != executable]
    defaults = {name: argument.default for name, argument in arguments_of("robot").items()}
    processes = Processes("robot", defaults | values, logs, others, PATIENCE)
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("gate_listener")
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def spin(seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            executor.spin_once(timeout_sec=left)

    try:
        processes.start()
        yield node, spin
    finally:
        processes.stop()
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
        if before is None:
            del os.environ["VLA_AGENT_KEYS"]
        else:
            os.environ["VLA_AGENT_KEYS"] = before
