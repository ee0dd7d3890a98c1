"""Joint states in parts, joined by name; and values kept by time."""

from __future__ import annotations

import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_agent.errors import ObservationError
from vla_agent.robot import joint_states
from vla_agent.robot.joint_states import LIMIT, JointJoiner, JointReader
from vla_agent.robot.timeline import Timeline

ARM, GRIPPER = ["a", "b"], ["g"]


def state(positions: dict[str, float], stamp: float = 1.0, efforts: list[float] | None = None):
    whole, part = divmod(round(stamp * 1e9), 10**9)
    return SimpleNamespace(
        name=list(positions),
        position=list(positions.values()),
        velocity=[],
        effort=efforts or [],
        header=SimpleNamespace(stamp=SimpleNamespace(sec=whole, nanosec=part)),
    )


def test_joints_are_read_by_name_in_any_order_with_or_without_effort():
    reader = JointReader([*ARM, *GRIPPER])
    part = reader.read(state({"wheel": np.nan, "g": 3.0, "b": 2.0, "a": 1.0}, 1.25, [9.0, 6.0, 5.0, 4.0]))
    assert part.key == (0, 1, 2) and part.stamp == 1.25
    assert part.positions.tolist() == [1.0, 2.0, 3.0] and part.efforts.tolist() == [4.0, 5.0, 6.0]
    part = reader.read(state({"b": 2.5}))
    assert part.key == (1,) and part.positions.tolist() == [2.5] and np.isnan(part.efforts).all()


def test_messages_without_our_joints_or_without_positions_are_no_part():
    reader = JointReader(ARM)
    nothing = state({"a": 1.0, "b": 2.0})
    nothing.position = []  # velocities alone
    assert (
        reader.read(nothing) is None and reader.read(state({})) is None and reader.read(state({"wheel": 1.0})) is None
    )


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"name": ["a", "a"]}, "twice"),
        ({"position": [1.0]}, "values without names"),
        ({"position": [1.0, 2.0, 3.0]}, "values without names"),
        ({"effort": [1.0]}, "values without names"),
        ({"header": SimpleNamespace(stamp=SimpleNamespace(sec=0, nanosec=0))}, "no time"),
    ],
)
def test_a_message_that_contradicts_itself_is_refused(change, word):
    message = state({"a": 1.0, "b": 2.0})
    vars(message).update(change)
    with pytest.raises(ObservationError, match=word):
        JointReader(ARM).read(message)


def test_a_message_at_the_limit_and_one_more(monkeypatch):
    monkeypatch.setattr(joint_states, "JOINTS", 2)
    reader = JointReader(ARM)
    assert reader.read(state({"a": 1.0, "b": 2.0}))
    with pytest.raises(ObservationError, match="at most 2 joints"):
        reader.read(state({"a": 1.0, "b": 2.0, "c": 3.0}))


def test_lists_of_names_are_remembered_within_a_bound():
    reader = JointReader(ARM)
    for k in range(3 * joint_states.LAYOUTS):
        reader.read(state({"a": 1.0, f"other {k}": 2.0}))
    assert len(reader._layouts) <= joint_states.LAYOUTS


def test_parts_of_several_publishers_become_one_state():
    joiner = JointJoiner(ARM, GRIPPER)
    assert joiner.add(state({"g": 0.5}, 1.00, [7.0])) is None
    assert joiner.add(state({"a": 1.0}, 1.01)) is None
    joined = joiner.add(state({"b": 2.0}, 1.02))
    assert joined.positions.tolist() == [1.0, 2.0, 0.5] and joined.stamp == 1.01 and joined.efforts[2] == 7.0
    assert joiner.add(state({"b": 2.5}, 1.03)) is None, "the other joint is as old as before"
    assert joiner.add(state({"g": 0.6}, 1.03)) is None, "the gripper does not make the arm's state new"
    joined = joiner.add(state({"a": 1.5}, 1.04))
    assert joined.positions.tolist() == [1.5, 2.5, 0.6] and joined.stamp == 1.03


def test_a_joint_that_is_silent_for_longer_than_the_limit_is_named():
    joiner = JointJoiner(ARM, GRIPPER)
    assert joiner.missing == ""
    assert joiner.add(state({"a": 1.0, "b": 2.0}, 1.0)) is None and joiner.missing == "", "it has just begun"
    joiner.add(state({"a": 1.0, "b": 2.0}, 1.0 + LIMIT))
    assert joiner.missing == ""
    joiner.add(state({"a": 1.0, "b": 2.0}, 1.01 + LIMIT))
    assert joiner.missing == "g: no position for over 0.25 s"
    assert joiner.add(state({"g": 0.0}, 1.02 + LIMIT)) is not None and joiner.missing == ""
    assert joiner.add(state({"a": 1.0, "b": 2.0}, 1.02 + 2 * LIMIT)) is not None
    assert joiner.add(state({"a": 1.0, "b": 2.0}, 1.03 + 2 * LIMIT)) is None and joiner.missing.startswith("g:")


def test_a_clock_that_begins_again_is_followed():
    joiner = JointJoiner(ARM, GRIPPER)
    whole = {"a": 1.0, "b": 2.0, "g": 3.0}
    assert joiner.add(state(whole, 100.0)) and joiner.add(state(whole, 1.0)).stamp == 1.0 and joiner.missing == ""


# Values by time


def test_the_last_seconds_are_kept_at_any_rate():
    for hz in (20, 1000):
        kept: Timeline[int] = Timeline(0.5, 4096)
        for k in range(3 * hz):
            kept.add(k / hz, k)
        assert len(kept) == hz // 2 + 1 and kept.newest == ((3 * hz - 1) / hz, 3 * hz - 1)
        assert kept.nearest(0.0)[1] == 3 * hz - 1 - hz // 2, "the oldest that is kept"


def test_no_more_than_the_most_are_kept_and_what_is_forgotten_is_freed():
    class Big:
        pass

    kept: Timeline[Big] = Timeline(9.0, 3)
    first = Big()
    gone = weakref.ref(first)
    kept.add(0.0, first)
    del first
    for k in range(1, 4):
        assert gone() is not None
        kept.add(k * 1e-6, Big())
    assert len(kept) == 3 and gone() is None
    for k in range(4, 2000):
        kept.add(k * 1e-6, Big())
    assert len(kept) == 3 and len(kept._stamps) < 300


def test_the_nearest_in_time_is_found():
    kept: Timeline[str] = Timeline(9.0, 99)
    kept.add(1.0, "a")
    assert [kept.nearest(t)[1] for t in (0.0, 1.0, 2.0)] == ["a", "a", "a"]
    kept.add(2.0, "b")
    assert [kept.nearest(t)[1] for t in (0.0, 1.49, 1.5, 1.51, 2.0, 9.0)] == ["a", "a", "a", "b", "b", "b"]
    assert list(kept.backwards()) == [(2.0, "b"), (1.0, "a")]


@settings(derandomize=True, max_examples=60, deadline=None, database=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(0, 900), st.integers(1, 8))
def test_it_is_as_a_plain_list_would_be(steps, at, most):
    kept: Timeline[int] = Timeline(0.25, most)
    stamps = (np.cumsum(steps) / 64).tolist()
    for stamp in stamps:
        kept.add(stamp, round(64 * stamp))
    plain = [stamp for stamp in stamps if stamp >= stamps[-1] - 0.25][-most:]
    assert [stamp for stamp, _ in kept.backwards()] == plain[::-1] and len(kept) == len(plain)
    assert kept.nearest(at / 64) == min(((s, round(64 * s)) for s in plain), key=lambda pair: abs(pair[0] - at / 64))
