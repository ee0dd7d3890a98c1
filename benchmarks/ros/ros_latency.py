"""Latency from a camera image to the robot's command: the whole graph without inference, two cameras at 30 Hz."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ros.machine_wakeups import NOTE, late_wakeups
from benchmarks.ros.ros_quantiles import quantile_interval, quantile_rows

NAME = "ros-latency"
TITLE = "camera to robot command through policy, controller and safety node without inference, p99"
TARGET = 15.0
UNIT = "ms"
BETTER = "lower"
SECONDS = float(os.environ.get("VLA_AGENT_LATENCY_SECONDS", "60"))
CAMERA_HZ, STATE_HZ, TICK_HZ = 30, 100, 300  # TICK_HZ: rate of the loop that publishes both
WARM = 40  # commands
SLACK = 0.005  # s that a command may seem to precede its action: one thread receives both


class Sensors:
    """Cameras and joint states of a robot that reaches its targets at once, with stamps of the system clock.

    ``shown``: of each pair of images, the stamp (s) and the time of its publication (s, `time.perf_counter`).
    """

    def __init__(self, graph: Any) -> None:
        from sensor_msgs.msg import Image, JointState

        from vla_agent.ros.process.node_base import SENSORS

        node, robot = graph.node, graph.robot
        self._graph, self._robot = graph, robot
        self._joints = node.create_publisher(JointState, robot.joint_state_topics[0], 10)
        self._cameras = [(node.create_publisher(Image, c.topic, SENSORS), c.frame) for c in robot.cameras]
        rng = np.random.default_rng(0)
        self._images = rng.integers(0, 255, (8, 96, 96, 3), np.uint8)
        self.shown: list[tuple[float, float]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Sensors:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        from vla_agent.ros.messages import conversions

        began, k = time.perf_counter(), 0
        names = [*self._robot.joint_names, self._robot.gripper.joint]
        while not self._ended.is_set():
            time.sleep(max(0.0, began + k / TICK_HZ - time.perf_counter()))
            stamp = time.time()
            if k % (TICK_HZ // STATE_HZ) == 0:
                joints = self._graph.targets[-1][1] if self._graph.targets else np.array(self._robot.home)
                positions = np.append(joints, self._robot.gripper.open)
                frame, efforts = self._robot.base_frame, np.zeros(len(names))
                self._joints.publish(conversions.joint_state_message(names, positions, stamp, frame, efforts))
            if k % (TICK_HZ // CAMERA_HZ) == 0:
                self._show(stamp)
            k += 1

    def _show(self, stamp: float) -> None:
        from vla_agent.ros.messages import conversions

        at = time.perf_counter()
        for publisher, frame in self._cameras:
            pixels = self._images[len(self.shown) % len(self._images)]
            publisher.publish(conversions.image_message(pixels, stamp, frame))
        self.shown.append((stamp, at))


def run() -> dict[str, Any]:
    from benchmarks.ros.ros_graph import Graph
    from benchmarks.ros.ros_policy import Swing

    machine = late_wakeups()
    with tempfile.TemporaryDirectory() as folder, Swing().served() as server:
        graph = Graph(Path(folder), ("sim_robot_node",), policy=server.url, instruction="swing", real_time_factor=1.0)
        with graph, Sensors(graph) as sensors:
            for name in graph.processes.names:  # as on a robot: no node waits for /clock
                graph.set(name, "use_sim_time", False)
            graph.require_motion()
            graph.wait(lambda: graph.actions > WARM)
            first, until = graph.actions, time.monotonic() + SECONDS
            graph.wait(lambda: time.monotonic() > until or graph.stopped is True, 2 * SECONDS)
            actions, arrivals, shown = graph.acted[first:], list(graph.arrivals), list(sensors.shown)
            stopped, why = graph.stopped, graph.diagnostics.get("safety_node", {}).get("message", "")
            period = graph.robot.period
    values = 1000 * latencies([(a.stamp, a.wall) for a in actions], arrivals, shown, period)
    if len(values) < 20:
        raise RuntimeError(f"{len(values)} commands came through; {why}")
    p99 = float(np.quantile(values, 0.99))
    return {
        "value": p99,
        "n": len(values),
        "interval": quantile_interval(values),
        "seeds": "0",
        "rows": quantile_rows(values, machine=machine),
        "passed": p99 <= TARGET and not stopped,
        "notes": f"{SECONDS:g} s; two cameras of 96 x 96 at {CAMERA_HZ} Hz, joint states at {STATE_HZ} Hz, control at "
        f"{1 / period:g} Hz; three hops of Fast DDS, shaping and look-ahead; a scripted policy answers at once from a "
        f"server, in its own thread; {len(actions)} actions; the supervisor at the end: {why}; {NOTE}",
    }


def latencies(
    actions: Sequence[tuple[float, float]],
    arrivals: Sequence[float],
    shown: Sequence[tuple[float, float]],
    period: float,
) -> np.ndarray:
    """Seconds from the image of a control step to its command.

    The image of a step is the first that is not older than a quarter of a period at the step's beginning, or the one
    before where the action did not wait for it (`ros.runtime.policy_loop`).

    Args:
        actions: of each action the stamp of its control step and when it came.
        arrivals: when each command came, at least one for each action, in order.
        shown: of each pair of images the stamp and the time of its publication.
        period: seconds of a control step.
    """
    stamps = np.array([stamp for stamp, _ in shown])
    found, j = [], 0
    for stamp, at in actions:
        while j < len(arrivals) and arrivals[j] < at - SLACK:
            j += 1
        if j == len(arrivals):
            break
        k = int(np.searchsorted(stamps, stamp - 0.25 * period - 1e-6))
        if k == len(shown) or shown[k][1] > at:
            k -= 1
        found.append(arrivals[j] - shown[max(k, 0)][1])
        j += 1
    return np.array(found)
