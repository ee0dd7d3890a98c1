"""A robot that is held is not pulled back to where it was: by hand it can be moved, and a new stream begins there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_agent.robot.control.arm_controller import ArmController
from vla_agent.robot.description import load_robot
from vla_agent.robot.safety.hold import DISPLACED, OPENED, SAG, SETTLE, SURE, Hold
from vla_agent.robot.safety.stream_limits import StreamLimits
from vla_agent.robot.safety.supervisor import IDLE, RUNNING, STOPPED, Command, Supervisor

ROBOT = load_robot("panda")
HOME = np.array(ROBOT.home)
T = ROBOT.period
FIRST = np.eye(7)[0]  # of the joints
NOTHING = np.empty((0, 7))


def held(velocity: np.ndarray = HOME * 0, error: float = 0.0) -> tuple[Hold, StreamLimits]:
    """An arm that was commanded to be at home with a velocity (J,), ``error`` rad ahead of where it is."""
    limits = StreamLimits(ROBOT)
    limits.rest(HOME)
    limits.velocity = velocity
    hold = Hold(limits, T)
    hold.begin(HOME - error, 0.0, 0.0)
    return hold, limits


@pytest.mark.parametrize("sign", [1, -1])
def test_a_resting_arm_is_held_until_it_is_moved_by_more_than_the_tolerance(sign):
    hold, _ = held()
    hold.on_joint_state(HOME + sign * 0.99 * DISPLACED * FIRST, 0.0, 0.1)
    assert np.array_equal(hold.target(True).joints, HOME)
    moved = HOME + sign * 1.01 * DISPLACED * FIRST
    hold.on_joint_state(moved, 0.0, 0.2)
    target = hold.target(True)
    assert np.array_equal(target.joints, moved) and target.rests


@settings(derandomize=True, max_examples=50, deadline=None)
@given(st.lists(st.floats(-0.3, 0.3), min_size=7, max_size=7), st.integers(1, 10))
def test_wherever_the_arm_is_moved_the_target_is_not_farther_than_the_tolerance(shift, states):
    hold, _ = held()
    for k in range(1, 1 + states):
        where = HOME + np.array(shift) * k / states
        hold.on_joint_state(where, 0.0, k * T)
        target = hold.target(True)
        assert target.rests and np.abs(target.joints - where).max() <= DISPLACED + 1e-12


def test_an_arm_that_still_comes_to_its_target_is_not_moved_and_one_that_leaves_it_is():
    """It was 0.1 rad behind, at 1 rad/s."""
    speed = 1.0 * FIRST
    hold, limits = held(velocity=speed, error=0.1 * FIRST)
    hold.on_joint_state(HOME - 0.1 * FIRST - (2 * T + 0.99 * DISPLACED) * FIRST, 0.0, 0.0)
    assert np.array_equal(limits.position, HOME)
    hold.on_joint_state(HOME - 0.05 * FIRST, 0.0, 0.0)  # it came closer ...
    hold.on_joint_state(HOME - 0.05 * FIRST - (2 * T + 0.99 * DISPLACED) * FIRST, 0.0, 0.0)
    assert np.array_equal(limits.position, HOME)
    back = HOME - 0.05 * FIRST - (2 * T + 1.01 * DISPLACED) * FIRST
    hold.on_joint_state(back, 0.0, 0.0)  # ... and goes away again
    assert np.array_equal(limits.position, back) and not limits.velocity.any()


def test_an_arm_that_hangs_lower_than_its_target_keeps_that_error_where_it_is_moved():
    """Without it the arm would sink a little with every target."""
    hold, limits = held(error=0.015)
    late = SETTLE + T
    hold.on_joint_state(HOME - 0.015, 0.0, late)
    assert np.array_equal(limits.position, HOME)
    hold.on_joint_state(HOME - 0.015 + 0.2 * FIRST, 0.0, late + T)
    assert limits.position == pytest.approx(HOME + 0.2 * FIRST)
    hold, limits = held(error=0.05)
    hold.on_joint_state(HOME - 0.05, 0.0, late)
    hold.on_joint_state(HOME - 0.05 - 0.2 * FIRST, 0.0, late + T)
    assert limits.position == pytest.approx(HOME - 0.05 - 0.2 * FIRST + DISPLACED), "at most the tolerance"


def test_an_arm_that_does_not_come_is_not_pulled_for_ever():
    hold, limits = held(error=0.3 * FIRST)
    stuck = HOME - 0.3 * FIRST
    hold.on_joint_state(stuck, 0.0, SETTLE - 1e-6)
    assert np.array_equal(limits.position, HOME)
    hold.on_joint_state(stuck, 0.0, SETTLE)
    assert limits.position == pytest.approx(stuck + SAG * FIRST)
    hold.on_joint_state(stuck - 1.01 * DISPLACED * FIRST, 0.0, SETTLE + T)
    assert limits.position == pytest.approx(stuck - 0.01 * DISPLACED * FIRST)


def test_the_time_to_settle_begins_when_the_arm_has_braked():
    hold, limits = held(velocity=1.5 * FIRST, error=0.3 * FIRST)
    assert limits.braking_time == pytest.approx(2 * T) and limits.braking_steps == 3
    hold.on_joint_state(HOME - 0.3 * FIRST, 0.0, SETTLE + 1.9 * T)
    assert np.array_equal(limits.position, HOME)
    hold.on_joint_state(HOME - 0.3 * FIRST, 0.0, SETTLE + 2.1 * T)
    assert not np.array_equal(limits.position, HOME)


def test_without_joint_states_the_arm_brakes_rests_a_few_times_and_is_not_commanded_any_more():
    hold, _ = held(velocity=1.6 * FIRST)
    targets = [hold.target(False) for _ in range(10)]
    sent = [target for target in targets if target is not None]
    assert targets[len(sent) :] == [None] * (10 - len(sent))
    assert [target.rests for target in sent] == [False, False] + [True] * SURE
    assert hold.target(True) is not None, "they come again"


def test_joint_states_that_are_not_to_be_believed_are_not_followed():
    hold, limits = held()
    hold.lose()
    hold.on_joint_state(HOME + 0.2, 1.0, 0.1)
    assert np.array_equal(limits.position, HOME)
    assert [hold.target(True) is not None for _ in range(SURE + 2)] == [True] * SURE + [False] * 2
    hold.begin(HOME, 0.0, 0.2)
    assert hold.target(True) is not None


def test_an_arm_that_was_moved_beyond_its_limits_is_not_commanded():
    hold, _ = held()
    beyond = np.where(FIRST > 0, ROBOT.high + 0.001, HOME)
    hold.on_joint_state(beyond, 0.0, 0.1)
    assert hold.target(True) is None
    hold.on_joint_state(np.where(FIRST > 0, ROBOT.high - 0.03, HOME), 0.0, 0.2)
    assert hold.target(True) is not None


@pytest.mark.parametrize("target, blocked", [(1.0, 0.5), (0.0, 0.3)])
def test_the_gripper_holds_what_it_grasps_until_its_fingers_are_moved(target, blocked):
    """It was on its way when the hold began; an object keeps it from its target, and then a hand moves it away."""
    hold, _ = held()
    hold.gripper, away = target, np.sign(blocked - target) * OPENED
    hold.begin(HOME, blocked + 2 * away, 0.0)
    hold.on_joint_state(HOME, blocked, 0.1)
    hold.on_joint_state(HOME, blocked + 0.99 * away, 0.2)
    assert hold.target(True).gripper == target
    hold.on_joint_state(HOME, blocked + 1.01 * away, 0.3)
    assert hold.target(True).gripper == pytest.approx(blocked + 1.01 * away)
    hold.on_joint_state(HOME, blocked + 1.9 * away, 0.4)
    assert hold.target(True).gripper == pytest.approx(blocked + 1.01 * away), "from there it may move as far again"
    hold.on_joint_state(HOME, -0.5, 0.5)
    assert hold.target(True).gripper == 0.0, "never beyond its ends"


class Arm:
    """A supervisor, the controller that leads it, and an arm that follows at once, or is led by a hand."""

    def __init__(self) -> None:
        self.supervisor = Supervisor(ROBOT)
        self.controller = ArmController(ROBOT, "joint_position")
        self.k, self.joints = 0, HOME.copy()
        self.sent: list[np.ndarray] = []

    def period(self, joints: np.ndarray | None = None, goal: np.ndarray | None = None) -> None:
        """One control period: the arm is led to ``joints``, or commanded towards ``goal``."""
        self.k += 1
        now = self.k * T
        self.joints = self.joints if joints is None else joints
        targets = [self.supervisor.on_joint_state(self.joints, 0.0, now, now, 0.0)]
        if goal is not None:
            if self.supervisor.mode != RUNNING:
                self.controller.rest(self.joints, 0.0)
            rows = self.controller.command(np.append(goal, 0.0), self.joints)
            targets.append(self.supervisor.command(Command(rows, 0.0, now, NOTHING), 0.0, now))
        targets.append(self.supervisor.tick(now, now))
        for target in targets:
            if target is not None:
                self.sent.append(target.joints)
                self.joints = target.joints if joints is None else joints


@settings(derandomize=True, max_examples=25, deadline=None)
@given(st.floats(-0.3, 0.3), st.floats(-0.3, 0), st.floats(-0.3, 0.3), st.integers(2, 12))
def test_after_a_stop_the_stream_begins_where_the_arm_was_led(turn, lift, roll, periods):
    """And while it is led, no target is farther from it than the tolerance."""
    shift = np.array([turn, lift, 0, 0, 0, 0, roll])
    arm, goal = Arm(), HOME + 0.1 * FIRST
    for _ in range(8):
        arm.period(goal=goal)
    arm.supervisor.stop("e-stop", "a test", arm.k * T)
    for _ in range(12):
        arm.period()
    began, arm.sent = arm.joints, []
    for k in range(1, 1 + periods):
        arm.period(joints=began + shift * k / periods)
        assert all(np.abs(target - arm.joints).max() <= DISPLACED + 1e-9 for target in arm.sent[-1:])
    there = arm.joints
    assert arm.supervisor.reset(arm.k * T)[0]
    arm.sent = []
    arm.period(goal=there)
    assert arm.supervisor.mode == RUNNING, arm.supervisor.reason
    assert np.array_equal(arm.sent[0], there)


def test_an_arm_that_jumps_while_it_is_stopped_is_not_followed():
    arm = Arm()
    arm.period(goal=HOME)
    arm.supervisor.stop("e-stop", "a test", arm.k * T)
    for _ in range(SURE):
        arm.period()
    most = ROBOT.limits("velocity")[0] * T + arm.supervisor.timing.jump
    led = HOME + 0.999 * most * FIRST
    arm.period(joints=led)
    arm.period()
    assert np.array_equal(arm.sent[-1], led)
    arm.sent = []
    for _ in range(5):
        arm.period(joints=led + 1.001 * most * FIRST)
    assert all(np.array_equal(joints, led) for joints in arm.sent) and len(arm.sent) <= SURE
    assert arm.supervisor.reset(arm.k * T)[0], "an operator has seen it"


def start(arm: Arm, joints: np.ndarray, now: float | None = None) -> str:
    """Command ``joints`` first: the reason of the stop; empty where the arm runs."""
    now = arm.k * T if now is None else now
    arm.supervisor.command(Command(joints, 0.0, now, NOTHING), 0.0, now)
    return "" if arm.supervisor.mode == RUNNING else arm.supervisor.reason


def turned(angle: float) -> np.ndarray:
    """Home with another last joint: it does not move the end effector's place."""
    return HOME + angle * np.eye(7)[6]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_stream_begins_within_a_hundredth_rad_of_the_arm(sign):
    arm = Arm()
    arm.period()
    assert not start(arm, turned(sign * 0.0099))
    arm = Arm()
    arm.period()
    assert "not at the robot's position" in start(arm, turned(sign * 0.0101))


