"""Observations: each refusal alone, at the limit and just inside it; and streams of messages in any order."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from vla_agent.contract import Camera, Contract, Field
from vla_agent.errors import ObservationError
from vla_agent.robot.description import load_robot
from vla_agent.ros.runtime.observations import FROZEN_TRAVEL, Limits, ObservationBuffer

CONTRACT = Contract(
    (Camera("front", 2, 3), Camera("wrist", 1, 1)),
    (
        Field("joint_position", 2, "rad"),
        Field("ee_position", 3, "m", "base"),
        Field("ee_rotation", 6, "1", "base", rotation="matrix columns 1, 2"),
        Field("gripper", 1, "1"),
    ),
    (Field("joint_position", 2, "rad"),),
    8.0,
    4,
)
PANDA = load_robot("panda")
ROBOT = PANDA.model_copy(update={"joints": PANDA.joints[:2]})  # of two joints and the gripper
TURN = Rotation.from_rotvec([0.3, -0.7, 1.1])
TOLERANCE, MAX_AGE = 0.25, 0.5  # seconds, as are all stamps below: sums of powers of two, so that limits are exact
REST = np.zeros(2)


def forward(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y, z, w = TURN.as_quat()
    return np.array([joints[0], joints[1], 0.5]), np.array([w, x, y, z])


@pytest.fixture
def buffer() -> ObservationBuffer:
    return ObservationBuffer(ROBOT, CONTRACT, forward, Limits(TOLERANCE, MAX_AGE))


def picture(name: str, value: int) -> np.ndarray:
    camera = next(c for c in CONTRACT.cameras if c.name == name)
    return np.full((camera.height, camera.width, 3), value, np.uint8)


def feed(buffer: ObservationBuffer, stamp: float, value: int = 0, joints: np.ndarray = REST, skip: str = "") -> None:
    if skip != "joint_states":
        buffer.add_state(joints, 0.5, stamp)
    for name in CONTRACT.camera_names:
        if skip != name:
            buffer.add_image(name, picture(name, value), stamp)


def refused(buffer: ObservationBuffer, now: float) -> ObservationError:
    with pytest.raises(ObservationError) as caught:
        buffer.observe(now)
    return caught.value


def test_an_observation_is_images_and_state_of_its_oldest_part(buffer):
    buffer.add_state(np.array([1.0, 2.0]), 0.25, 1.0)
    buffer.add_image("front", picture("front", 5), 1.125)
    buffer.add_image("wrist", picture("wrist", 6), 1.0625)
    seen = buffer.observe(1.25)
    assert seen.stamp == 1.0 == buffer.newest()
    assert {n: int(i.max()) for n, i in seen.data["images"].items()} == {"front": 5, "wrist": 6}
    expected = [1, 2, 1, 2, 0.5, *TURN.as_matrix()[:, :2].T.ravel(), 0.25]
    assert seen.data["state"] == pytest.approx(expected, abs=1e-6) and seen.data["state"].dtype == np.float32
    assert buffer.state() == pytest.approx(expected, abs=1e-6)
    CONTRACT.check_observation(seen.data)


def test_the_newest_joint_state_counts(buffer):
    feed(buffer, 1.0)
    feed(buffer, 2.0, 1, joints=np.full(2, 0.25))
    assert buffer.state()[0] == 0.25 and buffer.observe(2.0 + MAX_AGE).stamp == 2.0


@pytest.mark.parametrize("skip", ["front", "wrist", "joint_states"])
def test_each_part_that_never_came_is_named(buffer, skip):
    feed(buffer, 1.0, skip=skip)
    error = refused(buffer, 1.0)
    assert error.key == skip and str(error).startswith(f"{skip}: no message received yet")
    assert buffer.newest() is None
    if skip == "joint_states":
        with pytest.raises(ObservationError, match="joint_states: no message received yet"):
            buffer.state()


@pytest.mark.parametrize("late", ["front", "wrist", "joint_states"])
def test_each_part_is_refused_by_its_own_age(late):
    buffer = ObservationBuffer(ROBOT, CONTRACT, forward, Limits(9.0, MAX_AGE))
    feed(buffer, 1.0)
    feed(buffer, 2.0, skip=late)
    assert buffer.observe(1.0 + MAX_AGE).stamp == 1.0, "at the limit"
    error = refused(buffer, 1.0 + MAX_AGE + 1e-3)
    words = "is 0.501 s old; 0.500 s" if late == "joint_states" else "has had no new image for 0.501 s; 0.500 s"
    assert error.key == late and f"{words} are allowed" in str(error)
    assert refused(buffer, 1.0 + MAX_AGE + 1e-5), "a microsecond is rounding, ten are not"


def test_the_age_of_what_is_at_the_limit_may_be_rounded(buffer):
    feed(buffer, 1.0)
    assert buffer.observe(1.0 + MAX_AGE + 5e-7).stamp == 1.0


def test_parts_may_lie_apart_by_the_tolerance_and_no_more(buffer):
    buffer.add_state(REST, 0.0, 1.0)
    buffer.add_image("wrist", picture("wrist", 0), 1.0)
    buffer.add_image("front", picture("front", 0), 1.0 + TOLERANCE)
    assert buffer.observe(1.25).stamp == 1.0
    buffer.clear()
    buffer.add_state(REST, 0.0, 1.0)
    buffer.add_image("wrist", picture("wrist", 0), 1.25)
    buffer.add_image("front", picture("front", 0), 1.0 + TOLERANCE + 0.0625)
    error = refused(buffer, 1.25)
    assert error.key == "stamps" and "{'front': 0.312, 'wrist': 0.25}, 0.250 allowed" in str(error)
    assert buffer.newest() is None
    buffer.add_state(REST, 0.0, 9.0)
    buffer.add_image("front", picture("front", 0), 9.5)
    buffer.add_image("wrist", picture("wrist", 0), 9.375)
    assert "{'front': 0.5, 'wrist': 0.375}" in str(refused(buffer, 9.5)), "of the newest"


def test_the_newest_moment_that_all_parts_share_is_taken(buffer):
    for stamp, value in ((1.0, 1), (1.375, 2), (1.75, 3)):
        feed(buffer, stamp, value, joints=np.full(2, stamp / 1000), skip="wrist" if stamp == 1.75 else "")
    buffer.add_image("wrist", picture("wrist", 4), 2.125)
    assert buffer.newest() == 1.375
    buffer = ObservationBuffer(ROBOT, CONTRACT, forward, Limits(TOLERANCE, 9.0))
    for stamp, value in ((1.0, 1), (2.0, 2), (3.0, 3)):
        feed(buffer, stamp, value, joints=np.full(2, stamp / 1000), skip="wrist" if stamp == 3.0 else "")
    seen = buffer.observe(3.0)
    assert seen.stamp == 2.0 and {int(i.max()) for i in seen.data["images"].values()} == {2}
    assert seen.data["state"][0] == pytest.approx(0.002), "the joints of that moment"


def test_a_wrong_size_is_refused_and_the_next_right_one_is_not(buffer):
    feed(buffer, 1.0)
    for shape in ((3, 3, 3), (2, 2, 3), (2, 3, 4)):
        buffer.add_image("front", np.zeros(shape, np.uint8), 1.125)
        error = refused(buffer, 1.125)
        assert error.key == "front" and f"is {shape[1]} x {shape[0]}, not 3 x 2" in str(error)
    buffer.add_image("front", picture("front", 1), 1.125)
    assert buffer.observe(1.125).data["images"]["front"].max() == 1


@pytest.mark.parametrize(("joints", "gripper"), [([0, np.nan], 0.0), ([np.inf, 0], 0.0), ([0, 0], np.nan)])
def test_each_joint_state_that_is_not_finite_is_refused(buffer, joints, gripper):
    feed(buffer, 1.0)
    buffer.add_state(np.array(joints, float), gripper, 1.125)
    error = refused(buffer, 1.125)
    assert error.key == "joint_states" and "contain NaN or infinity" in str(error)
    buffer.add_state(REST, 0.0, 1.125)
    assert buffer.observe(1.125)


@pytest.mark.parametrize("back", [0.0, 2**-20, MAX_AGE])
@pytest.mark.parametrize("source", ["front", "joint_states"])
def test_a_message_that_is_not_newer_is_left_out(buffer, source, back):
    """Some drivers repeat a stamp, and a network may change the order.  A clock that stands is noticed by its age."""
    feed(buffer, 2.0)
    send(buffer, source, 2.0 - back)
    seen = buffer.observe(2.0)
    assert seen.stamp == 2.0 and seen.data["state"][0] == 0.0 and seen.data["images"]["front"].max() == 0
    for k in range(1, 10):
        feed(buffer, 2.0 + k / 8, skip=source)
        send(buffer, source, 2.0)
    assert refused(buffer, 2.0 + MAX_AGE + 1e-3).key == source


@pytest.mark.parametrize("source", ["front", "joint_states"])
def test_a_clock_that_goes_back_is_refused(buffer, source):
    feed(buffer, 2.0)
    send(buffer, source, 2.0 - MAX_AGE - 2**-20)
    error = refused(buffer, 2.0)
    assert error.key == source and "go back in time by 0.500 s" in str(error)
    send(buffer, source, 2.0)
    assert refused(buffer, 2.0).key == source, "not newer than the last"
    assert buffer.state()[0] == 0.0
    feed(buffer, 2.0 + 2**-20)
    seen = buffer.observe(2.0 + 2**-20)
    assert seen.stamp > 2.0 and seen.data["state"][0] == 0.0 and seen.data["images"]["front"].max() == 0


def send(buffer: ObservationBuffer, source: str, stamp: float) -> None:
    """One message with other content than those of `feed`."""
    if source == "front":
        buffer.add_image("front", picture("front", 9), stamp)
    else:
        buffer.add_state(np.array([9.0, 9.0]), 0.0, stamp)


def test_an_image_of_before_does_not_make_a_moment_whole():
    buffer = ObservationBuffer(ROBOT, CONTRACT, forward, Limits(0.0625, 9.0))
    feed(buffer, 1.75, skip="front")
    feed(buffer, 2.0, skip="wrist")
    buffer.add_image("front", picture("front", 9), 1.75)
    assert buffer.newest() is None


def test_a_message_that_could_not_be_read_is_reported_until_one_can(buffer):
    feed(buffer, 1.0)
    buffer.reject("wrist", "is no picture")
    assert str(refused(buffer, 1.0)) == "wrist is no picture\n  key:      wrist"
    buffer.add_image("front", picture("front", 1), 1.125)
    assert refused(buffer, 1.125).key == "wrist", "another camera's message does not mend it"
    buffer.add_image("wrist", picture("wrist", 1), 1.125)
    assert buffer.observe(1.125)


def test_a_cause_is_told_with_what_it_explains_alone(buffer):
    buffer.explain("front", "likely cause: a dark room")
    assert str(refused(buffer, 1.0)).startswith("front: no message received yet; likely cause: a dark room")
    feed(buffer, 1.0)
    assert "s are allowed; likely cause: a dark room" in str(refused(buffer, 2.0))
    buffer.explain("front", "")
    assert str(refused(buffer, 2.0)).splitlines()[0].endswith("s are allowed")
    buffer.clear()
    assert str(refused(buffer, 2.0)).splitlines()[0] == "front: no message received yet"


def test_clearing_forgets_everything(buffer):
    feed(buffer, 5.0)
    buffer.reject("wrist", "is no picture")
    buffer.clear()
    assert refused(buffer, 5.0).key == "front"
    with pytest.raises(ObservationError):
        buffer.state()
    feed(buffer, 1.0, joints=np.full(2, 1.0))
    assert buffer.observe(1.0).stamp == 1.0, "an earlier time, and no problem of before"


# Frozen images


def move(buffer: ObservationBuffer, travels: list[float], values: list[int]) -> None:
    """A message of each source for each travel (rad of the second joint) and value of the front image."""
    for k, (travel, value) in enumerate(zip(travels, values, strict=True), 1):
        buffer.add_state(np.array([0.0, -travel]), 0.0, k / 8)
        buffer.add_image("front", picture("front", value), k / 8)
        buffer.add_image("wrist", picture("wrist", k), k / 8)


def test_an_image_may_stay_while_the_arm_moves_a_little_and_no_further(buffer):
    move(buffer, [0.0, FROZEN_TRAVEL / 2, FROZEN_TRAVEL], [7, 7, 7])
    assert buffer.observe(3 / 8)
    buffer.clear()
    move(buffer, [0.0, FROZEN_TRAVEL / 2, FROZEN_TRAVEL + 1e-6], [7, 7, 7])
    error = refused(buffer, 3 / 8)
    assert error.key == "front" and "the same image although the arm moved by 0.02 rad" in str(error)


def test_the_travel_counts_from_the_last_change_of_the_image(buffer):
    move(buffer, [0.0, 0.05, 0.06], [7, 8, 8])
    assert buffer.observe(3 / 8)
    buffer.clear()
    move(buffer, [0.0, 0.05, 0.1, 0.0], [7, 8, 8, 9])
    assert buffer.observe(4 / 8), "it has changed again"
    buffer.clear()
    move(buffer, [0.0, 0.05, 0.1], [7, 8, 8])
    assert refused(buffer, 3 / 8).key == "front"


def test_an_image_of_which_one_byte_changes_is_not_frozen(buffer):
    for k in range(1, 5):
        image = picture("front", 7)
        image[-1, -1, -1] = k
        buffer.add_state(np.full(2, k / 10), 0.0, k / 8)
        buffer.add_image("front", image, k / 8)
        buffer.add_image("wrist", picture("wrist", k), k / 8)
    assert buffer.observe(4 / 8)


def test_a_frozen_image_is_forgotten_with_all_else(buffer):
    move(buffer, [0.0, 0.5], [7, 7])
    assert refused(buffer, 2 / 8).key == "front"
    buffer.clear()
    for name in CONTRACT.camera_names:
        buffer.add_image(name, picture(name, 7), 3 / 8)
    buffer.add_state(REST, 0.0, 3 / 8)
    assert buffer.observe(3 / 8)
    for name in CONTRACT.camera_names:
        buffer.add_image(name, picture(name, 7), 4 / 8)
    assert buffer.observe(4 / 8), "and where the joints were when it last changed"


def test_the_travel_is_that_at_the_images_own_time(buffer):
    """Two images of one moment, and an arm that moves on: what has not come yet is no frozen image."""
    for k in range(1, 5):
        buffer.add_state(np.full(2, k / 10), 0.0, k / 8)
    buffer.add_image("wrist", picture("wrist", 0), 1 / 8)
    for stamp in (0.125, 0.14):
        buffer.add_image("front", picture("front", 7), stamp)
    assert buffer.observe(4 / 8).stamp == 0.125
    buffer.add_image("front", picture("front", 7), 2 / 8)
    assert refused(buffer, 4 / 8).key == "front"


def test_images_without_joint_states_are_kept_and_not_frozen(buffer):
    buffer.add_image("front", picture("front", 7), 1 / 8)
    buffer.add_image("wrist", picture("wrist", 7), 1 / 8)
    buffer.add_state(REST, 0.0, 1 / 8)
    assert buffer.observe(1 / 8)
    feed(buffer, 2 / 8, 7, np.full(2, 0.5))
    assert buffer.observe(2 / 8).stamp == 2 / 8
    feed(buffer, 3 / 8, 7, np.full(2, 0.5))
    assert buffer.observe(3 / 8)


def test_observations_are_not_changed_by_hand(buffer):
    feed(buffer, 1.0)
    with pytest.raises(FrozenInstanceError):
        buffer.observe(1.0).stamp = 2.0


# Streams

SOURCES = ("front", "wrist", "joint_states")


@settings(derandomize=True, max_examples=50, deadline=None, database=None)
@given(st.lists(st.tuples(st.sampled_from(SOURCES), st.integers(0, 12)), max_size=30), st.integers(0, 16))
def test_whatever_comes_an_observation_is_whole_fresh_and_of_one_time_or_refused(messages, now):
    """Stamps in eighths of a second, in any order; every message holds its own stamp."""
    buffer = ObservationBuffer(ROBOT, CONTRACT, forward, Limits(TOLERANCE, MAX_AGE))
    newest: dict[str, int] = {}
    wrong: dict[str, bool] = {}
    for source, eighths in messages:
        if source == "joint_states":
            buffer.add_state(np.full(2, eighths / 1000), 0.0, eighths / 8)
        else:
            buffer.add_image(source, picture(source, eighths), eighths / 8)
        if eighths > newest.get(source, -1):
            wrong[source] = False
        elif newest[source] - eighths > 8 * MAX_AGE:
            wrong[source] = True
        newest[source] = max(newest.get(source, -1), eighths)
    try:
        seen = buffer.observe(now / 8)
    except ObservationError:
        return
    assert set(newest) == set(SOURCES) and not any(wrong.values())
    assert all((now - newest[source]) / 8 <= MAX_AGE for source in SOURCES)
    parts = [int(image.max()) for image in seen.data["images"].values()] + [round(1000 * float(seen.data["state"][0]))]
    assert seen.stamp == min(parts) / 8 and (max(parts) - min(parts)) / 8 <= TOLERANCE
    CONTRACT.check_observation(seen.data)
