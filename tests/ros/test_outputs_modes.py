"""controller_node follows policies of joint positions and of end-effector deltas, without being told which."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from vla_agent.robot.control.action_modes import EE_DELTA, action_layouts  # noqa: E402
from vla_agent.robot.description import load_robot  # noqa: E402
from vla_agent.ros.messages import conversions  # noqa: E402
from vla_agent.ros.nodes.controller_node import ControllerNode  # noqa: E402

PANDA = load_robot("panda")
HOME, T = np.array(PANDA.home), PANDA.period
JOINT_POSITION = action_layouts(7)["joint_position"]
STATES = [*PANDA.joint_names, PANDA.gripper.joint]


class Controller:
    """The node, its joint states at home, and what it publishes."""

    def __init__(self) -> None:
        self.node: Any = ControllerNode()
        self.sent: list[np.ndarray] = []
        self.time = 1.0
        self._ear = rclpy.create_node("ear")
        topic = ControllerNode.COMMAND_TOPIC
        self._ear.create_subscription(conversions.JointTrajectory, topic, self._hear, 50)
        while not self._ear.count_publishers(topic) or not self.node.count_subscribers(topic):
            rclpy.spin_once(self._ear, timeout_sec=0.01)

    def _hear(self, message: Any) -> None:
        self.sent.append(conversions.trajectory_points(message, STATES)[:, :-1])

    def act(self, names: list[str], rows: np.ndarray) -> None:
        state = conversions.joint_state_message(STATES, np.append(HOME, 0.0), self.time, "base")
        self.node._state(state)
        self.node._action(conversions.trajectory_message(names, rows, self.time, T))
        self.time += T
        rclpy.spin_once(self._ear, timeout_sec=0.1)

    @property
    def refused(self) -> list[str]:
        return [name for name in self.node._counts if name.startswith("refused")]

    def close(self) -> None:
        self._ear.destroy_node()
        self.node.destroy_node()


@contextmanager
def controller(*words: str) -> Iterator[Controller]:
    domain = 1 + (os.getpid() + 70) % 101
    rclpy.init(args=["--ros-args", "-p", "real_time:=false", *words], domain_id=domain)
    made = None
    try:
        made = Controller()
        yield made
    finally:
        if made is not None:
            made.close()
        rclpy.try_shutdown()


def joint_rows(offset: float, n: int = 4) -> np.ndarray:
    return np.tile(np.append(HOME + offset * np.array([1, 0, 0, 0, 0, 0, 1]), 0.0), (n, 1))


def test_a_policy_of_joint_positions_moves_the_arm_and_so_does_one_of_deltas_after_it():
    with controller() as arm:
        for _ in range(4):
            arm.act(JOINT_POSITION, joint_rows(0.05))
        assert not arm.refused and arm.node._arm.mode == "joint_position"
        assert np.array_equal(arm.sent[0][0], HOME) and arm.sent[-1][0, 0] > HOME[0] + 0.02
        assert len(arm.sent[-1]) == 4, "with its plan"
        arm.act(JOINT_POSITION, np.empty((0, 8)))
        for _ in range(3):
            arm.act(EE_DELTA, np.tile([0.0, 0.0, 0.02, 0, 0, 0, 0.0], (3, 1)))
        assert not arm.refused and arm.node._arm.mode == "ee_delta"
        assert np.abs(arm.sent[-1][0] - HOME).max() > 1e-3


def test_a_stream_that_becomes_another_is_refused_and_nothing_is_sent():
    with controller() as arm:
        arm.act(EE_DELTA, np.zeros((1, 7)))
        sent = len(arm.sent)
        arm.act(JOINT_POSITION, joint_rows(0.0))
        assert len(arm.sent) == sent == 1 and len(arm.refused) == 1


@pytest.mark.parametrize(("mode", "names", "size"), [("ee_delta", JOINT_POSITION, 8), ("joint_position", EE_DELTA, 7)])
def test_a_mode_that_contradicts_the_policy_moves_nothing(mode, names, size):
    with controller("-p", f"mode:={mode}") as arm:
        arm.act(names, np.zeros((2, size)))
        assert not arm.sent and arm.refused and mode in arm.refused[0]


def test_actions_of_the_wrong_length_move_nothing():
    with controller() as arm:
        arm.act(JOINT_POSITION[1:], np.zeros((1, 7)))
        message = conversions.trajectory_message(EE_DELTA, np.zeros((1, 6)), arm.time, T)
        arm.node._action(message)
        assert not arm.sent and len(arm.refused) == 2
