"""Real nodes as processes over Fast DDS: the graph moves the simulated arm, and every way to stop it holds it."""

from __future__ import annotations

import signal
import time

import numpy as np
import pytest

pytest.importorskip("rclpy")

from benchmarks.ros import ros_soak
from benchmarks.ros.ros_graph import PACE, PATIENCE, Graph  # noqa: E402


def travel(graph: Graph, since: int = 0) -> float:
    """Radians that some joint has moved since the ``since``-th state."""
    positions = np.array([joints for _, joints in graph.states[since:]])
    return float(np.ptp(positions, axis=0).max()) if len(positions) else 0.0


def moves(graph: Graph, least: float = 0.05) -> bool:
    since = len(graph.states)
    return graph.wait(lambda: travel(graph, since) > least)


def test_the_shipped_policy_moves_the_arm_and_a_camera_that_stops_holds_it(tmp_path):
    with Graph(tmp_path, real_time_factor=PACE) as graph:
        graph.require_motion()
        assert moves(graph) and graph.actions
        assert {"inference p99 ms", "late_chunks"} < graph.diagnostics["policy_node"].keys()
        graph.set("sim_robot_node", "fault", "camera_stop")
        assert graph.wait(lambda: graph.stopped is True)
        assert graph.wait(graph.rests), "the robot was not commanded to hold"
        graph.set("sim_robot_node", "fault", "none")
        held = len(graph.states)
        assert graph.wait(lambda: len(graph.states) > held + 10) and graph.stopped, "it must stay stopped"
        assert travel(graph, held + 5) < 0.01
        graph.reset()
        assert moves(graph), "it goes on after a reset"
        targets = len(graph.targets)
        held = set().union(*(ros_soak.segments(graph.processes.process(n).pid) for n in graph.processes.names))
        codes = graph.processes.stop()
        assert codes == dict.fromkeys(codes, 0), codes
        assert graph.wait(lambda: len(graph.targets) > targets, 5.0) or graph.rests(1)
    assert held and not ros_soak.left(held), "shared memory is left behind"


class Hand:
    """Publishes actions once a control period, in the policy's place."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.stamp = graph, graph.time

    def drive(self, action: np.ndarray, periods: int) -> None:
        for _ in range(periods):
            self.stamp += self.graph.robot.period
            self.graph.wait(lambda: self.graph.time >= self.stamp)
            self.graph.act(action, self.stamp, ahead=4)

    def start(self) -> None:
        """Begin a stream now, and go on until the supervisor lets it through; once more where this process was late."""
        self.stamp = self.graph.time
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self.graph.stopped:
                self.graph.reset()
                self.graph.wait(lambda: self.graph.stopped is False)
                self.stamp = self.graph.time
            before = len(self.graph.targets)
            self.drive(FORWARD, 1)
            if len(self.graph.targets) > before and not self.graph.stopped:
                return
        raise AssertionError(self.graph.diagnostics)


FORWARD = np.array([0.004, 0.004, 0.004, 0, 0, 0, 0])


def test_the_emergency_stop_nan_and_silence_hold_and_sigterm_says_goodbye(tmp_path):
    with Graph(tmp_path, without=("policy_node",), real_time_factor=PACE) as graph:
        assert graph.wait(lambda: len(graph.states) > 2 and graph.stopped is False)
        hand = Hand(graph)
        for stop, word in (
            (lambda: graph.call("safety/estop"), "e-stop"),
            (lambda: hand.drive(FORWARD * np.nan, 1), "nan"),
            (lambda: None, "command"),
        ):
            for _attempt in range(3):  # where this process is late, its silence stops first: then once more
                hand.start()
                stop()
                assert graph.wait(lambda: graph.stopped is True), word
                assert graph.wait(graph.rests)
                hand.drive(FORWARD, 3)
                assert graph.stopped, "commands alone must not resume"
                done = graph.wait(lambda: graph.call("safety/reset")[0])
                assert done and graph.wait(lambda: graph.stopped is False)
                assert graph.wait(lambda: graph.diagnostics["safety_node"]["message"] == "idle")
                status = graph.diagnostics["safety_node"]
                if word in status["last stop"]:
                    break
            assert word in status["last stop"]
            assert {"commands Hz", "camera to command p99 ms"} < status.keys()
            assert "commands Hz" in graph.diagnostics["controller_node"]
        hand.start()
        targets = len(graph.targets)
        safety = graph.processes.process("safety_node")
        safety.send_signal(signal.SIGTERM)
        safety.send_signal(signal.SIGINT)  # a second one changes nothing
        assert safety.wait(PATIENCE) == 0
        end = time.monotonic() + PATIENCE  # what was published last may be heard after the end
        while len(graph.targets) <= targets and time.monotonic() < end:
            time.sleep(0.01)
        assert len(graph.targets) > targets, "a last hold was to be published"
