"""Observations from what real drivers publish: any rate, late images, joint states in parts; all kept by time."""

from __future__ import annotations

import numpy as np
import pytest

from vla_agent.contract import Camera, Contract, Field
from vla_agent.errors import ObservationError
from vla_agent.robot.description import load_robot
from vla_agent.robot.joint_states import JointPart
from vla_agent.ros.runtime.observations import MOST_IMAGES, MOST_STATES, PARTS, Limits, ObservationBuffer

STATE = (Field("joint_position", 2, "rad"), Field("gripper", 1, "1"))
CAMERAS = ("front", "wrist")
CONTRACT = Contract(tuple(Camera(name, 2, 2) for name in CAMERAS), STATE, (Field("joint_position", 2, "rad"),), 8.0, 4)
PANDA = load_robot("panda")
ROBOT = PANDA.model_copy(update={"joints": PANDA.joints[:2]})  # of two joints and the gripper
JOINTS, GRIPPER = ROBOT.joint_names, ROBOT.gripper.joint
TOLERANCE, MAX_AGE = 0.25, 0.5  # seconds, as are all stamps below: sums of powers of two, so that limits are exact
REST = np.zeros(2)


def made(tolerance: float = TOLERANCE, max_age: float = MAX_AGE, **more: float) -> ObservationBuffer:
    def forward(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0])

    return ObservationBuffer(ROBOT, CONTRACT, forward, Limits(tolerance, max_age, **more))


@pytest.fixture
def buffer() -> ObservationBuffer:
    return made()


def picture(value: int) -> np.ndarray:
    return np.full((2, 2, 3), value, np.uint8)


def show(buffer: ObservationBuffer, stamp: float, skip: str = "", arrived: float | None = None) -> None:
    """An image of each camera."""
    for name in CAMERAS:
        if name != skip:
            buffer.add_image(name, picture(round(64 * stamp) % 250), stamp, arrived)


def feed(buffer: ObservationBuffer, stamp: float, skip: str = "") -> None:
    buffer.add_state(REST, 0.5, stamp)
    show(buffer, stamp, skip)


def part(stamp: float, **positions: float) -> JointPart:
    """Of the joints ``one`` and ``two`` and the gripper ``grip``, rad."""
    places = [("one", "two", "grip").index(name) for name in positions]
    values = np.array(list(positions.values()))
    return JointPart(tuple(places), np.array(places), values, np.full(len(places), np.nan), stamp)


def refused(buffer: ObservationBuffer, now: float) -> ObservationError:
    with pytest.raises(ObservationError) as caught:
        buffer.observe(now)
    return caught.value


def test_messages_are_kept_by_time_at_any_rate():
    """An image that comes late finds the joints of its time: of the last second, however many came since."""
    buffer = made(1 / 1024, max_delay=0.25)
    for k in range(1025):
        buffer.add_state(np.full(2, k / 8192), 0.0, 1.0 + k / 1024)
    show(buffer, 1.75, arrived=2.0)
    seen = buffer.observe(2.0)
    assert seen.stamp == 1.75 and seen.data["state"][0] == np.float32(768 / 8192)
    for count, found in ((1025, 1.0), (1027, None)):
        buffer.clear()
        for k in range(count):
            buffer.add_state(REST, 0.0, 1.0 + k / 1024)
        show(buffer, 1.0)
        assert buffer.newest() == found, "the horizon is max_age, max_delay and the gripper's time"


def test_memory_is_bounded_whatever_the_stamps(buffer):
    for k in range(5000):
        buffer.add_state(REST, 0.0, 1.0 + k * 1e-6)
        if k < 100:
            buffer.add_image("front", picture(k % 250), 1.0 + k * 1e-6)
    assert len(buffer._images["front"]) == MOST_IMAGES and len(buffer._parts[0, 1, 2]) == MOST_STATES
    buffer._names, buffer._newest = [f"j{k}" for k in range(20)], np.full(20, -np.inf)
    for k in range(20):
        buffer.add_part(JointPart((k,), np.array([k]), np.zeros(1), np.zeros(1), 2.0))
    assert len(buffer._parts) == PARTS


