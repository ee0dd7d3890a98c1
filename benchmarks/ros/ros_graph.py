"""A running graph of real nodes, observed and driven from this process: for the ROS benchmarks and the tests."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vla_agent.robot.description import load_robot
from vla_agent.ros.process.graph_plan import is_installed
from vla_agent.ros.process.graph_processes import Processes
from vla_agent.ros.process.graph_table import GRAPHS, Value, arguments_of

# For busy machines: longest waiting time in seconds, and simulated seconds in one second.
PATIENCE = float(os.environ.get("VLA_AGENT_PATIENCE", "240"))
ANSWER = 10.0  # seconds until a service is asked again
PACE = float(os.environ.get("VLA_AGENT_PACE", "0.2"))
# A ROS domain for this process; domains over 101 use ports that Linux also gives to other programs.
DOMAIN = str(1 + os.getpid() % 101)


@dataclass(frozen=True)
class Acted:
    """An action (A,) of the policy node, when it came by the simulation's clock and by `time.perf_counter`, and the
    stamp of its control step; all in seconds."""

    time: float
    wall: float
    stamp: float
    action: np.ndarray


class Graph:
    """The graph ``sim`` in a ROS domain of its own, and a node that listens to it.

    ``targets``: (time, positions (J,)) that reached the robot; ``states``: (time, positions (J,)) measured; times in
    seconds of the simulation.  ``stopped``: the supervisor's latched state and when it changed.  ``acted``: the policy
    node's actions.  ``arrivals`` and ``written``: of each target, seconds of `time.perf_counter` when it came and of
    `time.time` when the safety node wrote it.  ``diagnostics``: node -> the message and values of its newest status.

    Args:
        logs: folder of the nodes' logs.
        without: nodes that are not started.
        before: node -> words in front of its command, such as those that run it in another network.
        values: arguments of the graph that are not the default.
    """

    def __init__(
        self,
        logs: Path,
        without: Sequence[str] = (),
        before: Mapping[str, Sequence[str]] | None = None,
        **values: Value,
    ) -> None:
        os.environ["ROS_DOMAIN_ID"] = DOMAIN
        os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        defaults = {name: argument.default for name, argument in arguments_of("sim").items()}
        missing = [entry.executable for entry in GRAPHS["sim"] if not is_installed(entry.needs)]
        self.processes = Processes("sim", defaults | values, logs, [*without, *missing], PATIENCE, before or {})
        self.robot = load_robot(str((defaults | values)["robot"]))
        self.time = self.jumped_to = 0.0  # jumped_to: where the clock went when it last jumped
        self.targets: list[tuple[float, np.ndarray]] = []
        self.states: list[tuple[float, np.ndarray]] = []
        self.arrivals: list[float] = []
        self.written: list[float] = []
        self.acted: list[Acted] = []
        self.diagnostics: dict[str, dict[str, str]] = {}
        self.stopped: bool | None = None
        self.stopped_at = 0.0

    @property
    def actions(self) -> int:
        """Number of actions that the policy node has published."""
        return len(self.acted)

    def __enter__(self) -> Graph:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor  # the events executor fails when clients are destroyed
        from rclpy.signals import SignalHandlerOptions

        from vla_agent.ros.process.realtime_priority import lock_memory

        lock_memory()  # as the nodes do: the measuring process must not wait for the disk either
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        self.node: Any = rclpy.create_node("graph_listener")
        self._listen()
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._spinning = True
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()
        self.processes.start()
        return self

    def __exit__(self, *_: object) -> None:
        import rclpy

        self.processes.stop()
        self._spinning = False
        self._thread.join()
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown()

    def _spin(self) -> None:
        while self._spinning:
            self._executor.spin_once(timeout_sec=0.1)

    def _listen(self) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from rosgraph_msgs.msg import Clock
        from sensor_msgs.msg import JointState
        from std_msgs.msg import Bool, String
        from trajectory_msgs.msg import JointTrajectory

        from vla_agent.ros.process.node_base import COMMANDS, LATCHED, SENSORS

        node, spec = self.node, self.robot.controller
        node.create_subscription(Clock, "/clock", self._clock, 10)
        node.create_subscription(Bool, "safety/stopped", self._stopped, LATCHED)
        node.create_subscription(JointTrajectory, spec.topics(hardware=False)[0], self._target, 50)
        node.create_subscription(JointState, self.robot.joint_states, self._state, SENSORS)
        node.create_subscription(JointTrajectory, "policy/action", self._action, 50)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._status, 50)
        self.commands = node.create_publisher(JointTrajectory, "policy/action", COMMANDS)
        self.instruction = node.create_publisher(String, "instruction", 10)

    def _clock(self, message: Any) -> None:
        before, self.time = self.time, message.clock.sec + 1e-9 * message.clock.nanosec
        if before and abs(self.time - before) > 1.0:
            self.jumped_to = self.time

    def _stopped(self, message: Any) -> None:
        self.stopped, self.stopped_at = message.data, self.time

    def _target(self, message: Any, info: Any) -> None:
        self.arrivals.append(time.perf_counter())
        self.written.append(1e-9 * info["source_timestamp"])
        self.targets.append((self.time, np.array(message.points[0].positions)))

    def _state(self, message: Any) -> None:
        self.states.append((self.time, np.array(message.position)[: len(self.robot.joints)]))

    def _action(self, message: Any) -> None:
        if message.points:
            stamp = message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec
            self.acted.append(Acted(self.time, time.perf_counter(), stamp, np.array(message.points[0].positions)))

    def _status(self, message: Any) -> None:
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            self.diagnostics[status.name] = {"message": status.message} | values

    # -- to drive it ---------------------------------------------------------------------------------------------

    def wait(self, until: Callable[[], bool], seconds: float = PATIENCE) -> bool:
        """Wait until something holds; False where it does not, or a node ends first."""
        deadline = time.monotonic() + seconds
        while not until():
            if time.monotonic() > deadline or self.processes.ended():
                return False
            time.sleep(0.01)
        return True

    def call(self, service: str) -> tuple[bool, str]:
        """Call a Trigger service: (success, message)."""
        from std_srvs.srv import Trigger

        answer = self._ask(Trigger, service, Trigger.Request())
        return answer.success, answer.message

    def set(self, node: str, name: str, value: Value) -> None:
        """Set a parameter of a running node."""
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        result = self._ask(SetParameters, f"{node}/set_parameters", request).results[0]
        assert result.successful, result.reason

    def _ask(self, kind: Any, service: str, request: Any) -> Any:
        """The answer.  It is asked again: a request may go to a killed server, which stays known for a while."""
        client = self.node.create_client(kind, service)
        try:
            assert client.wait_for_service(timeout_sec=PATIENCE), f"no service {service}"
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline and not self.processes.ended():
                future = client.call_async(request)
                if self.wait(future.done, ANSWER):
                    return future.result()
            raise AssertionError(f"no answer from {service}")
        finally:
            self.node.destroy_client(client)

    def reset(self) -> None:
        """Reset the supervisor, as soon as it lets itself be reset."""
        assert self.wait(lambda: self.call("safety/reset")[0]), "the supervisor cannot be reset"

    def set_in_motion(self) -> bool:
        """Until the robot gets new targets, with the supervisor reset where it has stopped; False where it does not."""
        since, deadline = len(self.targets), time.monotonic() + PATIENCE
        while time.monotonic() < deadline and not self.processes.ended():
            if self.stopped:
                self.call("safety/reset")
            if self.wait(lambda: self.stopped is False and len(self.targets) > since + 10 and not self.rests(), 1.0):
                return True
        return False

    def require_motion(self) -> None:
        """As `set_in_motion`; where nothing moves, the error has the diagnostics and logs of all nodes."""
        if not self.set_in_motion():
            logs = "\n".join(f"--- {name}\n{self.processes.tail(name)}" for name in self.processes.names)
            raise RuntimeError(f"nothing moves: {self.processes.ended()}; {self.diagnostics}\n{logs}")

    def rest(self) -> None:
        """Stop the policy by an empty instruction."""
        from std_msgs.msg import String

        self.instruction.publish(String(data=""))
        self.pause(10)

    def episode(self, seed: int, task: str | None = None) -> str:
        """Stop the policy, reset the supervisor and start an episode; returns its instruction.

        The policy starts by itself, because the scene publishes its instruction.
        """
        self.rest()
        if self.stopped:
            self.reset()
        self.set("sim_robot_node", "seed", seed)
        if task is not None:
            self.set("sim_robot_node", "task", task)
        done, message = self.call("sim/reset")
        assert done, message
        return message

    def pause(self, periods: float) -> None:
        """Let some control periods of simulated time pass."""
        until = self.time + periods * self.robot.period
        self.wait(lambda: self.time >= until)

    def rests(self, periods: int = 3) -> bool:
        """Whether the last targets are all the same: the robot holds."""
        last = np.array([positions for _, positions in self.targets[-periods:]])
        return len(last) == periods and bool((last == last[-1]).all())

    def act(self, action: np.ndarray, stamp: float, ahead: int = 1) -> None:
        """Publish an action (A,) for the control step at ``stamp`` (s), repeated for ``ahead`` steps."""
        from vla_agent.robot.control.action_modes import EE_DELTA
        from vla_agent.ros.messages import conversions

        rows = np.tile(action, (ahead, 1))
        self.commands.publish(conversions.trajectory_message(EE_DELTA, rows, stamp, self.robot.period))


def stop_delay(graph: Graph, began: float, patience: int = 20) -> float:
    """Control periods from ``began`` (s) to the stop; infinite where there is none, or it does not last."""
    period = graph.robot.period
    if not graph.wait(lambda: graph.stopped is True or graph.time > began + patience * period) or not graph.stopped:
        return math.inf
    delay = round(
        (graph.stopped_at - began) / period, 6
    )  # times of the clock are floats: 2 periods are not 2.0000000000005
    return delay if stop_lasts(graph) else math.inf


def stop_lasts(graph: Graph) -> bool:
    """Whether the robot holds, and the stop lasts."""
    graph.pause(10)
    return graph.stopped is True and graph.rests()
