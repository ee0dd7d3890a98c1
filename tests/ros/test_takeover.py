"""A person at the gamepad beside a policy node: passed on where that is allowed, and by one publisher alone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("websockets")

from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.signals import SignalHandlerOptions  # noqa: E402
from sensor_msgs.msg import JointState, Joy  # noqa: E402
from std_msgs.msg import Bool, String  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402

from benchmarks.ros.ros_graph import DOMAIN, PATIENCE  # noqa: E402
from benchmarks.ros.ros_policy import Swing  # noqa: E402
from vla_agent.robot.description import load_robot  # noqa: E402
from vla_agent.ros.process.graph_processes import parameter_arguments  # noqa: E402
from vla_agent.ros.process.node_base import COMMANDS, JOINT_STATES, LATCHED  # noqa: E402

ROBOT = load_robot("panda")
UP = [0.0, 0.0, 0.0, 0.0, 1.0]
HELD = [0, 0, 0, 0, 0, 1]


class Cell:
    """A policy node without images, a teleoperation node with a gamepad, and what they publish."""

    def __init__(self, url: str, interventions: bool) -> None:
        from vla_agent.ros.nodes.policy_node import PolicyNode
        from vla_agent.ros.nodes.teleop_node import TeleopNode

        values = {"policy": url, "real_time": False, "interventions": interventions}
        words = ["--ros-args", "--disable-rosout-logs"]
        words += [word for name, value in values.items() for word in parameter_arguments(f"policy_node:{name}", value)]
        for name, value in {"device": "gamepad", "intervene": True}.items():
            words += parameter_arguments(f"teleop_node:{name}", value)
        os.environ |= {"ROS_DOMAIN_ID": DOMAIN, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
        rclpy.init(args=words, signal_handler_options=SignalHandlerOptions.NO)
        self.policy, self.teleop = PolicyNode(), TeleopNode()
        self.node: Any = rclpy.create_node("cell", use_global_arguments=False)
        self.executor = SingleThreadedExecutor()
        for each in (self.policy, self.teleop, self.node):
            self.executor.add_node(each)
        self.actions: list[JointTrajectory] = []
        self.marks: list[bool] = []
        self.stops: list[str] = []
        self.states = self.node.create_publisher(JointState, "joint_states", JOINT_STATES)
        self.joy = self.node.create_publisher(Joy, "joy", 10)
        self.node.create_publisher(Bool, "safety/stopped", LATCHED).publish(Bool(data=False))
        self.node.create_subscription(JointTrajectory, "policy/action", self.actions.append, 50)
        self.node.create_subscription(Bool, "intervention", lambda m: self.marks.append(m.data), LATCHED)
        self.node.create_subscription(String, "safety/stop", lambda m: self.stops.append(m.data), 10)

    def hold(self, until: Callable[[], object], buttons: list[int]) -> None:
        """Publish the gamepad's and the robot's messages until something holds."""
        deadline = time.monotonic() + PATIENCE
        names = [*ROBOT.joint_names, ROBOT.gripper.joint]
        while not until():
            assert time.monotonic() < deadline, self.teleop._refused
            state = JointState(name=names, position=[0.1] * len(names))
            state.header.stamp = self.node.get_clock().now().to_msg()
            self.states.publish(state)
            self.joy.publish(Joy(axes=UP, buttons=buttons))
            for _ in range(4):
                self.executor.spin_once(timeout_sec=0.005)

    def close(self) -> None:
        self.policy.final()
        self.executor.shutdown()
        for each in (self.policy, self.teleop, self.node):
            each.destroy_node()
        rclpy.try_shutdown()


@pytest.fixture
def cell() -> Iterator[Callable[[bool], Cell]]:
    made: list[Cell] = []
    with Swing().served() as server:

        def make(interventions: bool) -> Cell:
            made.append(Cell(server.url, interventions))
            return made[0]

        yield make
        for each in made:
            each.close()


def test_a_persons_actions_are_passed_on_and_two_publishers_stop_the_robot(cell):
    here = cell(True)
    here.hold(lambda: len(here.actions) >= 3, HELD)
    assert here.marks[-1] is True
    stamps = [a.header.stamp.sec + 1e-9 * a.header.stamp.nanosec for a in here.actions]
    assert min(np.diff(stamps)) >= 0.5 * ROBOT.period
    row = np.array(here.actions[-1].points[0].positions)
    assert np.allclose(row[:6], [0, 0, 0.1 * ROBOT.period, 0, 0, 0])
    here.hold(lambda: here.marks[-1] is False and not here.actions[-1].points, [0] * 6)  # no instruction: it rests
    refused = here.teleop._take_or_give(SetBool.Request(data=True), SetBool.Response())
    assert not refused.success and "held" in refused.message
    second = here.node.create_publisher(JointTrajectory, "teleop/action", COMMANDS)
    here.hold(lambda: here.stops, HELD)
    assert here.stops[0] == "2 nodes publish on teleop/action"
    here.node.destroy_publisher(second)


def test_a_policy_node_that_was_not_told_to_allow_it_passes_nothing_on(cell):
    here = cell(False)
    here.hold(lambda: "no policy node takes teleop/action" in here.teleop._refused and here.marks, HELD)
    assert not here.actions and here.marks[-1:] == [False]
