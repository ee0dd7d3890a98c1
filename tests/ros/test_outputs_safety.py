"""The safety node and a robot that takes goals: nothing moves where they cannot arrive, and a moving arm is stopped."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
from rclpy.executors import SingleThreadedExecutor  # noqa: E402

from tests.ros.fake_controllers import ActionController, Ros, ros  # noqa: E402
from vla_agent.robot.control.limit_shaper import LimitShaper  # noqa: E402
from vla_agent.robot.description import load_robot  # noqa: E402
from vla_agent.ros.messages import conversions  # noqa: E402
from vla_agent.ros.nodes.safety_node import SafetyNode  # noqa: E402
from vla_agent.ros.outputs import goals  # noqa: E402

ROOT = Path(__file__).parents[2]
PANDA = load_robot("panda")
HOME, T = np.array(PANDA.home), PANDA.period
STATES = [*PANDA.joint_names, PANDA.gripper.joint]
OLD = "controller: {type: joint_trajectory, topic: robot/joint_trajectory, gripper_topic: robot/gripper}"
NEW = """controller:
  type: follow_joint_trajectory
  topic: arm/follow
  gripper: {type: gripper_command, topic: hand/cmd, max_effort: 40.0}"""
DOMAINS = count(os.getpid() + 30)  # of each test: what one leaves behind, rclpy may tell the next


class Safety:
    """The node, in a time that the test sets; the arm is where it was last commanded."""

    def __init__(self, graph: Ros) -> None:
        self.node: Any = SafetyNode()
        self.graph, self.now, self.joints = graph, 100.0, HOME
        self.node._now = self.node._ros_time = lambda: self.now
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._shaper = LimitShaper(PANDA)
        self._shaper.rest(HOME)

    def until(self, true: Callable[[], Any]) -> bool:
        def once() -> bool:
            self._executor.spin_once(timeout_sec=0.01)
            self.node._tick()
            return bool(true())

        return self.graph.until(once)

    def state(self) -> None:
        zeros = np.zeros(len(STATES))
        self.node._take_state(
            conversions.joint_state_message(STATES, np.append(self.joints, 0.0), self.now, "base", zeros)
        )

    def move(self, gripper: float = 0.0) -> None:
        """One control period, with a command."""
        self.now += T
        self.state()
        row = self._shaper.step(HOME + [0.3, 0, 0, 0, 0, 0, 0.3]) if self.mode == "running" else self.joints
        message = conversions.trajectory_message(
            STATES, np.append(row, PANDA.gripper.position(gripper))[None], self.now, T
        )
        self.node._take_command(message)
        if self.mode == "running":
            self.joints = row
        self._executor.spin_once(timeout_sec=0.01)
        self.node._tick()

    def wait(self) -> None:
        """One control period, without a command."""
        self.now += T
        self.state()
        self._executor.spin_once(timeout_sec=0.01)
        self.node._tick()

    def reset(self) -> tuple[bool, str]:
        for _ in range(20):  # it brakes first
            self.wait()
        response = self.node._reset(None, type("Response", (), {})())
        self._shaper.rest(self.joints)
        return response.success, response.message

    @property
    def mode(self) -> str:
        return str(self.node._supervisor.mode)

    @property
    def status(self) -> str:
        return str(self.node._message())

    @property
    def said_stopped(self) -> bool:
        return bool(self.node._published_stop)

    def close(self) -> None:
        self._executor.shutdown()
        self.node._background.close()
        self.node.destroy_node()


@pytest.fixture
def safety(tmp_path, interfaces, monkeypatch):
    monkeypatch.setattr(goals, "ANSWER", 60.0)  # a busy machine is no controller that hangs
    file = tmp_path / "arm.yaml"
    text = (ROOT / "config" / "robots" / "panda.yaml").read_text()
    assert OLD in text
    file.write_text(text.replace(OLD, NEW))
    words = ("-p", f"safety_node:robot:={file}", "-p", "safety_node:real_time:=false")
    with ros(1 + next(DOMAINS) % 101, *words) as graph:
        made = Safety(graph)
        try:
            yield made
        finally:
            made.close()


def controllers(safety: Safety, arm: str = "held"):
    from control_msgs.action import FollowJointTrajectory, GripperCommand

    return (
        ActionController(safety.graph, FollowJointTrajectory, "sim/arm/follow", arm),
        ActionController(safety.graph, GripperCommand, "sim/hand/cmd", "held"),
    )


def test_without_its_controllers_the_robot_is_not_commanded_and_the_missing_ones_are_named(safety):
    safety.state()
    for _ in range(3):
        safety.move()
    assert safety.mode == "idle" and safety.said_stopped, "the policy waits, and nothing is latched"
    assert "no action server sim/arm/follow" in safety.status and "sim/hand/cmd" in safety.status
    assert safety.node._supervisor.counts["refused: the robot cannot be commanded"] == 3
    arm, hand = controllers(safety)
    assert safety.until(lambda: not safety.said_stopped) and safety.status == "idle"
    for k in range(4):
        safety.move(gripper=0.5)
        assert safety.until(lambda k=k: len(arm.goals) == k + 1)
    assert safety.mode == "running"
    assert safety.until(lambda: len(hand.goals) == 1)
    assert hand.goals[0].command.position == pytest.approx(PANDA.gripper.position(0.5))
    last = arm.goals[-1].trajectory.points
    assert len(last) > 1 and not np.any(last[-1].velocities)


def test_a_controller_that_goes_away_stops_the_arm_and_a_reset_goes_on_when_it_is_back(safety):
    arm, hand = controllers(safety)
    safety.state()
    assert safety.until(lambda: safety.status == "idle" and not safety.said_stopped)
    for _ in range(3):
        safety.move()
    assert safety.mode == "running" and safety.until(lambda: len(arm.goals) == 3)
    arm.destroy()
    assert safety.until(lambda: safety.mode == "stopped"), (safety.node._problem, safety.status)
    assert safety.status.startswith("stopped: output: no action server sim/arm/follow")
    from control_msgs.action import FollowJointTrajectory

    again = ActionController(safety.graph, FollowJointTrajectory, "sim/arm/follow", "held")
    assert safety.until(lambda: "no action server" not in safety.node._problem)
    done, why = safety.reset()
    assert done, why
    for _ in range(2):
        safety.move()
    assert safety.until(lambda: again.goals) and safety.mode == "running"


@pytest.mark.parametrize("how", ["rejects", "aborts", "hangs"])
def test_a_controller_that_does_not_carry_out_its_goals_stops_the_arm(safety, monkeypatch, how):
    arm, hand = controllers(safety)
    safety.state()
    assert safety.until(lambda: safety.status == "idle" and not safety.said_stopped)
    for _ in range(2):
        safety.move()
    if how == "rejects":
        arm.accepts = False
    elif how == "aborts":
        arm.end = "aborted"
    else:
        arm.hangs.set()
        monkeypatch.setattr(goals, "ANSWER", 0.2)
    safety.move()
    said = {"rejects": "rejected", "aborts": "aborted", "hangs": "does not answer"}[how]
    assert safety.until(lambda: safety.mode == "stopped") and said in safety.status
    arm.accepts, arm.end = True, "held"
    arm.hangs.clear()
    monkeypatch.setattr(goals, "ANSWER", 60.0)
    assert safety.reset()[0] and safety.mode == "idle"


def test_a_gripper_that_rejects_stops_the_arm(safety):
    arm, hand = controllers(safety)
    safety.state()
    assert safety.until(lambda: safety.status == "idle" and not safety.said_stopped)
    hand.accepts = False
    safety.move(gripper=1.0)
    assert safety.until(lambda: safety.mode == "stopped") and "sim/hand/cmd: the goal was rejected" in safety.status


def test_commands_that_are_not_finite_or_too_short_become_no_goal(safety):
    arm, hand = controllers(safety)
    safety.state()
    assert safety.until(lambda: safety.status == "idle" and not safety.said_stopped)
    safety.move()
    assert safety.until(lambda: len(arm.goals) == 1)
    safety.now += T
    safety.state()
    bad = np.append(np.full(7, np.nan), 0.0)[None]
    safety.node._take_command(conversions.trajectory_message(STATES, bad, safety.now, T))
    assert safety.mode == "stopped" and "NaN" in safety.status
    for _ in range(3):
        safety.wait()
    assert safety.until(lambda: len(arm.goals) >= 2)
    sent = np.array([point.positions for goal in arm.goals for point in goal.trajectory.points])
    assert np.isfinite(sent).all() and np.abs(sent - HOME).max() < 0.01, "held where it is"
