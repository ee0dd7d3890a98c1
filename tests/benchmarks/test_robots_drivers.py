"""The fakes of real robots and what is tried with them, without a graph."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.robots.driver_fake import Arm, Gripper
from benchmarks.robots.driver_fakes import FAKES
from benchmarks.robots.robot_run import Sway, contract_for
from benchmarks.robots.robots_drivers import ROBOTS, first_failure
from vla_agent.robot.description import load_robot


def trajectory(stamp: float, names: list[str], *points: tuple[float, list[float], list[float]]) -> SimpleNamespace:
    """A JointTrajectory of (seconds from start, positions, velocities)."""
    made = [
        SimpleNamespace(positions=p, velocities=v, time_from_start=SimpleNamespace(sec=0, nanosec=int(1e9 * t)))
        for t, p, v in points
    ]
    header = SimpleNamespace(stamp=SimpleNamespace(sec=int(stamp), nanosec=int(stamp % 1 * 1e9)))
    return SimpleNamespace(header=header, joint_names=names, points=made)


def test_an_arm_follows_points_with_their_velocities_by_name():
    arm = Arm(("a", "b"), np.array([0.0, 1.0]))
    arm.take(trajectory(10, ["b", "a"], (0.5, [1.0, 0.5], [0.0, 1.0]), (0.75, [1.0, 0.6], [0.0, 0.0])), 10.0)
    assert arm.at(10.5)[0] == pytest.approx([0.5, 1.0]) and arm.at(10.5)[1] == pytest.approx([1.0, 0.0])
    assert arm.at(11)[0] == pytest.approx([0.6, 1.0]) and not arm.at(11)[1].any()
    before, after = (arm.at(10.5 + dt)[0] for dt in (-1e-4, 1e-4))
    assert (after - before) / 2e-4 == pytest.approx([1.0, 0.0], abs=1e-2), "no step of the velocity"


def test_an_arm_drops_what_its_controller_would_drop():
    arm = Arm(("a",), np.zeros(1))
    arm.take(trajectory(10, ["a"]), 10.0)
    arm.take(trajectory(10, ["x"], (0.5, [1.0], [])), 10.0)
    arm.take(trajectory(10, ["a"], (0.5, [1.0], [])), 10.6)
    assert arm.accepted == 0 and sum(arm.refused.values()) == 3 and not arm.at(11)[0].any()


@pytest.mark.parametrize("name", ROBOTS)
def test_each_fake_publishes_every_joint_and_camera_and_serves_what_the_robot_file_names(name):
    fake, robot = FAKES[name], load_robot(name)
    published = {joint for spec in fake.states if spec.topic in robot.joint_state_topics for joint in spec.names}
    assert {*robot.joint_names, robot.gripper.joint} <= published
    assert [camera.topic for camera in fake.cameras] == [camera.topic for camera in robot.cameras]
    output = robot.controller.gripper_output
    assert all(topic.startswith(output.topic) for _, _, topic in fake.gripper)
    assert robot.mismatches(contract_for(robot, fake.mode)) == []


def test_a_gripper_moves_between_its_ends_in_the_units_of_its_action():
    gripper = Gripper(load_robot("fr3"), (0.08, 0.0))
    assert gripper.position == 0.04
    gripper.move(0.0)
    gripper.step(1.0)
    assert 0 < gripper.fraction < 1
    gripper.step(2.0)
    assert gripper.position == 0.0 and gripper.goals == 1


@pytest.mark.parametrize("mode", ["ee_delta", "joint_position"])
def test_the_policy_sways_and_closes_when_it_is_told(mode):
    policy = Sway(load_robot("ur5e"), mode)
    state = np.zeros(sum(field.size for field in policy.contract.state), np.float32)
    policy.reset("sway")
    first = policy.act({"state": state})
    policy.reset("sway and close")
    state[:] = 1.0  # far to one side
    second = policy.act({"state": state})
    way = {"ee_delta": lambda chunk: chunk[0, 1], "joint_position": lambda chunk: chunk[-1, 0] - chunk[0, 0]}[mode]
    assert way(first) > 0 > way(second) and not first[:, -1].any() and second[:, -1].all()


def test_the_first_step_that_fails_is_named_and_later_ones_are_not_tried():
    tried: list[str] = []
    steps = [(name, lambda name=name: bool(tried.append(name)) or name != "b") for name in "abc"]
    assert first_failure(steps) == "b" and tried == ["a", "b"]
    assert first_failure(steps[:1]) == ""
