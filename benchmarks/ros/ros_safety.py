"""Latency that the safety node adds to every command: from the controller's publication to its own, over Fast DDS.

The hop from there to the robot exists without a safety node, too.  Times are the middleware's stamps of writing.
"""

from __future__ import annotations

import tempfile
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ros.machine_wakeups import NOTE, late_wakeups
from benchmarks.ros.ros_quantiles import quantile_interval, quantile_rows

NAME = "ros-safety"
TITLE = "safety node: added latency a command with look-ahead, process to process, p99"
TARGET = 2.0
UNIT = "ms"
BETTER = "lower"
SECONDS = 60
WARM = 40  # commands
AMPLITUDE = np.array([0.25, 0.05, 0.1, 0.1, 0.1, 0.1, 0.3])  # rad, of a slow swing about the home posture


def run() -> dict[str, Any]:
    from trajectory_msgs.msg import JointTrajectory

    from benchmarks.ros.ros_graph import Graph
    from vla_agent.ros.messages import conversions
    from vla_agent.ros.process.node_base import COMMANDS
    from vla_agent.ros.process.realtime_priority import PRIORITY, set_realtime_priority

    machine = late_wakeups()
    with tempfile.TemporaryDirectory() as folder:
        without = ("policy_node", "controller_node")
        with Graph(Path(folder), without, real_time_factor=1.0) as graph:
            robot = graph.robot
            if not graph.wait(lambda: len(graph.states) > 20 and graph.stopped is False):
                raise RuntimeError(graph.processes.ended())
            names = [*robot.joint_names, robot.gripper.joint]
            publisher = graph.node.create_publisher(JointTrajectory, "controller/joint_trajectory", COMMANDS)
            sent: list[int] = []  # ns
            back: list[int] = []
            topics = {"controller/joint_trajectory": sent, robot.controller.topics(hardware=False)[0]: back}
            listener = _Listener(topics)
            set_realtime_priority(PRIORITY - 1)  # this process publishes as the controller node does
            if not graph.wait(lambda: publisher.get_subscription_count() and listener.connected):
                raise RuntimeError("the safety node is not found")
            centre = graph.states[-1][1]
            latencies: list[float] = []
            stamp, k = graph.time, 0
            while k < SECONDS * robot.control_hz and not graph.stopped:
                stamp += robot.period
                graph.wait(partial(_later, graph, stamp))
                steps = np.arange(k, k + 10)
                swing = 0.5 * (1 - np.cos(2 * np.pi * steps * robot.period / 6))
                rows = np.column_stack([centre + AMPLITUDE * swing[:, None], np.zeros(len(steps))])
                message = conversions.trajectory_message(names, rows, stamp, robot.period)
                expected = len(back) + 1
                publisher.publish(message)
                if graph.wait(partial(_passed, sent, k + 1, back, expected), 0.5):
                    latencies.append(1e-6 * (back[expected - 1] - sent[k]))
                k += 1
            stopped = graph.stopped
            status = graph.diagnostics.get("safety_node", {}).get("message")
            listener.end()
    values = np.array(latencies[WARM:])
    if len(values) < 100:
        raise RuntimeError(f"{len(values)} commands came through; the supervisor: {status}")
    return {
        "value": float(np.quantile(values, 0.99)),
        "n": len(values),
        "interval": quantile_interval(values),
        "seeds": "0",
        "rows": quantile_rows(values, machine=machine),
        "passed": float(np.quantile(values, 0.99)) <= TARGET and not stopped,
        "notes": f"one hop of Fast DDS, the checks, and the look-ahead of {robot.lookahead.seconds} s; bootstrap "
        f"interval; {SECONDS} s at {robot.control_hz:g} Hz beside the simulated robot; "
        f"the supervisor at the end: {status}; {NOTE}",
    }


class _Listener:
    """Records when the commands on each topic were written, ns; the events executor does not give it."""

    def __init__(self, topics: dict[str, list[int]]) -> None:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from trajectory_msgs.msg import JointTrajectory

        self._node = rclpy.create_node("safety_listener")
        self._subscriptions = [
            self._node.create_subscription(JointTrajectory, topic, partial(_note, written), 50)
            for topic, written in topics.items()
        ]
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._listening = True
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while self._listening:
            self._executor.spin_once(timeout_sec=0.1)

    @property
    def connected(self) -> bool:
        return all(subscription.get_publisher_count() > 0 for subscription in self._subscriptions)

    def end(self) -> None:
        self._listening = False
        self._thread.join()
        self._executor.shutdown()
        self._node.destroy_node()


def _later(graph: Any, until: float) -> bool:
    return graph.time >= until


def _passed(sent: list[int], commands: int, back: list[int], targets: int) -> bool:
    return len(sent) >= commands and len(back) >= targets


def _note(written: list[int], _message: Any, info: dict[str, int]) -> None:
    written.append(info["source_timestamp"])