def test_a_stream_begins_within_a_millimetre_of_the_end_effector():
    """A base joint turns it by half a metre a rad."""
    reach = np.hypot(*ArmController(ROBOT, "joint_position").forward(HOME)[0][:2])
    for shift, passes in ((0.00099, True), (0.00101, False)):
        arm = Arm()
        arm.period()
        assert (start(arm, HOME + shift / reach * FIRST) == "") is passes


def test_a_stream_may_begin_where_a_moving_arm_was_a_moment_ago_and_not_before_that():
    """The controller knows the arm from an earlier joint state; a reset makes it forget what came before."""
    for periods, passes in ((3, True), (4, False)):
        arm = Arm()
        for k in range(periods + 1):
            arm.period(joints=turned(0.012 * k))
        assert (start(arm, turned(0.0)) == "") is passes
    arm = Arm()
    arm.period(joints=turned(0.0))
    arm.supervisor.stop("e-stop", "a test", arm.k * T)
    arm.period(joints=turned(0.012))
    assert arm.supervisor.reset(arm.k * T)[0]
    assert "not at the robot's position" in start(arm, turned(0.0))


def test_a_stream_does_not_begin_far_behind_a_fast_arm():
    for step, passes in ((0.0249, True), (0.0251, False)):
        arm = Arm()
        for k in range(3):
            arm.period(joints=turned(step * k))
        assert (start(arm, turned(0.0)) == "") is passes


