"""The shaper of limits: its exact law, motions that are known to go on, and every limit kept."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.robot.planar_robot import joint, write_planar_robot
from vla_agent.robot.control.limit_shaper import LimitShaper
from vla_agent.robot.description import Robot

QUICK = settings(derandomize=True, max_examples=50, deadline=None, database=None)


@pytest.fixture(scope="module")
def planar(tmp_path_factory) -> Robot:
    return write_planar_robot(tmp_path_factory.mktemp("planar"))


def steps(shaper: LimitShaper, target: list[float], count: int) -> np.ndarray:
    return np.array([shaper.step(np.array(target)) for _ in range(count)])


def test_the_stream_starts_at_the_robots_home(planar):
    assert LimitShaper(planar).position.tolist() == [0.1, 0.2, 0.05]


def test_jerk_then_acceleration_then_velocity_limit_a_start(planar):
    shaper = LimitShaper(planar)
    shaper.rest(np.zeros(3))
    positions = steps(shaper, [1.9, 1.9, 0.0], 5)
    # joint a: acceleration 2 (jerk 20 over 0.1 s), 4, 4, then at 1 rad/s
    assert positions[:, 0] == pytest.approx([0.02, 0.08, 0.18, 0.28, 0.38])
    # joint b: 0.5 rad/s at most
    assert positions[:, 1] == pytest.approx([0.02, 0.07, 0.12, 0.17, 0.22])
    assert (positions[:, 2] == 0).all()


def test_without_a_jerk_limit_a_joint_stops_at_its_target_after_eight_periods(planar):
    shaper = LimitShaper(planar)
    shaper.rest(np.array([0.0, 0.0, -0.2]))
    positions = steps(shaper, [0.0, 0.0, 0.28], 14)[:, 2]
    speeds = np.diff(np.concatenate([[-0.2], positions])) / 0.1
    assert speeds[:4] == pytest.approx([0.4, 0.8, 1.0, 1.0]) and np.abs(np.diff(speeds)).max() <= 0.4 + 1e-9 + 0.05
    assert positions.max() <= 0.28 + 1e-9
    assert np.abs(positions[7:] - 0.28).max() < 1e-9


def test_the_speed_near_a_target_is_that_from_which_it_can_stop(planar):
    """The time-discrete square-root law: the way v dt + (v - a dt) dt + ... down to rest is the distance."""
    shaper = LimitShaper(planar)
    for distance in (0.04, 0.12, 0.24):  # 1, 2 and 3 steps of deceleration: a dt^2 = 0.04 m
        shaper.rest(np.zeros(3))
        n = {0.04: 1, 0.12: 2, 0.24: 3}[distance]
        shaper.velocity = np.array([0.0, 0.0, 0.4 * n])
        assert shaper.step(np.array([0.0, 0.0, distance]))[2] == pytest.approx(min(0.04 * n, 0.1))


def test_targets_beyond_a_joints_end_are_clipped(planar):
    joints = tuple(joint(n, position=p) for n, p in (("a", (-2.0, 2.0)), ("b", (-1.0, 1.5)), ("c", (-0.2, 0.3))))
    sudden = tuple(j.model_copy(update={"jerk": 1e9}) for j in joints)
    shaper = LimitShaper(planar.model_copy(update={"joints": sudden}))
    assert steps(shaper, [9.0, -9.0, 9.0], 80)[-1] == pytest.approx([2.0, -1.0, 0.3], abs=1e-3)
    assert steps(shaper, [-9.0, 9.0, -9.0], 80)[-1] == pytest.approx([-2.0, 1.5, -0.2], abs=1e-3)


def test_rest_ends_all_motion_and_states_are_copies(planar):
    shaper = LimitShaper(planar)
    steps(shaper, [1.0, 1.0, 0.2], 4)
    state = shaper.get_state()
    after = steps(shaper, [1.0, 1.0, 0.2], 3)
    assert any((old != new).any() for old, new in zip(state, shaper.get_state(), strict=True)), "they do not follow"
    shaper.set_state(state)
    assert np.array_equal(steps(shaper, [1.0, 1.0, 0.2], 3), after)
    shaper.set_state(state)
    again = shaper.get_state()
    assert all(np.array_equal(a, b) for a, b in zip(state, again, strict=True))
    where = np.array([0.5, 0.5, 0.0])
    shaper.rest(where)
    assert np.array_equal(shaper.step(where), where) and not shaper.velocity.any() and not shaper.acceleration.any()
    where[:] = 9.0
    assert shaper.position.max() < 1


def without_jerk_limits(planar) -> LimitShaper:
    return LimitShaper(
        planar.model_copy(update={"joints": tuple(j.model_copy(update={"jerk": 1e9}) for j in planar.joints)})
    )


def test_a_motion_that_is_known_to_go_on_is_followed_without_delay(planar):
    way = np.outer(np.cumsum([0.03, 0.06, *[0.09] * 12]), [1.0, 0.0, 0.0])
    behind = {}
    for known in (True, False):
        shaper = without_jerk_limits(planar)
        shaper.rest(np.zeros(3))
        followed = [shaper.step(at, after if known else None) for at, after in itertools.pairwise(way)]
        behind[known] = np.abs(np.array(followed) - way[:-1]).max()
    assert behind[True] == pytest.approx(0, abs=1e-9)
    assert behind[False] > 0.05, "each target is braked at"


@QUICK
@given(st.lists(st.floats(0.0, 0.1), min_size=1, max_size=20))
def test_a_motion_whose_end_is_known_one_period_before_does_not_pass_it(planar, moves):
    shaper = without_jerk_limits(planar)
    shaper.rest(np.full(3, -0.2))
    way = np.minimum(np.cumsum([-0.2, *moves, *[0.0] * 12]), 0.3)
    heights = [shaper.step(np.full(3, at), np.full(3, after))[2] for at, after in itertools.pairwise(way)]
    assert max(heights) <= way[-1] + 1e-9
    assert heights[-1] == pytest.approx(way[-1], abs=1e-6)


@QUICK
@given(st.lists(st.floats(-0.1, 0.1), min_size=2, max_size=20), st.integers(1, 18))
def test_where_the_plan_is_replaced_by_rest_the_joint_brakes_and_comes_back(planar, moves, kept):
    shaper = without_jerk_limits(planar)
    shaper.rest(np.zeros(3))
    way = list(itertools.pairwise(np.clip(np.cumsum([0.0, *moves]), -0.2, 0.3)))[:kept]
    heights = [shaper.step(np.full(3, at), np.full(3, after))[2] for at, after in way]
    at, after = way[-1]
    low, high = min(at, after, heights[-1]), max(at, after, heights[-1])
    speed = abs(shaper.velocity[2])
    braking = speed * speed / (2 * 4.0) + speed * 0.1
    rests = [shaper.step(np.full(3, at))[2] for _ in range(20)]
    assert low - braking - 1e-9 <= min(rests) and max(rests) <= high + braking + 1e-9
    assert rests[-1] == pytest.approx(at, abs=1e-6)


@QUICK
@given(
    st.lists(st.tuples(*[st.floats(-3, 3)] * 3, st.booleans()), min_size=1, max_size=6),
    st.floats(-0.3, 0.3),
    st.integers(1, 12),
)
def test_whatever_is_asked_for_every_limit_is_kept(planar, targets, rate, periods):
    shaper = LimitShaper(planar)
    states = [shaper.get_state()]
    for *target, known in targets:
        for _ in range(periods):
            shaper.step(np.array(target), np.array(target) + rate if known else None)
            states.append(shaper.get_state())
    position, velocity, acceleration = (np.array(part) for part in zip(*states, strict=True))
    assert (position >= planar.low - 1e-12).all() and (position <= planar.high + 1e-12).all()
    assert (np.abs(velocity) <= planar.limits("velocity") + 1e-12).all()
    assert (np.abs(acceleration) <= planar.limits("acceleration") + 1e-12).all()
    assert (np.abs(np.diff(acceleration, axis=0)) <= planar.limits("jerk") * 0.1 + 1e-9).all()
    moved = np.diff(position, axis=0)
    ends = (position[1:] == planar.low) | (position[1:] == planar.high)
    assert np.allclose(np.where(ends, 0, moved - velocity[1:] * 0.1), 0, atol=1e-12)
