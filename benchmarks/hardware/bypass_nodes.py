"""Ways around the gate at the robot's own nodes: what is loaded is not what was hashed, or motors move without a word.

`cases` yields (kind, name, route).  A route tries to get through and returns the refusal; where it gets through it
raises `AssertionError`.  Policy node, safety node and controller node are the real ones, in this process; the policy is
the shipped one where it has to be loaded.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

if TYPE_CHECKING:
    from benchmarks.certificates.certificate_case import CertificateCase
    from benchmarks.hardware.running_nodes import RunningNodes
    from benchmarks.hardware.uncertified_cases import Hardware

KIND_LOADED, KIND_SILENT = 2, 7
PATIENT = 10_000.0  # ms of latency: this machine may be busy
ROBOT, WEIGHTS = "panda", "head.safetensors"
Route = Callable[[], str]


def cases() -> Iterator[tuple[int, str, Route]]:
    """Every route: kind (of the list in docs/gate.md), name, and what tries it."""
    for name, attack in POLICY_NODE.items():
        yield KIND_LOADED, f"policy node: {name}", partial(_policy_route, attack)
    for name, change in LOADED.items():
        yield KIND_LOADED, name, partial(_safety_route, change)
    yield KIND_LOADED, "other weights are timed than were hashed", _other_weights_are_timed
    for name, event in UNCERTIFIED.items():
        yield KIND_SILENT, f"without a certificate: {name}", partial(_silent_route, event)
    for name, route in SILENT.items():
        yield KIND_SILENT, name, route


# -- the policy node: what is loaded is asked for ----------------------------------------------------------------------


class _PolicyNode:
    """A policy node on hardware with a copy of the shipped policy that is certified, not configured yet."""

    def __init__(self, case: CertificateCase, node: Any, errors: list[str]) -> None:
        self.case, self.node, self.errors = case, node, errors
        self._good = {name: (case.policy / name).read_bytes() for name in (WEIGHTS, "policy.json")}

    def tamper(self, folder: Path | None = None) -> None:
        """Other weights, which load as well: the lowest bit of the last number, and the hash that policy.json has."""
        folder, good = folder or self.case.policy, self._good[WEIGHTS]
        weights = good[:-4] + bytes([good[-4] ^ 1]) + good[-3:]
        (folder / WEIGHTS).write_bytes(weights)
        stated, found = (hashlib.sha256(content).hexdigest().encode() for content in (good, weights))
        (folder / "policy.json").write_bytes(self._good["policy.json"].replace(stated, found))

    def restore(self) -> None:
        for name, content in self._good.items():
            (self.case.policy / name).write_bytes(content)

    def configure(self) -> bool:
        """Whether it is configured; what it loaded is then in memory."""
        from rclpy.lifecycle import TransitionCallbackReturn

        return bool(self.node.trigger_configure() == TransitionCallbackReturn.SUCCESS)

    def active(self) -> bool:
        from rclpy.lifecycle import TransitionCallbackReturn

        return bool(self.node.trigger_activate() == TransitionCallbackReturn.SUCCESS)

    def set(self, name: str, value: Any) -> str:
        """Why a parameter cannot be set; empty where it was."""
        from rclpy.parameter import Parameter

        result = self.node.set_parameters([Parameter(name, value=value)])[0]
        return "" if result.successful else str(result.reason)

    def refusal(self) -> str:
        """Why it is not activated."""
        assert not self.active(), "it was activated"
        return self.errors[-1]


def _policy_route(attack: Callable[[_PolicyNode], str]) -> str:
    import rclpy

    from benchmarks.certificates.certificate_case import make
    from benchmarks.ros.ros_graph import DOMAIN
    from benchmarks.shared.evaluations import POLICY
    from vla_agent.gate.certificate.keys import VARIABLE
    from vla_agent.robot.description import read_robot
    from vla_agent.ros.nodes.policy_node import PolicyNode
    from vla_agent.ros.process.graph_processes import parameter_arguments

    errors: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        case = make(Path(folder) / "case", Path(POLICY), read_robot(ROBOT)[1], PATIENT)
        values: dict[str, Any] = {"hardware": True, "autostart": False, "real_time": False, "policy": str(case.policy)}
        values |= {"certificate": str(case.certificate)}
        words = [word for name, value in values.items() for word in parameter_arguments(name, value)]
        environment = {
            "ROS_DOMAIN_ID": DOMAIN,
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            VARIABLE: str(case.keys),
        }
        with mock.patch.dict(os.environ, environment):
            rclpy.init(args=["--ros-args", "--disable-rosout-logs", "--log-level", "fatal", *words])
            node = None
            try:
                node = PolicyNode()
                logger = mock.Mock(wraps=node.get_logger())
                logger.error.side_effect = errors.append
                node.get_logger = lambda: logger  # type: ignore[method-assign]
                reason = attack(_PolicyNode(case, node, errors))
                assert reason, "nothing was refused"
                return reason
            finally:
                if node is not None:
                    node.final()
                    node.destroy_node()
                rclpy.try_shutdown()


def _loaded_then_restored(p: _PolicyNode) -> str:
    p.tamper()
    assert p.configure(), p.errors
    p.restore()
    return p.refusal()


def _through_a_link(p: _PolicyNode) -> str:
    other = p.case.root / "other"
    shutil.copytree(p.case.policy / "backbone", other)
    shutil.rmtree(p.case.policy / "backbone")
    (p.case.policy / "backbone").symlink_to(other)
    assert not p.configure(), "it was configured"
    return p.errors[-1]


def _through_a_folder_that_is_a_link(p: _PolicyNode) -> str:
    """A link to other weights while they are loaded, and to the certified ones when the certificate is asked for."""
    tampered, link = p.case.root / "tampered", p.case.root / "link"
    shutil.copytree(p.case.policy, tampered)
    p.tamper(tampered)
    link.symlink_to(tampered)
    assert not p.set("policy", str(link))
    if not p.configure():
        return p.errors[-1]
    link.unlink()
    link.symlink_to(p.case.policy)
    return p.refusal()


def _set_after_configure(p: _PolicyNode, name: str, value: Any) -> str:
    p.tamper()
    assert p.configure(), p.errors
    reason = p.set(name, value)
    assert reason, f"{name} was set"
    assert not p.active(), "it was activated"
    return reason


def _activated_then_reloaded(p: _PolicyNode) -> str:
    """Certified, activated; then cleaned up and configured with other files under the same name."""
    assert p.configure() and p.active(), p.errors
    p.node.trigger_deactivate()
    p.node.trigger_cleanup()
    p.tamper()
    assert p.configure(), p.errors
    p.restore()
    return p.refusal()


def _activated_then_revoked(p: _PolicyNode) -> str:
    from vla_agent.gate.certificate import keys

    assert p.configure() and p.active(), p.errors
    p.node.trigger_deactivate()
    keys.revoke(p.case.payload["id"], "a benchmark", p.case.keys)
    return p.refusal()


def _another_policy_after_cleanup(p: _PolicyNode) -> str:
    other = p.case.root / "other"
    shutil.copytree(p.case.policy, other)
    assert p.configure() and p.active(), p.errors
    p.node.trigger_deactivate()
    p.node.trigger_cleanup()
    p.tamper(other)
    assert not p.set("policy", str(other))
    assert p.configure(), p.errors
    return p.refusal()


def _another_execution(p: _PolicyNode, name: str, value: Any) -> str:
    assert not p.set(name, value)
    assert p.configure(), p.errors
    return p.refusal()


def _hardware_before_configure(p: _PolicyNode) -> str:
    reason = p.set("hardware", False)
    assert reason, "hardware was set"
    p.tamper()
    assert p.configure(), p.errors
    return f"{reason} {p.refusal()}"


POLICY_NODE: dict[str, Callable[[_PolicyNode], str]] = {
    "other weights while it loads, the certified ones when it asks": _loaded_then_restored,
    "a linked backbone": _through_a_link,
    "a folder that is a link, changed in between": _through_a_folder_that_is_a_link,
    "parameter policy after configuring": lambda p: _set_after_configure(p, "policy", "policies/tabletop-nano"),
    "parameter certificate after configuring": lambda p: _set_after_configure(p, "certificate", ""),
    "parameter hardware after configuring": lambda p: _set_after_configure(p, "hardware", False),
    "parameter robot after configuring": lambda p: _set_after_configure(p, "robot", "so101"),
    "parameter hardware before configuring": _hardware_before_configure,
    "other weights at a second configuration": _activated_then_reloaded,
    "a certificate that was revoked between two activations": _activated_then_revoked,
    "another policy after a cleanup": _another_policy_after_cleanup,
    "another execution mode": lambda p: _another_execution(p, "mode", "open_loop"),
    "other steps of a chunk": lambda p: _another_execution(p, "execute", 1),
    "images of any age": lambda p: _another_execution(p, "max_age", 1e6),
    "an inference that never counts as hung": lambda p: _another_execution(p, "stalled_after", 1e9),
}


# -- the safety node: certified once, then something changes -------------------------------------------------------


@contextmanager
def _running(hardware: Hardware, *words: str) -> Iterator[RunningNodes]:
    from benchmarks.hardware.running_nodes import running

    values: dict[str, Any] = {"hardware": True} | hardware.parameters()
    with running({"safety_node": values, "controller_node": {}}, str(hardware.keys), words) as nodes:
        nodes.connect()
        nodes.joints = np.array(nodes.robot.home)
        nodes.spin(0.2)
        yield nodes


def _act(nodes: RunningNodes, seconds: float = 0.3) -> None:
    nodes.spin(seconds, partial(nodes.act, np.zeros(7)))


def _safety_route(route: Callable[[RunningNodes, Hardware], str]) -> str:
    """A safety node that has let commands through; how long an inference takes is not measured."""
    from benchmarks.hardware.uncertified_cases import certified
    from vla_agent.ros.runtime import certificate_watch

    with tempfile.TemporaryDirectory() as folder:
        hardware = certified(Path(folder) / "case")
        with mock.patch.object(certificate_watch, "p99_ms_in_subprocess", lambda *_: 1.0), _running(hardware) as nodes:
            nodes.announce(hardware.case.payload["policy"]["digest"])
            for _ in range(10):
                _act(nodes)
                if nodes.on_hardware():
                    break
                nodes.call("safety/reset")
            assert nodes.on_hardware(), f"what is certified was refused: {nodes.status}"
            return route(nodes, hardware)


def _closed(nodes: RunningNodes, word: str) -> str:
    """The refusal, which has ``word`` in it; after it nothing may reach the robot, not even after a reset."""
    assert nodes.wait(lambda: nodes.stopped and word in nodes.status, 4.0), f"it goes on: {nodes.status}"
    nodes.received.clear()
    refused, why = nodes.call("safety/reset")
    assert not refused, "it was reset"
    _act(nodes)
    nodes.call("safety/estop")
    nodes.end()
    assert not nodes.on_hardware(), f"{nodes.on_hardware()} messages after it was refused"
    return why


def _announced(nodes: RunningNodes, _hardware: Hardware) -> str:
    from std_msgs.msg import String

    nodes.loaded.publish(String(data="0" * 64))
    return _closed(nodes, "another policy")


def _rewritten(nodes: RunningNodes, hardware: Hardware) -> str:
    weights = hardware.policy / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    return _closed(nodes, "written to")


def _revoked(nodes: RunningNodes, hardware: Hardware) -> str:
    from vla_agent.gate.certificate import keys

    keys.revoke(hardware.case.payload["id"], "a benchmark", hardware.keys)
    return _closed(nodes, "revoked")


def _demands_gone(nodes: RunningNodes, hardware: Hardware) -> str:
    (hardware.keys / "demands" / f"{ROBOT}.yaml").unlink()
    return _closed(nodes, "demands")


def _second_publisher(nodes: RunningNodes, _hardware: Hardware, topic: str) -> str:
    from trajectory_msgs.msg import JointTrajectory

    second = nodes.probe.create_publisher(JointTrajectory, topic, 1)
    try:
        assert nodes.wait(lambda: nodes.stopped and "2 nodes publish" in nodes.status, 4.0), nodes.status
        refused, why = nodes.call("safety/reset")
        assert not refused, "it was reset"
        return why
    finally:
        nodes.probe.destroy_publisher(second)


def _other_weights_are_timed() -> str:
    """The folder holds the certified files when it is hashed, and others when the policy is timed."""
    from benchmarks.shared.evaluations import POLICY
    from vla_agent.errors import NodeError
    from vla_agent.policy.inference_timing import p99_ms_in_subprocess

    try:
        p99_ms_in_subprocess(str(POLICY), PATIENT, "0" * 64)
    except NodeError as error:
        return f"{error.what}: {' '.join(str(error.found).split())}"
    raise AssertionError("it was timed")


LOADED: dict[str, Callable[[RunningNodes, Hardware], str]] = {
    "another policy runs than the safety node hashed": _announced,
    "files are written to while the robot moves": _rewritten,
}
CHANGED: dict[str, Callable[[RunningNodes, Hardware], str]] = {
    "revoked while the robot moves": _revoked,
    "the demands vanish while the robot moves": _demands_gone,
    "a second node commands the robot": partial(_second_publisher, topic="robot/joint_trajectory"),
    "a second controller commands the safety node": partial(_second_publisher, topic="controller/joint_trajectory"),
    "a second policy commands the controller": partial(_second_publisher, topic="policy/action"),
}


# -- the safety node: never certified ----------------------------------------------------------------------------------


def _silent_route(event: Callable[[RunningNodes], Any]) -> str:
    """Joint states, the event, actions, and the end of the node: nothing reaches the robot."""
    from benchmarks.hardware.uncertified_cases import FAULTS, certified

    with tempfile.TemporaryDirectory() as folder:
        hardware = FAULTS["a revoked certificate"](certified(Path(folder) / "case"))
        with _running(hardware) as nodes:
            event(nodes)
            _act(nodes)
            done, why = nodes.call("safety/reset")
            assert not done, "it was reset"
            event(nodes)
            nodes.end()
            assert not nodes.received, f"messages: {dict(nodes.received)}"
            return why


def _publish_deadman(nodes: RunningNodes) -> None:
    from std_msgs.msg import Bool

    for pressed in (True, False, True):
        nodes.deadman.publish(Bool(data=pressed))
        nodes.spin(0.06)


def _publish_stop(nodes: RunningNodes) -> None:
    from std_msgs.msg import String

    nodes.stop.publish(String(data="a benchmark"))
    nodes.spin(0.1)


def _set_parameters(nodes: RunningNodes) -> None:
    for name, value in (("hardware", False), ("certificate", ""), ("policy", ""), ("robot", "so101")):
        assert nodes.set("safety_node", name, value), f"{name} was set"


def _command_directly(nodes: RunningNodes) -> None:
    from trajectory_msgs.msg import JointTrajectory

    from vla_agent.ros.messages import conversions

    commands = nodes.probe.create_publisher(JointTrajectory, "controller/joint_trajectory", 1)
    rows = np.append(np.array(nodes.robot.home), 0.0)[None]

    def command() -> None:
        message = conversions.trajectory_message(nodes.names, rows, nodes.time(), nodes.robot.period)
        commands.publish(message)

    nodes.spin(0.3, command)
    nodes.probe.destroy_publisher(commands)


def _wrong_states(nodes: RunningNodes) -> None:
    nodes.publish_state(np.full(7, np.nan))
    nodes.publish_state(np.array(nodes.robot.home), effort=99.0)
    nodes.publish_state(np.array(nodes.robot.home), nodes.names[:3])
    nodes.spin(0.1)


UNCERTIFIED: dict[str, Callable[[RunningNodes], Any]] = {
    "joint states and an emergency stop": lambda nodes: nodes.call("safety/estop"),
    "a deadman switch": _publish_deadman,
    "a requested stop": _publish_stop,
    "joint states that are wrong or press too hard": _wrong_states,
    "parameters that are set": _set_parameters,
    "commands from a patched controller": _command_directly,
    "the end of the node": lambda nodes: nodes.safety.final(),
}


def _remapped(words: tuple[str, ...], node: str) -> str:
    from benchmarks.hardware.running_nodes import running
    from vla_agent.errors import NodeError
    from vla_agent.ros.process.node_base import forbid_robot_topics

    with tempfile.TemporaryDirectory() as folder:
        try:
            with running({node: {}}, folder, words) as nodes:
                forbid_robot_topics(nodes.controller)
        except NodeError as error:
            return f"{error.what}: {error.key}"
    raise AssertionError("it was remapped")


def _misspelled() -> str:
    """A parameter that nobody reads would leave another value in force."""
    from benchmarks.hardware.running_nodes import running
    from vla_agent.errors import NodeError

    with tempfile.TemporaryDirectory() as folder:
        try:
            with running({"safety_node": {"hardwar": True}}, folder):
                raise AssertionError("it started")
        except NodeError as error:
            return f"{error.what}: {error.key}; {error.remedy}"


def _stale_stream() -> str:
    """An arm that was led away during a stop, and a controller that goes on where it was."""
    from vla_agent.robot.description import load_robot
    from vla_agent.robot.safety.command_gate import CommandGate
    from vla_agent.robot.safety.supervisor import Command, Supervisor

    robot = load_robot(ROBOT)
    sent: list[Any] = []
    supervisor = Supervisor(robot)
    gate, home, nothing = CommandGate(supervisor, sent.append, ""), np.array(robot.home), np.empty((0, 7))
    gate.on_joint_state(home, 0.0, 0.0, 0.0, 0.0)
    gate.command(Command(home, 0.0, 0.0, nothing), 0.0, 0.0)
    gate.stop("e-stop", "a benchmark", 0.0)
    led = home + 0.15 * np.eye(7)[0]
    for k in range(1, 20):
        gate.on_joint_state(home + (led - home) * min(1.0, k / 10), 0.0, k * 0.05, k * 0.05, 0.0)
        gate.tick(k * 0.05, k * 0.05)
    sent.clear()
    assert gate.reset(0.95)[0], "no reset"
    gate.command(Command(home, 0.0, 0.95, nothing), 0.0, 0.95)
    assert all(np.abs(target.joints - led).max() < 0.05 for target in sent), "it was pulled back"
    return supervisor.reason


SIM, REAL = "sim/robot/joint_trajectory", "robot/joint_trajectory"
SILENT: dict[str, Route] = {
    **{name: partial(_safety_route, route) for name, route in CHANGED.items()},
    "a simulated robot's topic remapped to the motors": partial(_remapped, ("-r", f"{SIM}:={REAL}"), "safety_node"),
    "its gripper's topic": partial(_remapped, ("-r", "sim/robot/gripper:=robot/gripper"), "safety_node"),
    "the controller's topic": partial(_remapped, ("-r", f"controller/joint_trajectory:={REAL}"), "controller_node"),
    "the controller's topic, to a robot of another file": partial(
        _remapped, ("-r", "controller/joint_trajectory:=/other/joint_trajectory"), "controller_node"
    ),
    "a misspelled parameter": _misspelled,
    "a stream that goes on where the arm was": _stale_stream,
}