def test_after_a_streams_end_an_arm_may_be_led_and_a_stop_holds_it_there():
    arm = Arm()
    for _ in range(6):
        arm.period(goal=HOME + 0.05 * FIRST)
    assert arm.supervisor.end() is not None and arm.supervisor.mode == IDLE
    led, arm.sent = arm.joints + 0.15 * FIRST, []
    for _ in range(4):
        arm.period(joints=led)
    assert not arm.sent and arm.supervisor.final(arm.k * T) == []
    held = arm.supervisor.stop("e-stop", "a test", arm.k * T)
    assert arm.supervisor.mode == STOPPED and np.abs(held.joints - led).max() <= DISPLACED


def test_joint_states_that_jump_while_stopped_give_no_target_of_their_own():
    """The hold's targets come from the clock alone, once a period."""
    arm = Arm()
    arm.period(goal=HOME)
    arm.supervisor.stop("e-stop", "a test", arm.k * T)
    late = (arm.k + 2) * T
    assert arm.supervisor.on_joint_state(HOME + 1.0, 0.0, late, late, 0.0) is None


def test_a_hold_goes_on_while_joint_states_are_just_fresh_enough():
    arm = Arm()
    arm.period(goal=HOME)
    arm.supervisor.stop("e-stop", "a test", arm.k * T)
    for _ in range(SURE + 1):
        arm.period()
    seen, stale = arm.k * T, arm.supervisor.timing.stale * T
    for passed, held in ((0.9999, True), (1.0001, False)):
        arm.supervisor._held_at = -np.inf  # whatever was sent last: a target is due
        assert (arm.supervisor.tick(seen + passed * stale, seen) is not None) is held


