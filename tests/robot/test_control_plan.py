"""What is sent after a target: its plan and the fastest stop, checked point by point; velocities at the points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_agent.robot.control.limit_shaper import LimitShaper
from vla_agent.robot.control.point_velocities import point_velocities
from vla_agent.robot.description import load_robot
from vla_agent.robot.safety.command_gate import CommandGate
from vla_agent.robot.safety.stream_limits import StreamLimits
from vla_agent.robot.safety.supervisor import Command, Supervisor

PANDA = load_robot("panda")
HOME, T = np.array(PANDA.home), PANDA.period
THERE = HOME + [0.9, 0.0, 0.0, 0.0, 0.0, 0.0, 0.9]


@pytest.fixture(scope="module")
def supervisor() -> Supervisor:
    return Supervisor(PANDA)


def begun(supervisor: Supervisor) -> Supervisor:
    """Ready at home, at second 0, after whatever it did before."""
    supervisor.__post_init__()
    supervisor.on_joint_state(HOME, 0.0, 0.0, 0.0, effort=0.0)
    return supervisor


def shaped(steps: int, target: np.ndarray = THERE) -> np.ndarray:
    """(steps, 7): from rest at home as fast as the limits allow; the first row rests."""
    shaper = LimitShaper(PANDA)
    return np.array([HOME, *(shaper.step(target) for _ in range(steps - 1))])


def send(supervisor: Supervisor, rows: np.ndarray, k: int = 0):
    """Command ``rows[k]`` with the rest as its plan, at its own time."""
    now = k * T
    supervisor.on_joint_state(rows[k], 0.0, now, now, effort=0.0)
    return supervisor.command(Command(rows[k], 0.5, now, rows[k + 1 :]), 0.0, now)


def test_a_target_has_its_plan_and_then_the_fastest_stop(supervisor):
    rows = shaped(8)
    target = send(begun(supervisor), rows)
    assert np.array_equal(target.joints, rows[0]) and np.array_equal(target.plan[:7], rows[1:])
    assert np.array_equal(target.path, np.vstack([target.joints, target.plan]))
    limits = StreamLimits(PANDA)
    limits.rest(rows[0])
    for row in rows[1:]:
        limits.accept(row)
    stop = limits.stop_to_rest()
    assert len(stop) >= 2 and np.allclose(target.plan[7 : 7 + len(stop)], stop)
    assert (target.plan[7 + len(stop) :] == target.plan[-1]).all(), "at rest up to the horizon"


def test_every_point_that_is_sent_was_looked_at(supervisor, monkeypatch):
    looked = []
    begun(supervisor)
    monkeypatch.setattr(supervisor._lookahead, "path", lambda start, path: looked.append(path))
    rows = shaped(14)
    for k in range(4):
        target = send(supervisor, rows, k)
        assert np.array_equal(target.path, looked[-1])
        assert np.array_equal(target.plan[-1], target.plan[-2]), "the last point rests"


@pytest.mark.parametrize("row", [1, 3])
def test_a_plan_that_breaks_a_limit_stops_before_it_is_sent(supervisor, row):
    rows = shaped(8, HOME + 0.01)
    rows[row:, 3] += 0.15
    assert send(begun(supervisor), rows).rests
    assert supervisor.mode == "stopped" and "in the plan" in supervisor.reason and "joint4" in supervisor.reason


def test_a_plan_out_of_a_joints_range_is_refused(supervisor):
    rows = np.tile(HOME, (4, 1))
    rows[2, 6] = 3.0
    assert send(begun(supervisor), rows).rests and "position 3.000 outside" in supervisor.reason


def test_a_brake_has_the_rest_of_the_stop_as_its_plan(supervisor):
    rows = shaped(8)
    begun(supervisor)
    for k in range(5):
        send(supervisor, rows, k)
    target = supervisor.stop("asked", "test", 5 * T)
    following = []
    for k in range(1, 40):
        if (step := supervisor.tick(5 * T + k * T, k * T)) is not None:
            following.append(step.joints)
        if supervisor.braking_steps == 0:
            break
    assert len(following) >= 2 and np.allclose(target.plan[: len(following)], following)
    assert np.allclose(target.plan[len(following) - 1 :], following[-1]), "and then it rests"


def test_a_resting_arm_with_a_plan_gets_a_hold_when_its_permission_is_withdrawn(supervisor):
    """Its controller would carry the plan out: nothing else passes a closed gate after it."""
    sent, rows = [], shaped(8)
    gate = CommandGate(begun(supervisor), sent.append, "")
    gate.command(Command(rows[0], 0.5, 0.0, rows[1:]), 0.0, 0.0)
    assert sent[-1].rests and (sent[-1].path != rows[0]).any(), "at rest, and about to move"
    gate.withdraw("revoked", T)
    assert len(sent) == 2 and (sent[-1].path == sent[-1].joints).all(), "the plan is replaced"
    for k in range(2, 8):
        gate.on_joint_state(HOME, 0.0, k * T, k * T, effort=0.0)
        gate.tick(k * T, k * T)
        gate.stop("asked", "again", k * T)
    assert len(sent) == 2, "and nothing more is sent"


def test_before_it_is_permitted_a_gate_asks_for_nothing(supervisor):
    asked = []
    gate = CommandGate(begun(supervisor), lambda target: None, "not certified", lambda: asked.append(1))
    gate.tick(0.0, 0.0)
    assert not asked
    gate.permit()
    gate.tick(T, T)
    assert asked == [1]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=6), st.floats(0.2, 2.0))
def test_a_path_is_checked_as_its_targets_one_by_one(steps, scale):
    path = HOME + np.cumsum(np.outer(np.array(steps) * scale, PANDA.limits("acceleration") * T * T), axis=0)
    limits, alone = StreamLimits(PANDA), None
    for row in path:
        alone = alone or limits.check(row)
        limits.accept(row)
    assert (StreamLimits(PANDA).check_path(path) is None) == (alone is None)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-0.1, 0.1), min_size=2, max_size=12))
def test_a_spline_through_the_points_stays_between_its_neighbours_and_ends_at_rest(steps):
    path = np.cumsum(steps)[:, None]
    velocities = point_velocities(np.zeros(1), path, T)
    assert velocities[-1] == 0
    points, speeds = np.vstack([[[0.0]], path])[:, 0], np.concatenate([[0.0], velocities[:, 0]])
    s = np.linspace(0, 1, 21)
    for a, b, m, n in zip(points, points[1:], speeds, speeds[1:], strict=False):
        curve = (
            (1 + 2 * s) * (1 - s) ** 2 * a
            + s * (1 - s) ** 2 * T * m
            + s * s * (3 - 2 * s) * b
            - s * s * (1 - s) * T * n
        )
        assert min(a, b) - 1e-9 <= curve.min() and curve.max() <= max(a, b) + 1e-9


def test_in_even_motion_the_velocity_is_that_of_the_motion():
    path = HOME + np.outer(np.arange(1, 6), np.full(7, 0.01))
    velocities = point_velocities(HOME, path, T)
    assert np.allclose(velocities[:-1], 0.2) and not velocities[-1].any()


def test_velocities_at_the_points_are_within_the_limits():
    rows = shaped(30)
    assert (np.abs(point_velocities(HOME, rows, T)) <= PANDA.limits("velocity") * (1 + 1e-9)).all()
