"""Safety and controller node in this process on ROS 2, and everything around them: for many short runs in a row."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from benchmarks.ros.ros_graph import DOMAIN
from vla_agent.robot.description import load_robot
from vla_agent.ros.process.graph_processes import parameter_arguments
from vla_agent.ros.process.graph_table import Value

PATIENCE = 20.0  # seconds


class RunningNodes:
    """The nodes, and a probe that plays the robot and everybody who may publish.

    ``received``: topic -> messages on the robot's topics, with and without ``sim/``; ``arm``: joint targets (J,) of
    them; ``status``: of the safety node.  ``states``: the joints (J,) that `spin` publishes once a control period;
    None: it publishes none.
    """

    def __init__(self, robot: str) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import SingleThreadedExecutor
        from sensor_msgs.msg import JointState
        from std_msgs.msg import Bool, Float64MultiArray, String
        from trajectory_msgs.msg import JointTrajectory

        from vla_agent.ros.nodes.controller_node import ControllerNode
        from vla_agent.ros.nodes.safety_node import SafetyNode
        from vla_agent.ros.process.node_base import COMMANDS, LATCHED, SENSORS

        self.robot = load_robot(robot)
        self.joints: np.ndarray | None = None
        self.gripper = 0.0
        self.received: Counter[str] = Counter()
        self.arm: list[np.ndarray] = []
        self.status, self.stopped = "", True
        self.probe: Any = rclpy.create_node("probe")
        self.safety, self.controller = SafetyNode(), ControllerNode()
        self._executor = SingleThreadedExecutor()
        for node in (self.probe, self.safety, self.controller):
            self._executor.add_node(node)
        probe, spec = self.probe, self.robot.controller
        for hardware in (True, False):
            arm, gripper = spec.topics(hardware)
            probe.create_subscription(JointTrajectory, arm, self._take_arm(arm), 100)
            probe.create_subscription(Float64MultiArray, gripper, self._take(gripper), 100)
        probe.create_subscription(DiagnosticArray, "/diagnostics", self._take_status, 50)
        probe.create_subscription(Bool, "safety/stopped", self._take_stopped, LATCHED)
        self.states = probe.create_publisher(JointState, self.robot.joint_state_topics[0], SENSORS)
        self.actions = probe.create_publisher(JointTrajectory, "policy/action", COMMANDS)
        self.stop = probe.create_publisher(String, "safety/stop", 10)
        self.deadman = probe.create_publisher(Bool, "safety/deadman", SENSORS)
        self.loaded = probe.create_publisher(String, "policy/loaded", LATCHED)
        self.names = [*self.robot.joint_names, self.robot.gripper.joint]
        self._due = time.monotonic()

    def _take(self, topic: str) -> Callable[[Any], None]:
        def take(_message: Any) -> None:
            self.received[topic] += 1

        return take

    def _take_arm(self, topic: str) -> Callable[[Any], None]:
        def take(message: Any) -> None:
            self.received[topic] += 1
            self.arm.append(np.array(message.points[0].positions))

        return take

    def _take_status(self, message: Any) -> None:
        self.status = next((s.message for s in message.status if s.name == "safety_node"), self.status)

    def _take_stopped(self, message: Any) -> None:
        self.stopped = message.data

    def on_hardware(self) -> int:
        """Messages on the topics of the real robot."""
        return sum(self.received[topic] for topic in self.robot.controller.topics(hardware=True))

    # -- to drive it ---------------------------------------------------------------------------------------------

    def spin(self, seconds: float, then: Callable[[], None] | None = None) -> None:
        """Let time pass; once a control period the joint state is published, and ``then`` is called."""
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            if now >= self._due:
                self._due = max(self._due + self.robot.period, now)
                if self.joints is not None:
                    self.publish_state(self.joints)
                if then is not None:
                    then()
            self._executor.spin_once(timeout_sec=min(0.002, until - now))

    def wait(self, until: Callable[[], bool], seconds: float = PATIENCE) -> bool:
        """Spin until something holds."""
        deadline = time.monotonic() + seconds
        while not until() and time.monotonic() < deadline:
            self.spin(0.005)
        return until()

    def connect(self) -> None:
        """Wait until what is published arrives, in both directions."""
        publishers = [self.states, self.actions, self.stop, self.deadman]
        topics = [
            self.probe.resolve_topic_name(t) for real in (True, False) for t in self.robot.controller.topics(real)
        ]
        outputs = [p for p in self.safety.publishers if p.topic_name in topics]
        assert len(outputs) == 2, "arm and gripper"
        inputs = lambda: all(p.get_subscription_count() for p in (*publishers, *outputs))  # noqa: E731
        between = lambda: self.probe.count_subscribers("controller/joint_trajectory") == 1  # noqa: E731
        if not self.wait(lambda: inputs() and between()):
            raise RuntimeError("the nodes do not find each other")

    def time(self) -> float:
        """Seconds of ROS's clock."""
        return float(self.probe.get_clock().now().nanoseconds * 1e-9)

    def publish_state(self, joints: np.ndarray, names: list[str] | None = None, effort: float = 0.0) -> None:
        """A joint state; ``names``: other than all of them."""
        from vla_agent.ros.messages import conversions

        positions = np.append(joints, self.robot.gripper.position(self.gripper))[: len(names or self.names)]
        efforts = np.full(len(positions), effort)
        message = conversions.joint_state_message(
            names or self.names, positions, self.time(), self.robot.base_frame, efforts
        )
        self.states.publish(message)

    def act(self, action: np.ndarray, ahead: int = 4) -> None:
        """An action (7,) of the policy for this control step, and the same for the next ones; ahead 0: the end."""
        from vla_agent.robot.control.action_modes import EE_DELTA
        from vla_agent.ros.messages import conversions

        rows = np.tile(action, (ahead, 1)).reshape(ahead, len(EE_DELTA))
        self.actions.publish(conversions.trajectory_message(EE_DELTA, rows, self.time(), self.robot.period))

    def call(self, service: str) -> tuple[bool, str]:
        """Call a Trigger service: (success, message)."""
        from std_srvs.srv import Trigger

        answer = self._ask(Trigger, service, Trigger.Request())
        return answer.success, answer.message

    def set(self, node: str, name: str, value: Value) -> str:
        """Set a parameter of a running node: why it refuses; empty where it does not."""
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        result = self._ask(SetParameters, f"{node}/set_parameters", request).results[0]
        return "" if result.successful else result.reason or "refused"

    def announce(self, digest: str) -> None:
        """As the policy node does, and wait until the safety node has it."""
        from std_msgs.msg import String

        self.loaded.publish(String(data=digest))
        if not self.wait(lambda: self.safety._loaded == digest):
            raise RuntimeError("policy/loaded does not arrive")

    def _ask(self, kind: Any, service: str, request: Any) -> Any:
        client = self.probe.create_client(kind, service)
        try:
            if not self.wait(client.service_is_ready):
                raise RuntimeError(f"no service {service}")
            future = client.call_async(request)
            if not self.wait(future.done):
                raise RuntimeError(f"no answer from {service}")
            return future.result()
        finally:
            self.probe.destroy_client(client)

    def end(self) -> None:
        """As at the end of their processes; what they publish last is received."""
        for node in (self.controller, self.safety):
            node.final()
        self.spin(0.05)

    def close(self) -> None:
        self._executor.shutdown()
        for node in (self.controller, self.safety, self.probe):
            node.destroy_node()


@contextmanager
def running(
    parameters: Mapping[str, Mapping[str, Value]], keys: str, words: tuple[str, ...] = (), robot: str = "panda"
) -> Iterator[RunningNodes]:
    """The nodes with these parameters, by node, and further arguments of ROS; ``keys``: folder of the keys."""
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from vla_agent.gate.certificate.keys import VARIABLE

    arguments = ["--ros-args", "--disable-rosout-logs", "--log-level", "fatal", *words]
    for node, values in parameters.items():
        given: dict[str, Value] = {"real_time": False, "robot": robot, **values}
        for name, value in given.items():
            flag, text = parameter_arguments(name, value)
            arguments += [flag, f"{node}:{text}"]
    before = os.environ.get(VARIABLE)
    os.environ |= {"ROS_DOMAIN_ID": DOMAIN, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", VARIABLE: keys}
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    nodes = None
    try:
        nodes = RunningNodes(robot)
        yield nodes
    finally:
        if nodes is not None:
            nodes.close()
        rclpy.try_shutdown()
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
