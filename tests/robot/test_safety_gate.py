"""The one gate to the robot: closed, nothing passes in any order of events; open, what the supervisor approves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_agent.robot.control.limit_shaper import LimitShaper
from vla_agent.robot.description import load_robot
from vla_agent.robot.safety.command_gate import CommandGate
from vla_agent.robot.safety.hold import Target
from vla_agent.robot.safety.supervisor import IDLE, STOPPED, Command, Supervisor

ROBOT = load_robot("panda")
HOME = np.array(ROBOT.home)
T = ROBOT.period
NOTHING = np.empty((0, 7))
THERE = HOME + np.array([0.5, -0.6, 0, 0, 0, 0, 0.3])


class Driven:
    """A gate before a robot that follows at once; ``sent``: what reached the robot."""

    def __init__(self, refused: str = "", deadman: bool = False) -> None:
        self.sent: list[Target] = []
        self.supervisor = Supervisor(ROBOT, deadman=deadman)
        self.gate = CommandGate(self.supervisor, self.sent.append, refused)
        self.shaper, self.k, self.first = LimitShaper(ROBOT), 0, True
        self.shaper.rest(HOME)

    @property
    def now(self) -> float:
        return self.k * T

    def state(self) -> None:
        self.k += 1
        joints = self.sent[-1].joints if self.sent else HOME
        self.gate.on_joint_state(joints, 0.0, self.now, self.now, 0.0)

    def command(self) -> None:
        joints, self.first = (HOME if self.first else self.shaper.step(THERE)), False
        self.gate.command(Command(joints, 0.0, self.now, NOTHING), 0.0, self.now)

    def run(self, periods: int) -> None:
        for _ in range(periods):
            self.state()
            self.command()
            self.gate.tick(self.now, self.now)

    def wait(self) -> None:
        self.k += 1


EVENTS = {
    "state": Driven.state,
    "command": Driven.command,
    "bad state": lambda d: d.gate.on_joint_state(np.full(7, np.nan), 0.0, d.now, d.now, 0.0),
    "force": lambda d: d.gate.on_joint_state(HOME, 0.4, d.now, d.now, 99.0),
    "e-stop": lambda d: d.gate.stop("e-stop", "a test", d.now),
    "pressed": lambda d: d.gate.on_deadman(True, d.now),
    "released": lambda d: d.gate.on_deadman(False, d.now),
    "reset": lambda d: d.gate.reset(d.now),
    "end": lambda d: d.gate.end(),
    "tick": lambda d: d.gate.tick(d.now, d.now),
    "clock": lambda d: d.gate.tick(d.now, d.now + 9.0),
    "wait": Driven.wait,
    "withdraw": lambda d: d.gate.withdraw("revoked", d.now),
    "final": lambda d: d.gate.final(d.now, d.wait),
}


@settings(derandomize=True, max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(sorted(EVENTS)), min_size=5, max_size=40), st.booleans())
def test_nothing_passes_a_closed_gate_in_any_order_of_events(events, deadman):
    driven = Driven("not certified", deadman)
    for event in events:
        EVENTS[event](driven)
        assert not driven.sent and driven.gate.stopped and not driven.gate.runs


def test_commands_of_a_closed_gate_are_counted_and_never_reach_the_supervisor():
    driven = Driven("not certified")
    driven.run(3)
    assert driven.supervisor.counts == {"refused without a certificate": 3} and driven.supervisor.mode == IDLE
    assert driven.gate.reset(driven.now) == (False, "not certified")


def test_an_open_gate_passes_what_the_supervisor_approves():
    driven = Driven()
    driven.run(4)
    assert len(driven.sent) == 4 and driven.gate.runs and not driven.gate.stopped and not driven.gate.refused
    driven.gate.end()
    assert len(driven.sent) == 5 and driven.sent[-1].rests
    assert driven.gate.reset(driven.now) == (True, "not stopped, idle")


def test_permission_opens_the_gate_where_it_was_closed():
    driven = Driven("not certified")
    driven.run(2)
    driven.gate.permit()
    driven.first = True
    driven.run(3)
    assert len(driven.sent) == 3 and not driven.gate.refused


@pytest.mark.parametrize("last", ["tick", "final"])
def test_a_moving_robot_that_loses_its_permission_brakes_to_rest_and_then_gets_nothing(last):
    driven = Driven()
    driven.run(6)
    steps, before, sent = driven.supervisor.braking_steps, len(driven.sent), [t.joints for t in driven.sent[-2:]]
    assert steps > 2
    driven.gate.withdraw("expired", driven.now)
    assert driven.supervisor.mode == STOPPED and driven.supervisor.reason == "certificate: expired"
    assert len(driven.sent) == before + 1, "it brakes at once"
    for event in [last] * 40 if last == "tick" else ["final", "final", "tick", "e-stop"]:
        driven.k += 1
        EVENTS[event](driven)
    braking = driven.sent[before:]
    assert len(braking) in (steps - 1, steps) and braking[-1].rests and not any(target.rests for target in braking[:-1])
    speeds = np.diff([*sent, *(target.joints for target in braking)], axis=0) / T
    assert (np.abs(np.diff(speeds, axis=0)) / T <= ROBOT.limits("acceleration") * 1.001).all()
    for event in sorted(EVENTS):
        EVENTS[event](driven)
    assert len(driven.sent) == before + len(braking)


def test_a_resting_robot_that_loses_its_permission_gets_nothing_more():
    for stop in ("end", "e-stop", ""):
        driven = Driven()
        driven.run(1)
        if stop:
            EVENTS[stop](driven)
        before = len(driven.sent)
        driven.gate.withdraw("revoked", driven.now)
        for event in ("tick", "state", "wait", "tick", "e-stop", "final"):
            EVENTS[event](driven)
        assert len(driven.sent) == before, stop
        assert driven.supervisor.mode == STOPPED


def test_a_second_reason_changes_what_is_said_and_gives_no_further_targets():
    driven = Driven()
    driven.run(6)
    driven.gate.withdraw("expired", driven.now)
    for _ in range(20):
        driven.k += 1
        driven.gate.tick(driven.now, driven.now)
    before = len(driven.sent)
    driven.gate.withdraw("", driven.now)
    driven.gate.tick(driven.now + T, driven.now + T)
    assert len(driven.sent) == before and driven.gate.refused == "no permission"


def test_after_a_withdrawal_permission_and_reset_let_the_robot_move_again():
    driven = Driven()
    driven.run(6)
    driven.gate.withdraw("expired", driven.now)
    for _ in range(12):
        driven.state()
        driven.gate.tick(driven.now, driven.now)
    assert driven.gate.reset(driven.now) == (False, "expired")
    driven.gate.permit()
    assert driven.gate.stopped, "a permission is no reset"
    assert driven.gate.reset(driven.now)[0] and not driven.gate.stopped


def test_the_goodbye_waits_a_period_before_each_target():
    driven = Driven()
    driven.run(6)
    before, k = len(driven.sent), driven.k
    driven.gate.final(driven.now, driven.wait)
    assert len(driven.sent) - before == driven.k - k > 2 and driven.sent[-1].rests


def test_a_pressed_deadman_switch_lets_the_robot_move_and_a_released_one_stops_it():
    driven = Driven(deadman=True)
    driven.gate.on_deadman(True, 0.0)
    driven.run(3)
    assert driven.gate.runs
    driven.gate.on_deadman(False, driven.now)
    assert driven.supervisor.reason == "deadman: the switch was released" and len(driven.sent) == 4


@pytest.mark.parametrize("event", ["e-stop", "bad state", "clock", "force"])
def test_the_first_target_of_every_stop_reaches_the_robot_at_once(event):
    driven = Driven()
    driven.run(6)
    before = len(driven.sent)
    EVENTS[event](driven)
    assert len(driven.sent) == before + 1 and driven.supervisor.mode == STOPPED


def test_a_robot_brakes_from_its_stop_until_it_rests():
    driven = Driven()
    driven.run(6)
    assert not driven.gate.brakes and driven.supervisor.braking_steps > 2
    EVENTS["e-stop"](driven)
    braked = [driven.gate.brakes]
    while driven.gate.brakes:
        driven.k += 1
        EVENTS["tick"](driven)
        braked.append(driven.gate.brakes)
    assert len(braked) > 2 and driven.sent[-1].joints == pytest.approx(driven.sent[-2].joints)
    assert not Driven().gate.brakes, "it has never moved"


@pytest.mark.parametrize(("refused", "prepared"), [("no certificate", 0), ("", 3)])
def test_the_robot_is_prepared_for_commands_behind_an_open_gate_alone(refused, prepared):
    calls: list[int] = []
    gate = CommandGate(Supervisor(ROBOT), lambda target: None, refused, lambda: calls.append(1))
    for k in range(3):
        gate.tick(k * T, k * T)
    assert len(calls) == prepared