# Delay of the images


def test_images_may_come_late_by_the_largest_delay_and_no_more(buffer):
    delay = Limits(TOLERANCE, MAX_AGE).max_delay
    feed(buffer, 1.0)
    buffer.add_image("front", picture(9), 1.125, arrived=1.125 + delay + 1e-7)
    assert buffer.observe(1.0 + MAX_AGE).data["images"]["front"].max() == 9, "rounding is no delay"
    buffer.add_image("front", picture(8), 1.25, arrived=1.25 + delay + 1e-3)
    assert buffer.observe(1.0 + MAX_AGE).data["images"]["front"].max() == 9, "it is left out"
    feed(buffer, 2.0, skip="front")
    error = refused(buffer, 2.0)
    assert error.key == "front" and "come 0.201 s after their stamps; 0.200 s are allowed" in str(error)
    buffer.add_image("front", picture(7), 2.0)
    assert buffer.observe(2.0)


def test_a_camera_is_silent_by_the_arrival_of_its_images():
    """A delay does not make it older: that is known.  A camera that stops is noticed as soon as one without delay."""
    buffer = made(max_age=0.125)
    for k in range(8, 17):
        buffer.add_state(REST, 0.0, k / 8)
    show(buffer, 1.75, arrived=1.9375)
    assert buffer.observe(2.0 + 0.0625).stamp == 1.75
    buffer.add_state(REST, 0.0, 2.125)
    assert "front has had no new image for 0.126 s; 0.125 s" in str(refused(buffer, 1.9375 + 0.126))


def test_a_stamp_ahead_of_the_clock_is_no_negative_delay(buffer):
    feed(buffer, 1.0)
    show(buffer, 1.125, arrived=1.0)
    assert buffer.observe(1.125 + MAX_AGE - 0.125)


# Joint states in parts


def test_parts_are_joined_by_joint_and_each_is_that_of_the_images_time(buffer):
    half = (ROBOT.gripper.open + ROBOT.gripper.closed) / 2
    for k in range(8, 17):
        buffer.add_part(part(k / 8, two=k / 100))
        buffer.add_part(part(k / 8 + 1 / 32, one=-k / 100))
    buffer.add_part(part(1.375, grip=half))
    show(buffer, 1.5)
    seen = buffer.observe(1.75)
    assert seen.data["state"][:2] == pytest.approx([-0.12, 0.12]) and seen.data["state"][-1] == 0.5
    assert seen.stamp == 1.5 and buffer.state()[:2] == pytest.approx([-0.16, 0.16])


def test_the_stamp_is_that_of_the_arms_oldest_joint_not_of_the_gripper(buffer):
    for stamp in (1.0, 1.25):
        buffer.add_part(part(stamp, one=0.0))
    buffer.add_part(part(1.125, two=0.0))
    buffer.add_part(part(1.0625, grip=0.0))
    show(buffer, 1.25)
    assert buffer.observe(1.25).stamp == 1.125


def test_a_joint_that_never_came_is_named(buffer):
    show(buffer, 1.0)
    assert "joint_states: no message received yet" in str(refused(buffer, 1.0))
    buffer.add_part(part(1.0, one=0.0))
    names = f"{JOINTS[1]}, {GRIPPER}"
    assert f"joint_states of {names}: no message received yet" in str(refused(buffer, 1.0))
    with pytest.raises(ObservationError, match=names):
        buffer.state()
    buffer.add_part(part(1.0, two=0.0, grip=0.0))
    show(buffer, 1.0625)
    assert buffer.observe(1.0625)


def test_a_joint_of_the_arm_that_becomes_silent_is_named_at_the_largest_age():
    buffer = made(tolerance=9.0)
    for k in range(8, 14):
        buffer.add_part(part(k / 8, one=0.0, grip=0.0))
        if k < 9:
            buffer.add_part(part(k / 8, two=0.0))
        show(buffer, k / 8)
    assert buffer.observe(1.0 + MAX_AGE)
    error = refused(buffer, 1.0 + MAX_AGE + 1e-3)
    assert f"joint_states of {JOINTS[1]} is 0.501 s old; 0.500 s are allowed" in str(error)