def test_a_stop_at_the_first_moment_of_the_clock_holds_at_once():
    supervisor = Supervisor(ROBOT)
    supervisor.stop("e-stop", "a test", 0.0)
    supervisor.on_joint_state(HOME, 0.5, 0.01, 0.01, 0.0)
    held = supervisor.tick(0.01, 0.01)
    assert np.array_equal(held.joints, HOME) and held.gripper == 0.5


def test_the_joint_is_named_that_is_farthest_outside_its_range():
    limits = StreamLimits(ROBOT)
    above, below = ROBOT.high + np.array([0, 0, 0.01, 0, 0.02, 0, 0]), ROBOT.low - np.array([0, 0.03, 0, 0, 0, 0.01, 0])
    assert limits.check(above).startswith("joint5 position") and limits.check(below).startswith("joint2 position")


def test_the_first_target_of_a_stream_is_a_rest_where_the_arm_is():
    """Also where the arm was moved by less than what a hold follows."""
    arm = Arm()
    arm.period(goal=HOME)
    arm.supervisor.end()
    led = HOME + 0.99 * DISPLACED * np.eye(7)[1]
    arm.period(joints=led)
    now = arm.k * T
    first = arm.supervisor.command(Command(led, 0.0, now, NOTHING), 0.0, now)
    assert first is not None and np.array_equal(first.joints, led) and first.rests
