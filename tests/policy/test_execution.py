"""Executing chunks: the modes by their formulas, delays, guidance, and inference in its own thread."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from sim.env import TabletopEnv
from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.errors import ContractError, OptionError
from vla_agent.policy.execution import MODES, ChunkExecutor, delay_steps, hold
from vla_agent.policy.execution.async_runner import AsyncRunner
from vla_agent.policy.execution.future_state import future_state
from vla_agent.policy.execution.inference_worker import InferenceStalled, InferenceWorker
from vla_agent.policy.execution.realtime import commit
from vla_agent.policy.execution.seams import fade_in

T, A = 6, 2


def chunk(start: float) -> np.ndarray:
    """(T, A): row i holds start + i."""
    return np.repeat(start + np.arange(T, dtype=np.float32)[:, None], A, axis=1)


def run(mode: str, delay: int, steps: int, execute: int = 3) -> tuple[list, list[int]]:
    """Drive an executor with chunks whose row for control step t is 100 t + (step of the observation)."""
    executor, pending, actions, looks = ChunkExecutor(mode, T, execute), None, [], []
    for step in range(steps):
        if pending and step >= pending[1] + delay:
            executor.add(*pending)
            pending = None
        if executor.due(step):
            looks.append(step)
            executor.request(step, delay)
            rows = 100 * (step + np.arange(T))[:, None] + step + np.zeros(A)
            pending = (rows, step)
            if not delay:
                executor.add(*pending)
                pending = None
        action = executor.action(step)
        actions.append(None if action is None else float(action[0]))
    return actions, looks


def test_open_loop_executes_the_first_rows_of_each_chunk():
    actions, looks = run("open_loop", 0, 9)
    assert looks == [0, 3, 6]
    assert actions == [100 * t + 3 * (t // 3) for t in range(9)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("delay", [1, 2, 3])
def test_late_rows_are_skipped_never_executed_late(mode, delay):
    actions, looks = run(mode, delay, 12)
    assert actions[:delay] == [None] * delay
    assert all(a is not None and a // 100 == t for t, a in enumerate(actions) if t >= delay)
    assert looks == list(range(0, 12, max(delay, 1 if mode in ("ensemble", "adaptive") else 3)))


def test_an_expired_chunk_gives_no_action():
    actions, looks = run("open_loop", 8, 10)
    assert looks == [0, 8] and actions == [None] * 10  # each chunk has expired when it arrives


def test_one_inference_at_a_time_and_reset_forgets():
    executor = ChunkExecutor("ensemble", T, 3)
    executor.request(0, 5)
    assert not any(executor.due(step) for step in range(1, 20))
    executor.add(chunk(0), 0)
    assert executor.due(1)
    executor.reset()
    assert executor.due(0) and executor.action(1) is None


def test_temporal_ensemble_weighs_the_oldest_most():
    executor = ChunkExecutor("ensemble", T, 3)
    wishes = [5.0, 3.0, 9.0]
    for step, wish in enumerate(wishes):
        executor.add(np.full((T, A), wish), step)
    weights = np.exp(-0.01 * np.arange(3))
    np.testing.assert_allclose(executor.action(2), np.full(A, weights @ wishes / weights.sum()), rtol=1e-6)


def test_adaptive_ensemble_weighs_by_similarity_to_the_newest():
    executor = ChunkExecutor("adaptive", T, 3)
    wishes = np.array([[-1.0, 0.0], [0.0, 2.0], [0.0, 0.0], [1.0, 0.0]])
    for step, wish in enumerate(wishes):
        executor.add(np.tile(wish, (T, 1)), step)
    weights = np.exp(0.1 * np.array([-1.0, 0.0, 0.0, 1.0]))  # opposite, orthogonal, zero, itself
    np.testing.assert_allclose(executor.action(3), weights @ wishes / weights.sum(), rtol=1e-5)


def test_realtime_commits_what_is_left_of_the_present_chunk():
    executor = ChunkExecutor("realtime", T, 3)
    assert executor.request(0, 2) is None
    executor.add(chunk(10), 0)
    committed = executor.request(3, 2)
    assert (committed.decided, committed.delay) == (3, 2)
    np.testing.assert_array_equal(committed.actions[:, 0], [13, 14, 15, 15, 15, 15])
    assert executor.action(4)[0] == 14  # the old chunk until the new one comes
    executor.add(chunk(50), 3)
    assert executor.action(5)[0] == 52


def test_at_most_the_decided_rows_are_frozen():
    committed = commit(np.arange(5.0, dtype=np.float32)[:, None].repeat(A, 1), 8, 2)
    assert committed.frozen[:, 0].tolist() == [0, 1] and committed.left[:, 0].tolist() == [2, 3, 4]
    assert commit(np.zeros((2, A), np.float32), 8, 6).delay == 2
    assert commit(None, 8, 2) is None


def test_a_new_chunk_fades_in_and_leads_to_the_same_place():
    contract = tabletop_contract()
    a, t = contract.action_dim, contract.chunk_length
    present = np.tile(np.linspace(0, 1, 8, dtype=np.float32)[:, None], (1, a))
    committed, new = commit(present, t, 3), np.full((t, a), -1, np.float32)
    chunk = fade_in(contract, committed, new)
    np.testing.assert_array_equal(chunk[:3], present[:3])
    np.testing.assert_allclose(chunk[3, :6], -1 + 2 / 3 * (present[3, 0] + 1), rtol=1e-5)
    np.testing.assert_allclose(chunk[4, :6], -1 + 1 / 3 * (present[4, 0] + 1), rtol=1e-5)
    np.testing.assert_allclose(chunk[3:, :6].sum(axis=0), 3 - t, rtol=1e-5)  # the same way
    assert (chunk[9:] == -1).all() and (chunk[3:, 6] == -1).all()  # the rows after it and the gripper are unchanged
    late = fade_in(contract, commit(present[:3], t, 5), new)  # nothing is left to fade from
    assert (late[:3] == present[:3]).all() and (late[3:] == -1).all()


def test_absolute_motions_fade_in_and_return_nothing():
    contract = tabletop_contract(control="joint_position")
    a, t = contract.action_dim, contract.chunk_length
    chunk = fade_in(contract, commit(np.zeros((8, a), np.float32), t, 2), np.ones((t, a), np.float32))
    np.testing.assert_allclose(chunk[2:4, 0], [1 / 3, 2 / 3], rtol=1e-6)
    assert (chunk[4:, 0] == 1).all() and (chunk[2:, 7] == 1).all()


def test_the_future_state_is_that_of_the_simulator():
    """From rest to rest the rolled state is where the arm really gets; the gripper stays as it was measured."""
    env = TabletopEnv()
    env.reset(seed=4)
    rest = np.zeros((12, 7), np.float32)
    actions = np.array([[0.004, -0.006, 0.005, 0.0, 0.02, 0.04, 0.0]] * 6, np.float32)
    for action in rest:
        observation, *_ = env.step(action)
    rest_state = observation["state"]
    expected = future_state(env.contract, rest_state, actions)
    for action in (*actions, *rest):
        observation, *_ = env.step(action)
    env.close()
    place = env.contract.slices(env.contract.state)
    for name in ("ee_position", "ee_rotation", "gripper"):
        np.testing.assert_allclose(expected[place[name]], observation["state"][place[name]], atol=1e-3)
    np.testing.assert_array_equal(future_state(env.contract, expected, actions[:0]), expected)
    both = future_state(env.contract, np.stack([rest_state, expected]), np.stack([actions, actions]))
    np.testing.assert_allclose(both[0], expected, atol=1e-6)


def test_fields_of_other_conventions_are_not_advanced():
    """Another frame, another convention: left unchanged.  Joint positions are those commanded last."""
    contract, actions = tabletop_contract(), np.full((3, 7), 0.1)
    state = np.arange(contract.state_dim, dtype=np.float32)
    elsewhere = tuple(replace(f, frame="tool") if f.frame else f for f in contract.action)
    assert (future_state(replace(contract, action=elsewhere), state, actions) == state).all()
    quaternion = tuple(replace(f, rotation="quaternion") if f.rotation else f for f in contract.state)
    rolled = future_state(replace(contract, state=quaternion), state, actions)
    place = contract.slices(contract.state)
    assert (rolled[place["ee_rotation"]] == state[place["ee_rotation"]]).all()
    np.testing.assert_allclose(rolled[place["ee_position"]] - state[place["ee_position"]], 0.3, rtol=1e-5)
    joints = tabletop_contract(control="joint_position")
    rolled = future_state(joints, state, np.arange(16.0).reshape(2, 8))
    np.testing.assert_array_equal(rolled[place["joint_position"]], np.arange(8.0, 15.0))


@pytest.mark.parametrize(("ms", "steps"), [(0, 0), (1, 1), (50, 1), (50.1, 2), (100, 2), (200, 4), (400, 8)])
def test_delays_are_rounded_up_to_control_steps(ms, steps):
    assert delay_steps(ms, 20.0) == steps


def test_wrong_modes_lengths_and_chunks_are_refused():
    for arguments in (("closed_loop", 16, 8), ("realtime", 16, 17), ("realtime", 16, 0)):
        with pytest.raises(OptionError):
            ChunkExecutor(*arguments)
    for wrong in (np.zeros((1, A)), np.zeros(T), np.full((T, A), np.nan)):  # one row of 16: 0 against 30 % success
        with pytest.raises(ContractError, match="does not fit the executor"):
            ChunkExecutor("open_loop", T, 3).add(wrong, 0)


def test_hold_is_no_motion():
    state = np.arange(17, dtype=np.float32)
    delta, joint = tabletop_contract(), tabletop_contract(control="joint_position")
    np.testing.assert_array_equal(hold(delta, state, None), [0] * 6 + [9])
    np.testing.assert_array_equal(hold(delta, state, np.full(7, 0.5)), [0] * 6 + [0.5])
    np.testing.assert_array_equal(hold(joint, state, None), [*range(10, 17), 9])
    np.testing.assert_array_equal(hold(joint, state, np.full(8, 0.5)), [0.5] * 8)


class Gated:
    """Returns a chunk each time that its gate is released."""

    def __init__(self) -> None:
        self.gate, self.started, self.instructions, self.observed = (
            threading.Semaphore(0),
            threading.Semaphore(0),
            [],
            [],
        )

    def reset(self, instruction):
        self.instructions.append(instruction)

    def act(self, observation, committed=None):
        self.observed.append(observation["n"])
        self.started.release()
        assert self.gate.acquire(timeout=20)
        if observation["n"] == "bad":
            raise ValueError("no such image")
        return chunk(float(observation["n"]))


def result_of(worker: InferenceWorker):
    for _ in range(2000):
        result = worker.poll()
        if result is not None:
            return result
        time.sleep(0.005)
    raise AssertionError("no result")


def test_worker_takes_the_newest_observation_and_never_blocks():
    policy = Gated()
    with InferenceWorker(policy, stalled_after=60) as worker:
        worker.reset("go")
        for n in range(4):
            worker.submit({"n": n}, step=n)
            if n == 0:
                assert policy.started.acquire(timeout=20)
        assert worker.poll() is None and worker.dropped == 2
        policy.gate.release(2)
        assert policy.started.acquire(timeout=20)
        result = result_of(worker)
        while result.step != 3:
            result = result_of(worker)
        assert policy.observed == [0, 3] and policy.instructions == ["go"] and result.chunk[0, 0] == 3
    assert not worker._thread.is_alive()


def test_worker_raises_exceptions_in_poll_and_continues():
    policy = Gated()
    policy.gate.release(2)
    with InferenceWorker(policy, stalled_after=60) as worker:
        worker.submit({"n": "bad"}, 0)
        with pytest.raises(ValueError, match="no such image"):
            result_of(worker)
        worker.submit({"n": 7}, 1)
        assert result_of(worker).step == 1


def test_worker_reports_a_policy_that_hangs_and_drops_the_episode_before():
    policy = Gated()
    with InferenceWorker(policy, stalled_after=0.05) as worker:
        worker.submit({"n": 1}, 0)
        assert policy.started.acquire(timeout=20)
        time.sleep(0.1)
        with pytest.raises(InferenceStalled, match="0.05 s"):
            worker.poll()
        assert not worker.close(timeout=0.01)
        policy.gate.release()
        assert worker.close(timeout=20)
    with InferenceWorker(policy, stalled_after=60) as worker:
        worker.submit({"n": 1}, 0)
        assert policy.started.acquire(timeout=20)
        worker.reset("another")  # during an inference of the episode before
        worker.submit({"n": 2}, 0)
        policy.gate.release(2)
        assert result_of(worker).chunk[0, 0] == 2


def test_runner_acts_without_waiting_for_the_policy():
    policy = Gated()
    with InferenceWorker(policy, stalled_after=60) as worker:
        runner = AsyncRunner(worker, ChunkExecutor("realtime", T, 3), control_hz=20)
        runner.reset("go")
        observed = []

        def observe():
            observed.append(1)
            return {"n": len(observed)}

        assert runner.step(0, observe) is None and runner.step(1, observe) is None and len(observed) == 1
        policy.gate.release()
        for _ in range(2000):
            action = runner.step(2, observe)
            if action is not None:
                break
            time.sleep(0.005)
        assert action[0] == 1 + 2 and runner.expected_delay == max(1, delay_steps(1000 * runner.seconds[0], 20))
        assert len(runner.seconds) == 1 and runner.late == 0
        assert runner.step(3, observe)[0] == 1 + 3 and len(observed) == 2  # the next observation, while rows are left
        policy.gate.release(2)
