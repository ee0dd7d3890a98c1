"""The benchmark of the filter: its courses collide, its table counts what happened, and the chain is the robot's."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.robots.collision_courses import KINDS, make_course
from benchmarks.robots.robots_filter import Outcome, course_row, drive, fingers_alone, interval, reduction, with_filter
from vla_agent.evaluation.robot_chain import RobotChain
from vla_agent.robot.description import load_robot
from vla_agent.robot.filter.barrier_filter import BarrierFilter

PANDA = load_robot("panda")
WALL = 6_000_009  # a course through a wall of the workspace
TURN = 6_900_084  # one whose way back begins so sharply that the joints move one another


def test_a_course_collides_without_a_guard_is_stopped_by_the_stop_and_goes_on_with_the_filter():
    course = make_course(PANDA, WALL)
    bare, stop, filtered = (drive(course, guard) for guard in ("nothing", "stop", "filter"))
    assert "outside the workspace" in bare.touched
    assert not stop.touched and "look-ahead" in stop.stopped and not stop.went_on
    assert not filtered.touched and not filtered.stopped and filtered.went_on


def test_an_arm_that_turns_back_sharply_at_a_wall_stays_within():
    filtered = drive(make_course(PANDA, TURN), "filter")
    assert not filtered.touched and not filtered.stopped and filtered.went_on


def test_a_seed_is_one_course_and_the_kinds_take_turns():
    courses = [make_course(PANDA, 6_000_000 + k) for k in range(5)]
    assert [course.kind for course in courses] == list(KINDS)
    again = make_course(PANDA, 6_000_001)
    assert np.array_equal(again.way, courses[1].way) and again.robot == courses[1].robot


def test_contacts_are_compared_in_pairs():
    before, after = np.array([1.0, 1, 1, 1, 0, 0]), np.array([1.0, 0, 0, 0, 0, 0])
    assert reduction(before, after) == 75.0 and reduction(after * 0, after) is None
    low, high = interval(before, after)
    assert low < 75.0 < high <= 100.0 and interval(before * 0, before * 0) is None


@pytest.mark.parametrize(
    "touched, alone",
    [
        ((), False),
        (("contact: table and left_pad",), True),
        (("contact: table and left_pad", "contact: box and base"), False),
        (("contact: link1 and link5",), False),
        (("contact: table and left_pad", "end of joint6"), False),
        (("outside the workspace",), False),
    ],
)
def test_fingers_alone_are_contacts_without_a_guarded_body(touched, alone):
    assert fingers_alone(touched, PANDA.lookahead.guarded) is alone


def test_a_row_counts_contacts_stops_and_runs_that_went_on():
    good, bad = Outcome((), "", True, ()), Outcome(("contact",), "1: stop", False, ())
    row = course_row("all", [0, 2], {"stop": [bad, bad, bad], "filter": [good, bad, bad]})
    assert row == {"what": "courses: all", "n": 2} | {"contacts, stop": 2, "stops, stop": 2, "went on, stop": 0} | {
        "contacts, filter": 1,
        "stops, filter": 1,
        "went on, filter": 1,
    }


@pytest.mark.parametrize("enabled", [True, False])
def test_a_filter_without_a_solution_stops_the_chain(enabled, monkeypatch):
    chain, home = RobotChain(with_filter(PANDA, enabled), "joint_position"), np.array(PANDA.home)
    actions = np.tile(np.append(home + 0.1, 0.0), (3, 1))
    chain.step(actions, home, 0.0, 0.0)
    solved = BarrierFilter.apply
    monkeypatch.setattr(BarrierFilter, "apply", lambda self, before, to, arm: solved(self, before, to * np.nan, arm))
    chain.step(actions, home, 0.0, 0.0)
    assert ("NaN or infinite" in chain.stopped) is enabled
