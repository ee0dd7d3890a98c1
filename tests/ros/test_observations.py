"""Observations: parts of one time, fresh, complete and changing; and the policy loop without them."""

from __future__ import annotations

import time

import numpy as np
import pytest

from sim.env import TabletopEnv
from sim.world.panda import panda_kinematics
from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.errors import ObservationError
from vla_agent.policy.doubt.doubt_settings import Doubt
from vla_agent.robot.description import load_robot
from vla_agent.ros.runtime.instructions import InstructionGuard
from vla_agent.ros.runtime.observations import Limits, ObservationBuffer
from vla_agent.ros.runtime.policy_loop import PolicyLoop, PolicyLoopSettings

ROBOT = load_robot("panda")
CONTRACT = tabletop_contract()
HOME = np.array(ROBOT.home)
T = ROBOT.period


def random_image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (96, 96, 3), np.uint8)


@pytest.fixture
def buffer():
    return ObservationBuffer(ROBOT, CONTRACT, panda_kinematics().forward, Limits(0.6 * T, 2 * T))


def feed(buffer: ObservationBuffer, k: int, skip: str = "", joints: np.ndarray = HOME) -> None:
    if skip != "joint_states":
        buffer.add_state(joints, 0.0, k * T)
    for name in CONTRACT.camera_names:
        if skip != name:
            buffer.add_image(name, random_image(10 * k + len(name)), k * T)


def test_the_state_is_the_simulators_own():
    env = TabletopEnv(task="put_in_tray")
    env.begin(0)
    state = env.world.state()
    buffer = ObservationBuffer(ROBOT, env.contract, panda_kinematics().forward, Limits(1.0, 1.0))
    buffer.add_state(state[10:].astype(np.float64), float(state[9]), 0.0)
    assert np.allclose(buffer.state(), state, atol=1e-5)


def test_the_newest_complete_moment_is_seen(buffer):
    feed(buffer, 1)
    feed(buffer, 2, skip="wrist")
    seen = buffer.observe(2 * T)
    assert seen.stamp == T and np.array_equal(seen.data["images"]["wrist"], random_image(15))
    CONTRACT.check_observation(seen.data)


@pytest.mark.parametrize("skip", ["front", "wrist", "joint_states"])
def test_what_is_missing_or_stale_is_named(buffer, skip):
    feed(buffer, 1, skip=skip)
    with pytest.raises(ObservationError, match=f"{skip}: no message received yet"):
        buffer.observe(T)
    feed(buffer, 1)
    for k in range(2, 6):
        feed(buffer, k, skip=skip)
    with pytest.raises(ObservationError, match=rf"{skip}.*(old|no new image)"):
        buffer.observe(5 * T)


def test_a_known_cause_is_reported_with_what_is_missing_or_stale(buffer):
    buffer.explain("front", "likely cause: a dark room")
    with pytest.raises(ObservationError, match="front: no message received yet; likely cause: a dark room"):
        buffer.observe(T)
    feed(buffer, 1)
    assert buffer.observe(T).stamp == T
    with pytest.raises(ObservationError, match=r"front has had no new image .* allowed; likely cause: a dark room"):
        buffer.observe(5 * T)


def test_images_out_of_sync_are_refused(buffer):
    buffer.add_state(HOME, 0.0, T)
    buffer.add_image("front", random_image(0), T)
    buffer.add_image("wrist", random_image(1), 1.9 * T)
    with pytest.raises(ObservationError, match="out of sync"):
        buffer.observe(1.9 * T)


def test_a_wrong_size_nan_and_time_going_back_are_refused(buffer):
    feed(buffer, 1)
    buffer.add_image("front", random_image(0)[::2, ::2], 2 * T)
    with pytest.raises(ObservationError, match="front is 48 x 48"):
        buffer.observe(T)
    feed(buffer, 2)
    buffer.add_state(np.full(7, np.nan), 0.0, 3 * T)
    with pytest.raises(ObservationError, match="NaN"):
        buffer.observe(2 * T)
    feed(buffer, 3)
    buffer.add_image("wrist", random_image(0), 0.5 * T)
    with pytest.raises(ObservationError, match="go back in time"):
        buffer.observe(3 * T)


def test_a_frozen_image_is_noticed_when_the_arm_moves(buffer):
    for k in range(1, 8):
        buffer.add_state(HOME + 0.02 * k, 0.0, k * T)
        buffer.add_image("front", random_image(0), k * T)
        buffer.add_image("wrist", random_image(k), k * T)
    with pytest.raises(ObservationError, match="front shows the same image"):
        buffer.observe(7 * T)


def test_an_image_that_is_late_is_not_a_frozen_one(buffer):
    """However fast the arm moves: what has not come yet is judged by its age."""
    for k in range(1, 8):
        buffer.add_state(HOME + 0.1 * k, 0.0, k * T)
        if k < 7:
            buffer.add_image("front", random_image(k), k * T)
            buffer.add_image("wrist", random_image(k), k * T)
    assert buffer.observe(7 * T).stamp == 6 * T


def test_a_flood_of_instructions_is_told_from_a_conversation():
    calm = InstructionGuard()
    assert not any(calm.excess(f"task {k}", 0.5 * k) for k in range(50))
    assert not any(calm.excess("the same again", 100 + 0.1 * k) for k in range(50)), "a publisher that repeats itself"
    assert (
        "more than 4 other" in [InstructionGuard().excess("", 0.0), *(calm.excess(str(k), 200.0) for k in range(5))][-1]
    )
    loud = InstructionGuard()
    assert "more than 50 within 1 s" in [loud.excess("the same", 0.001 * k) for k in range(51)][-1]
    assert not loud.excess("the same", 60.0), "it is over after a while"
    copies = InstructionGuard()
    assert not any(copies.excess("the same", 0.001 * k, copy=True) for k in range(60)), "counted elsewhere"


