"""The supervisor lets through what is within the limits, and stops the robot at each fault, until it is reset."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from vla_agent.errors import RobotError
from vla_agent.robot.control.arm_controller import ArmController
from vla_agent.robot.control.limit_shaper import LimitShaper
from vla_agent.robot.description import load_robot
from vla_agent.robot.safety.lookahead import LookAhead
from vla_agent.robot.safety.stream_limits import StreamLimits
from vla_agent.robot.safety.supervisor import IDLE, RUNNING, STOPPED, Command, Supervisor

ROBOT = load_robot("panda")
HOME = np.array(ROBOT.home)
T = ROBOT.period


class Line:
    """A supervisor that is fed like in the graph: a joint state and a command a period, the robot following at once."""

    def __init__(self, deadman: bool = False) -> None:
        self.supervisor = Supervisor(ROBOT, deadman=deadman)
        self.k, self.joints, self.shaper = 0, HOME.copy(), LimitShaper(ROBOT)
        self.shaper.rest(HOME)

    @property
    def now(self) -> float:
        return self.k * T

    def state(self, joints: np.ndarray | None = None, effort: float | None = 0.0) -> None:
        self.supervisor.on_joint_state(self.joints if joints is None else joints, 0.0, self.now, self.now, effort)

    def command(self, joints: np.ndarray, gripper: float = 0.0, age: float = 0.0, plan: np.ndarray | None = None):
        rows = np.empty((0, 7)) if plan is None else plan
        return self.supervisor.command(Command(joints, gripper, self.now, rows), age, self.now)

    def run(self, target: np.ndarray, periods: int) -> None:
        """Drive towards ``target`` with everything as it should be."""
        for _ in range(periods):
            self.k += 1
            self.state()
            starts = self.supervisor.mode == IDLE
            sent = self.command(self.joints if starts else self.shaper.step(target))
            assert sent is not None and self.supervisor.mode == RUNNING, self.supervisor.reason
            self.joints = sent.joints
            assert self.supervisor.tick(self.now + 0.1 * T, self.now + 0.1 * T) is None

    def holds(self) -> bool:
        """Whether the robot is commanded to brake and then rests, or no more, whatever the controller sends."""
        targets = []
        for _ in range(30):
            self.k += 1
            self.state()
            assert self.command(self.joints + 0.01) is None
            target = self.supervisor.tick(self.now, self.now)
            assert self.supervisor.mode == STOPPED
            if target is not None:
                targets.append(target)
                self.joints = target.joints
        return len(targets) >= 3 and all(target.rests for target in targets[-3:])


TARGET = HOME + np.array([0.5, 0, 0, 0, 0, 0, 0.3])


@pytest.fixture
def line():
    made = Line()
    made.run(TARGET, 5)
    return made


def test_nothing_moves_before_the_first_command():
    line = Line()
    line.state()
    assert line.supervisor.mode == IDLE and line.supervisor.tick(0.0, 0.0) is None


FAULTS = {
    "NaN": (lambda line: line.command(np.full(7, np.nan)), "NaN"),
    "too fast": (lambda line: line.command(line.joints + 0.2), "velocity"),
    "too sudden": (lambda line: line.command(line.joints - [0.05, 0, 0, 0, 0, 0, 0]), "acceleration"),
    "beyond a joint's end": (lambda line: line.command(np.where(np.arange(7) == 5, 3.8, line.joints)), "position"),
    "too many joints": (lambda line: line.command(np.zeros(8), plan=np.empty((0, 8))), "8 targets"),
    "gripper": (lambda line: line.command(line.shaper.step(TARGET), gripper=1.5), "gripper"),
    "NaN gripper": (lambda line: line.command(line.shaper.step(TARGET), gripper=np.nan), "gripper"),
    "late": (lambda line: line.command(line.shaper.step(TARGET), age=4 * T), "late"),
    "from the future": (lambda line: line.command(line.shaper.step(TARGET), age=-2 * T), "late"),
    "a plan into the table": (
        lambda line: line.command(line.shaper.step(TARGET), plan=np.linspace(HOME, HOME + np.eye(7)[1], 9)),
        "look-ahead",
    ),
    "a NaN plan": (lambda line: line.command(line.shaper.step(TARGET), plan=np.full((2, 7), np.nan)), "NaN"),
    "joint state NaN": (lambda line: line.state(np.full(7, np.nan)), "joint state"),
    "joint state jump": (lambda line: line.state(line.joints + 0.5), "jumped"),
    "joint state with too much force": (lambda line: line.state(effort=3.01), "gripper force: effort 3.01 over 3.00"),
    "joint state with endless force": (lambda line: line.state(effort=-np.inf), "gripper force: effort -inf"),
    "joint state without force": (lambda line: line.state(effort=None), "no effort"),
    "joint state with a NaN force": (lambda line: line.state(effort=np.nan), "no effort"),
    "e-stop": (lambda line: line.supervisor.stop("e-stop", "pressed", line.now), "e-stop"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_stops_and_latches(line, fault):
    inject, word = FAULTS[fault]
    line.k += 1
    if "joint state" not in fault:
        line.state()
    inject(line)
    assert line.supervisor.mode == STOPPED and word in line.supervisor.reason
    assert line.holds()


@pytest.mark.parametrize("silent", ["commands", "joint states"])
def test_silence_stops_within_two_periods(line, silent):
    last = line.now
    for tick in range(1, 17):  # eight times a period
        now = last + tick * T / 8
        if tick % 8 == 0 and silent == "commands":
            line.supervisor.on_joint_state(line.joints, 0.0, now, now, 0.0)
        if tick == 8 and silent == "joint states":
            line.supervisor.command(Command(line.shaper.step(TARGET), 0.0, now, np.empty((0, 7))), 0.0, now)
        if line.supervisor.tick(now, now) is not None:
            break
    assert line.supervisor.mode == STOPPED and "none for" in line.supervisor.reason
    assert now - last <= 2 * T


def test_a_clock_that_jumps_stops(line):
    line.supervisor.tick(line.now + 0.2 * T, line.now + 0.2 * T + 5.0)
    assert line.supervisor.mode == STOPPED and "clock" in line.supervisor.reason


def test_too_many_missing_commands_stop_and_few_do_not(line):
    line.k += 2
    line.state()
    assert line.command(line.joints) is not None
    assert line.supervisor.counts["missing commands"] == 1
    line.k += 4
    line.state()
    line.command(line.joints)
    assert line.supervisor.mode == STOPPED and "missing" in line.supervisor.reason


def test_motion_resumes_only_after_a_reset(line):
    line.supervisor.stop("e-stop", "pressed", line.now)
    assert not line.supervisor.reset(line.now)[0], "still braking"
    assert line.holds()
    assert line.supervisor.reset(line.now)[0] and line.supervisor.mode == IDLE
    assert line.supervisor.last_stop == "e-stop: pressed", "it is reported also after the reset"
    line.shaper.rest(line.joints)
    line.run(TARGET, 5)


def test_a_reset_needs_a_fresh_joint_state(line):
    line.supervisor.stop("e-stop", "pressed", line.now)
    assert line.holds()
    line.k += 3
    done, why = line.supervisor.reset(line.now)
    assert not done and "joint state" in why and line.supervisor.mode == STOPPED


def test_a_stream_that_ends_properly_is_no_fault(line):
    assert line.supervisor.end() is not None
    line.k += 20
    assert line.supervisor.tick(line.now, line.now) is None and line.supervisor.mode == IDLE


@pytest.mark.parametrize("often", [1, 2, 7])
def test_joint_states_that_stay_wrong_neither_keep_the_stop_back_nor_hurry_it(line, often):
    """However often they come in a period: the robot gets every target of the stop, one a period, from the first."""
    line.run(HOME - 0.3, 6)  # in the middle of a motion
    supervisor, nan, began = line.supervisor, np.full(7, np.nan), line.now
    answers = []
    for k in range(1, 12 * 8 * often):
        now = began + k * T / (8 * often)
        if k % 8 == 1:
            answers.append((now, supervisor.on_joint_state(nan, 0.0, now, now)))
        answers.append((now, supervisor.tick(now, now)))
    sent = [(now, target.joints) for now, target in answers if target is not None]
    resting = [k for k, (_, joints) in enumerate(sent) if k and np.array_equal(joints, sent[k - 1][1])]
    assert sent[0][0] - began < 0.2 * T and resting == list(range(len(sent)))[-3:], "then nothing: the arm is unknown"
    assert np.diff([now for now, _ in sent]) == pytest.approx(T, rel=0.2)
    before, limit = line.joints, ROBOT.limits("acceleration")
    speed = first = (sent[0][1] - before) / T
    for (_, a), (_, b) in pairwise(sent):
        speed, old = (b - a) / T, speed
        assert (np.abs(speed - old) / T <= limit * 1.001).all()
    assert np.abs(first).max() > 0 and np.abs(speed).max() == 0


def test_without_the_deadman_switch_nothing_moves_and_letting_go_stops():
    line = Line(deadman=True)
    line.state()
    line.command(HOME)
    assert line.supervisor.mode == STOPPED and "deadman" in line.supervisor.reason
    line = Line(deadman=True)
    line.supervisor.on_deadman_pressed(0.0)
    line.run(TARGET, 3)
    assert line.supervisor.on_deadman_released(line.now) is not None
    assert line.supervisor.mode == STOPPED


def test_the_robot_must_stand_where_the_first_command_begins():
    line = Line()
    line.state()
    line.command(HOME + 0.2)
    assert line.supervisor.mode == STOPPED


def test_a_robot_that_does_not_follow_is_stopped():
    line = Line()
    line.run(HOME, 1)
    for _ in range(40):
        line.k += 1
        line.state(HOME)
        line.command(line.shaper.step(HOME + [1.0, 0, 0, 0, 0, 0, 0]))
        if line.supervisor.mode == STOPPED:
            break
    assert "follow" in line.supervisor.reason


def test_the_last_target_of_all_is_a_rest(line):
    line.run(HOME - 0.3, 6)  # in the middle of a motion
    final = line.supervisor.final(line.now)
    assert len(final) > 2 and final[-1].rests and not final[0].rests
    steps = np.diff([line.joints, *(target.joints for target in final)], axis=0) / T
    assert (np.abs(np.diff(steps, axis=0)) / T <= ROBOT.limits("acceleration") * 1.001).all()
    assert line.supervisor.mode == STOPPED and Supervisor(ROBOT).final(0.0) == []


def test_lookahead_sees_table_and_workspace():
    ahead = LookAhead(ROBOT)
    assert ahead.check(HOME) is None
    assert "workspace" in str(ahead.check(np.array([1.5, 0.195, 0, -2.43, 0, 2.62, 0.785])))
    down = np.linspace(HOME, HOME + [0, 0.9, 0, 0, 0, 0, 0], 40)
    assert ahead.path(HOME, down) is not None


def test_lookahead_looks_at_a_place_of_the_path_before_once(monkeypatch):
    """A plan that moves on by one row costs one row; what is forbidden is found however often it comes."""
    ahead, looked = LookAhead(ROBOT), []
    check = ahead.check
    monkeypatch.setattr(ahead, "check", lambda joints: looked.append(joints) or check(joints))
    way = np.linspace(HOME, HOME + [0.2, 0, 0, 0, 0, 0, 0], 12)
    assert ahead.path(way[0], way[1:10]) is None
    first = len(looked)
    assert ahead.path(way[1], way[2:11]) is None
    assert (first, len(looked) - first) == (18, 2)
    down = np.linspace(HOME, HOME + [0, 0.9, 0, 0, 0, 0, 0], 40)
    assert ahead.path(HOME, down) == ahead.path(HOME, down) is not None


def test_the_shaper_keeps_every_limit_and_arrives():
    rng = np.random.default_rng(0)
    shaper, limits = LimitShaper(ROBOT), StreamLimits(ROBOT)
    shaper.rest(HOME)
    limits.rest(HOME)
    for _ in range(20):
        target = rng.uniform(ROBOT.low, ROBOT.high)
        for _ in range(rng.integers(1, 20)):
            joints = shaper.step(target)
            assert limits.check(joints) is None
            limits.accept(joints)
        for after in target + np.outer(range(1, 20), rng.uniform(-0.2, 0.2, len(HOME))):  # a motion known ahead
            joints = shaper.step(target, after)
            target = after
            assert limits.check(joints) is None
            limits.accept(joints)
    target = rng.uniform(ROBOT.low, ROBOT.high)
    for _ in range(120):
        joints = shaper.step(target)
    assert np.allclose(joints, target, atol=1e-3)


def test_the_controller_moves_the_end_effector_by_its_deltas_and_a_preview_changes_nothing():
    arm = ArmController(ROBOT, "ee_delta")
    arm.rest(HOME, 0.0)
    before, _ = arm.forward(HOME)
    action = np.array([0.01, 0, 0, 0, 0, 0, 1.0])
    joints = arm.command(action * 0, HOME)
    assert np.array_equal(joints, HOME), "a stream begins from standing still"
    planned = arm.preview(np.tile(action, (10, 1)))
    for k in range(10):
        joints = arm.command(np.tile(action, (2 if k < 9 else 1, 1)), joints)
        assert np.allclose(joints, planned[k])
    for _ in range(10):
        joints = arm.command(action * 0, joints)
    assert np.allclose(arm.forward(joints)[0] - before, [0.1, 0, 0], atol=0.01)


def test_what_a_preview_takes_over_from_the_one_before_is_what_it_would_compute():
    """Chunks of eight actions, one step at a time; in between the arm lags behind, and once it rests."""
    rng = np.random.default_rng(0)
    actions = np.repeat(rng.uniform(-0.01, 0.01, (4, 7)), 8, axis=0)
    kept = ArmController(ROBOT, "ee_delta")
    kept.rest(HOME, 0.0)
    measured, done = HOME, []
    for k in range(24):
        if k == 12:
            kept.pause()
        behind = measured - (0.05 if k == 18 else 0.0)
        fresh = ArmController(ROBOT, "ee_delta")  # it has the same history, and has never looked ahead
        fresh.rest(HOME, 0.0)
        rows = actions[k : 8 * (k // 8 + 1)]
        done.append((rows, behind))
        for n, (known, joints) in enumerate(done):
            if n == 12:
                fresh.pause()
            fresh.command(known, joints)
        measured = kept.command(rows, behind)
        assert np.allclose(kept.preview(rows[1:]), fresh.preview(rows[1:]), atol=1e-6)


def test_a_gripper_that_presses_too_hard_is_held_where_it_is_until_it_presses_less():
    line = Line()
    line.run(TARGET, 3)
    line.k += 1
    line.state()
    assert line.command(line.shaper.step(TARGET), gripper=1.0).gripper == 1.0
    most = ROBOT.gripper.max_effort
    assert line.supervisor.on_joint_state(line.joints, 0.4, line.now, line.now, most) is None, (
        "the limit itself is allowed"
    )
    held = line.supervisor.on_joint_state(line.joints, 0.4, line.now, line.now, -most - 0.01)
    assert held.gripper == 0.4 and line.supervisor.reason == "gripper force: effort -3.01 over 3.00"
    for effort, word in ((most + 1, "effort 4.00 over"), (None, "no effort"), (np.nan, "no effort")):
        for _ in range(30):  # it has braked, and its joint states are fresh
            line.k += 1
            line.supervisor.tick(line.now, line.now)
        line.supervisor.on_joint_state(line.joints, 0.4, line.now, line.now, effort)
        done, why = line.supervisor.reset(line.now)
        assert not done and word in why, why
    line.state()
    assert line.supervisor.reset(line.now)[0]


def test_before_anything_moves_joint_states_without_effort_stop_and_where_no_limit_is_set_they_do_not():
    line = Line()
    line.state(effort=None)
    assert line.command(HOME) is None and line.supervisor.reason == "gripper force: no effort in the joint states"
    free = ROBOT.model_copy(update={"gripper": ROBOT.gripper.model_copy(update={"max_effort": None})})
    for effort in (None, np.nan, 1e9):
        supervisor = Supervisor(free)
        supervisor.on_joint_state(HOME, 0.0, 0.0, 0.0, effort)
        assert supervisor.command(Command(HOME, 0.0, 0.0, np.empty((0, 7))), 0.0, 0.0) is not None


def test_every_target_says_where_the_arm_is_commanded_before_it(line):
    """So that a velocity can be made of it, and it is none where the arm is to rest."""
    before = line.joints
    line.run(TARGET, 1)
    line.k += 1
    line.state()
    line.command(sent := line.shaper.step(TARGET))
    stopped = line.supervisor.stop("e-stop", "a test", line.now)
    assert np.array_equal(stopped.start, sent) and not np.array_equal(stopped.joints, sent)
    for _ in range(20):
        line.k += 1
        line.state(stopped.joints)
        stopped, before = line.supervisor.tick(line.now, line.now), stopped
        assert np.array_equal(stopped.start, before.joints)
    assert np.array_equal(stopped.start, stopped.joints)
    other = Line()
    other.run(TARGET, 4)
    ended = other.supervisor.end()
    assert np.array_equal(ended.start, other.joints) and np.array_equal(ended.joints, other.joints)
    assert other.supervisor.end() is None and other.supervisor.mode == IDLE
    assert other.supervisor.final(other.now) == [], "it was commanded to rest there"


def test_a_stop_before_the_first_joint_state_commands_nothing_and_then_to_hold_where_it_is():
    supervisor = Supervisor(ROBOT)
    assert supervisor.stop("e-stop", "a test", 0.0) is None
    assert supervisor.tick(0.1, 0.1) is None and supervisor.final(0.1) == []
    elsewhere = HOME + 0.2
    supervisor.on_joint_state(elsewhere, 0.5, 0.2, 0.2, 0.0)
    held = supervisor.tick(0.25, 0.25)
    assert np.allclose(held.joints, elsewhere) and held.gripper == 0.5


def test_a_guarded_body_without_a_shape_would_guard_nothing():
    ahead = ROBOT.lookahead.model_copy(update={"guarded": (*ROBOT.lookahead.guarded, "world")})
    with pytest.raises(RobotError, match="no shape") as error:
        LookAhead(ROBOT.model_copy(update={"lookahead": ahead}))
    assert error.value.key == "world"