def test_a_gripper_may_be_slower_than_the_arm_by_its_limit_and_no_more():
    buffer = made(1 / 64, 1 / 8)
    buffer.add_part(part(1.0, grip=0.0))
    for k in range(64, 96):
        buffer.add_part(part(k / 64, one=0.0, two=0.0))
        show(buffer, k / 64)
        if k / 64 - 1.0 <= 0.25:
            assert buffer.observe(k / 64).stamp == k / 64
    error = refused(buffer, 95 / 64)
    assert f"{GRIPPER} is 0.484 s old; 0.250 s are allowed" in str(error)
    buffer.add_part(part(95 / 64, grip=0.0))
    assert buffer.observe(95 / 64)


def test_the_gripper_of_another_time_is_not_shown_with_an_image():
    buffer = made(1 / 64, 1.0, gripper=0.25)
    buffer.add_part(part(1.0, grip=0.0))
    buffer.add_part(part(2.0, grip=0.0))
    for k in range(64, 129):
        buffer.add_part(part(k / 64, one=0.0, two=0.0))
    for stamp, found in ((1.25, 1.25), (1.5, 1.25), (1.75, 1.75)):
        show(buffer, stamp)
        assert buffer.newest() == found


def test_each_part_has_its_own_clock_and_its_own_problems(buffer):
    buffer.add_part(part(1.0, one=0.0, two=0.0))
    buffer.add_part(part(0.875, grip=0.0))
    show(buffer, 1.0)
    assert buffer.observe(1.0)
    buffer.add_part(part(0.25, grip=0.5))
    buffer.add_part(part(1.125, one=0.0, two=0.0))
    assert f"joint_states of {GRIPPER} go back in time by 0.625 s" in str(refused(buffer, 1.125))
    buffer.add_part(part(1.0, grip=0.0))
    assert buffer.observe(1.125)
    buffer.add_part(part(1.25, grip=np.nan))
    buffer.add_part(part(1.25, one=0.0, two=0.0))
    assert f"joint_states of {GRIPPER} contain NaN" in str(refused(buffer, 1.25))
    buffer.add_part(part(1.3125, grip=0.0))
    assert buffer.observe(1.25)
    buffer.add_part(part(0.5, one=0.0, two=0.0, grip=0.0))
    assert buffer.observe(1.25).stamp == 1.0, "of another publisher: it is old, and not the nearest"


def test_a_message_that_cannot_be_read_is_forgiven_with_the_next_part(buffer):
    feed(buffer, 1.0)
    buffer.reject("joint_states", "cannot be read")
    assert refused(buffer, 1.0).key == "joint_states"
    buffer.add_part(part(1.125, grip=0.0))
    assert buffer.observe(1.125)


def test_of_two_parts_with_the_same_joint_the_nearer_counts(buffer):
    buffer.add_state(np.array([0.1, 0.2]), 0.0, 1.0)
    buffer.add_part(part(1.125, one=0.3))
    show(buffer, 1.125)
    assert buffer.observe(1.125).data["state"][:2] == pytest.approx([0.3, 0.2])
    buffer.clear()
    buffer.add_part(part(1.0, one=0.3))
    buffer.add_state(np.array([0.1, 0.2]), 0.0, 1.125)
    show(buffer, 1.0)
    assert buffer.observe(1.125).data["state"][:2] == pytest.approx([0.3, 0.2])


def test_the_joints_are_those_of_the_middle_of_the_images():
    buffer = made(max_age=1.0)
    for k in range(8):
        buffer.add_state(np.full(2, k / 100), 0.0, 1.0 + k / 16)
    buffer.add_image("front", picture(1), 1.25)
    buffer.add_image("wrist", picture(1), 1.125)
    assert buffer.observe(1.5).data["state"][0] == pytest.approx(0.03)