class Straight:
    """A policy that wants the same small step again and again, or whatever ``chunk`` says."""

    def __init__(self) -> None:
        self.chunk = np.tile(np.array([0.01, 0, 0, 0, 0, 0, 1], np.float32), (16, 1))
        self.instructions: list[str] = []
        self.refusal: str | None = None
        self.doubt: Doubt | None = None

    def reset(self, instruction: str, seed: int = 0) -> None:
        self.instructions.append(instruction)

    def act(self, observation):
        CONTRACT.check_observation(observation)
        return self.chunk


@pytest.fixture
def made(buffer):
    policy = Straight()
    agent = PolicyLoop(policy, CONTRACT, buffer, PolicyLoopSettings(execute=4, stalled_after=30.0))
    yield policy, agent, buffer
    agent.close()


def wait_for_answer(agent: PolicyLoop) -> None:
    """Inference runs in its own thread: wait until it is idle."""
    worker, end = agent._worker, time.monotonic() + 20
    while time.monotonic() < end:
        with worker._wake:
            if worker._request is None and worker._instruction is None and worker._started is None:
                return
        time.sleep(0.001)
    raise AssertionError("the policy does not answer")


def drive(agent: PolicyLoop, buffer: ObservationBuffer, steps: range, skip: str = "") -> list:
    """One decision a control step; however busy the machine, each inference ends within its step."""
    decisions = []
    for k in steps:
        feed(buffer, k, skip=skip)
        decision = agent.tick(k * T)
        wait_for_answer(agent)
        decisions.append(agent.tick(k * T + 0.6 * T) if decision is None else decision)
    return decisions


def test_without_an_instruction_nothing_is_decided(made):
    _, agent, buffer = made
    assert drive(agent, buffer, range(1, 4)) == [None] * 3


def test_an_instruction_leads_to_one_action_a_control_step(made):
    policy, agent, buffer = made
    agent.instruct("put the red mug in the tray")
    decisions = [d for d in drive(agent, buffer, range(1, 20)) if d is not None]
    assert policy.instructions == ["put the red mug in the tray"] and len(decisions) >= 12
    stamps = np.diff([d.stamp for d in decisions])
    assert np.allclose(stamps, T) and not any(d.stop for d in decisions)
    assert all(np.allclose(d.actions[0], policy.chunk[0]) for d in decisions if len(d.actions) > 1)
    assert max(len(d.actions) for d in decisions) > 3, "the next actions are published, too"


def test_a_refusal_comes_with_its_chunk_and_ends_with_the_next_one(made):
    policy, agent, buffer = made
    agent.instruct("put the red mug in the tray")
    drive(agent, buffer, range(1, 8))
    assert agent.refusal == ""
    assert "doubt" not in agent.diagnostics()
    policy.refusal, policy.doubt = "I see no red mug", Doubt(0.75, "I see no red mug")
    drive(agent, buffer, range(8, 18))
    assert agent.refusal == "I see no red mug"
    assert agent.diagnostics()["doubt"] == 0.75
    policy.refusal = None
    drive(agent, buffer, range(18, 28))
    assert agent.refusal == ""


def test_an_observation_that_the_policy_refuses_stops_the_robot_before_its_first_motion_too(made):
    policy, agent, buffer = made

    def refuse(observation):
        raise ObservationError("the policy wants another camera", key="front")

    policy.act = refuse
    agent.instruct("put the red mug in the tray")
    decisions = [d for d in drive(agent, buffer, range(1, 4)) if d is not None]
    assert not agent.moving and {d.stop for d in decisions} == {"the policy wants another camera"}


@pytest.mark.parametrize("moving", [False, True])
def test_a_fault_while_observing_moves_nothing_and_stops_what_moves(made, monkeypatch, moving):
    _, agent, buffer = made
    agent.instruct("put the red mug in the tray")
    if moving:
        drive(agent, buffer, range(1, 8))

    def fail(now):
        raise ValueError("bad")

    monkeypatch.setattr(buffer, "observe", fail)
    feed(buffer, 8)
    decision, why = agent.tick(8 * T), "the observation failed: ValueError: bad"
    assert agent.observation_problem(8 * T) == why
    assert decision.stop == why if moving else decision is None


def test_another_instruction_ends_a_refusal(made):
    policy, agent, buffer = made
    policy.refusal = "I see no red mug"
    agent.instruct("put the red mug in the tray")
    drive(agent, buffer, range(1, 8))
    assert agent.refusal
    agent.instruct("open the drawer")
    assert agent.refusal == ""


def test_a_camera_that_stops_leads_to_a_stop_within_two_periods(made):
    _, agent, buffer = made
    agent.instruct("push the green block")
    assert [d for d in drive(agent, buffer, range(1, 12)) if d is not None]
    for tick in range(1, 25):
        now = 11 * T + tick * T / 8
        if tick % 8 == 0:
            feed(buffer, 11 + tick // 8, skip="front")
        decision = agent.tick(now)
        if decision is not None and decision.stop:
            break
    assert "front" in decision.stop and now - 11 * T <= 2.2 * T


@pytest.mark.parametrize(("value", "word"), [(np.nan, "chunk"), (5.0, "out of range")], ids=["NaN", "out of range"])
def test_a_policy_with_invalid_actions_leads_to_a_stop(made, value, word):
    policy, agent, buffer = made
    policy.chunk = policy.chunk * value
    agent.instruct("open the drawer")
    stops = [d.stop for d in drive(agent, buffer, range(1, 8)) if d is not None and d.stop]
    assert stops and word in stops[0]
