"""Execution of chunks: which row is for which control step, each refusal alone, properties of blending and seams."""

from __future__ import annotations

import inspect
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from vla_agent.contract import Camera, Contract, Field
from vla_agent.errors import ContractError, OptionError
from vla_agent.policy.execution import MODES, ChunkExecutor, Committed, delay_steps, hold
from vla_agent.policy.execution.async_runner import AsyncRunner
from vla_agent.policy.execution.blending import adaptive_ensemble, newest, temporal_ensemble
from vla_agent.policy.execution.chunks import Chunks
from vla_agent.policy.execution.future_state import future_state
from vla_agent.policy.execution.inference_worker import InferenceResult, InferenceStalled, InferenceWorker
from vla_agent.policy.execution.realtime import commit
from vla_agent.policy.execution.seams import fade_in

T, A = 4, 2
QUICK = settings(derandomize=True, max_examples=50, deadline=None, database=None)
CONTRACT = Contract(
    (Camera("front", 1, 1),),
    (
        Field("ee_position", 3, "m", "base"),
        Field("ee_rotation", 6, "1", "base", rotation="matrix columns 1, 2"),
        Field("gripper", 1, "1"),
        Field("joint_position", 2, "rad"),
    ),
    (
        Field("ee_translation", 3, "m per period", "base"),
        Field("ee_rotation", 3, "rad per period", "base", rotation="rotation vector"),
        Field("gripper", 1, "1"),
    ),
    20.0,
    8,
)
JOINTS = replace(CONTRACT, action=(Field("joint_position", 2, "rad"), Field("lift", 1, "m"), Field("gripper", 1, "1")))


def chunk(start: float, rows: int = T) -> np.ndarray:
    """(rows, A): row i holds start + i."""
    return np.repeat(start + np.arange(rows, dtype=np.float32)[:, None], A, axis=1)


# Chunks


def test_each_row_is_for_its_own_control_step_and_no_other():
    chunks = Chunks()
    chunks.add(chunk(20), 2)
    chunks.add(chunk(0), 0)
    found = {step: [row[0] for row in chunks.rows(step)] for step in range(-1, 7)}
    assert found == {-1: [], 0: [0], 1: [1], 2: [2, 20], 3: [3, 21], 4: [22], 5: [23], 6: []}
    assert chunks.rows(0).dtype == np.float32


def test_a_chunk_is_forgotten_when_its_last_row_has_passed_and_not_before():
    chunks = Chunks()
    chunks.add(chunk(0), 0)
    chunks.forget(3)
    assert chunks.rows(3)[:, 0].tolist() == [3]
    chunks.add(chunk(0), -3)
    chunks.forget(4)
    assert chunks.ahead(0) is None and not chunks._chunks


def test_what_lies_ahead_is_the_newest_chunks_rest():
    chunks = Chunks()
    assert chunks.ahead(0) is None
    chunks.add(chunk(0), 0)
    chunks.add(chunk(20), 2)
    assert chunks.ahead(1) is None, "the newest chunk begins later"
    assert chunks.ahead(2)[:, 0].tolist() == [20, 21, 22, 23]
    assert chunks.ahead(5)[:, 0].tolist() == [23] and chunks.ahead(6) is None


# Executor


@pytest.mark.parametrize(("mode", "every"), [("open_loop", 3), ("realtime", 3), ("ensemble", 1), ("adaptive", 1)])
def test_when_to_observe_again(mode, every):
    executor = ChunkExecutor(mode, T, 3)
    assert MODES == ("open_loop", "ensemble", "adaptive", "realtime") and executor.every == every
    assert executor.due(0) and executor.due(7)
    executor.request(5, 0)
    assert not executor.due(5 + every), "one inference at a time"
    executor.add(chunk(0), 4)
    assert not executor.due(5 + every), "a chunk of another request"
    executor.add(chunk(0), 5)
    assert [executor.due(5 + k) for k in range(5)] == [k >= every for k in range(5)]
    executor.reset()
    assert executor.due(0) and executor.action(5) is None


@pytest.mark.parametrize("execute", [1, T])
def test_the_shortest_and_the_longest_execution_are_taken(execute):
    assert ChunkExecutor("open_loop", T, execute).every == execute


@pytest.mark.parametrize(
    ("mode", "execute"), [("open_loop", 0), ("open_loop", T + 1), ("closed_loop", 1), ("ensemble", 9)]
)
def test_wrong_settings_are_refused(mode, execute):
    with pytest.raises(OptionError) as caught:
        ChunkExecutor(mode, T, execute)
    assert caught.value.key == ("mode" if mode == "closed_loop" else "execute")


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((T - 1, A)), np.zeros((T + 1, A)), np.zeros(T), np.zeros((1, T, A)), np.diag([1, 1, 1, np.inf])],
    ids=["a row less", "a row more", "vector", "batch", "infinity"],
)
def test_each_wrong_chunk_is_refused_and_the_executor_still_waits(wrong):
    executor = ChunkExecutor("open_loop", T, 1)
    executor.request(0, 0)
    with pytest.raises(ContractError, match="does not fit the executor") as caught:
        executor.add(wrong, 0)
    assert caught.value.found.endswith("with NaN or infinity") == (not np.isfinite(wrong).all())
    assert executor.action(0) is None and not executor.due(9)
    executor.add(np.zeros((T, A)), 0)
    assert executor.action(0).tolist() == [0, 0]


def test_chunks_of_the_past_are_not_kept():
    executor = ChunkExecutor("ensemble", T, 1)
    for step in range(50):
        executor.add(chunk(step), step)
        executor.action(step)
    assert len(executor._chunks._chunks) == T


def test_only_real_time_chunking_commits():
    for mode in MODES:
        executor = ChunkExecutor(mode, T, 2)
        executor.add(chunk(0), 0)
        committed = executor.request(1, 2)
        assert (committed is not None) == (mode == "realtime")
    assert (committed.decided, committed.delay, committed.actions[:, 0].tolist()) == (3, 2, [1, 2, 3, 3])


@QUICK
@given(st.sampled_from(MODES), st.integers(1, T), st.lists(st.integers(0, 6), min_size=1, max_size=8))
def test_whatever_the_delays_an_action_is_of_its_own_step_or_none(mode, execute, delays):
    """Row i of every chunk holds the control step that it is for: any blend of rows of one step gives it back."""
    executor, arrivals, requests = ChunkExecutor(mode, T, execute), {}, 0
    for step in range(30):
        for at in [a for a in arrivals if a <= step]:
            executor.add(*arrivals.pop(at))
        if executor.due(step):
            delay = delays[requests % len(delays)]
            requests += 1
            executor.request(step, delay)
            arrivals[step + delay] = (chunk(step), step)
            if not delay:
                executor.add(*arrivals.pop(step))
        action = executor.action(step)
        assert action is None or action.tolist() == pytest.approx([step, step], rel=1e-6)
        assert action is not None or max(delays) > 0, "without delay there is always a row"


# Blending


def test_the_newest_row_alone_is_taken():
    assert newest(np.array([[1.0, 2.0], [3.0, 4.0]])).tolist() == [3.0, 4.0]


def test_older_rows_weigh_more_in_an_ensemble():
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], np.float32)
    weights = np.exp([0.0, -0.01, -0.02])
    blended = temporal_ensemble(rows)
    assert blended == pytest.approx(weights[:2] / weights.sum(), rel=1e-6) and blended.dtype == np.float32


def test_rows_unlike_the_newest_weigh_less():
    rows = np.array([[-3.0, 0.0], [0.0, 5.0], [2.0, 0.0]], np.float32)
    weights = np.exp([-0.1, 0.0, 0.1])
    blended = adaptive_ensemble(rows)
    assert blended == pytest.approx(weights @ rows / weights.sum(), rel=1e-5) and blended.dtype == np.float32
    still = adaptive_ensemble(np.array([[2.0, 0.0], [0.0, 0.0]], np.float32))
    assert still.tolist() == [1.0, 0.0], "nothing is like or unlike no motion"
    begins = adaptive_ensemble(np.array([[0.0, 0.0], [2.0, 0.0]], np.float32))
    assert begins[0] == pytest.approx(2 * np.exp(0.1) / (1 + np.exp(0.1)), rel=1e-6), (
        "a row of no motion is unlike none"
    )
    tiny = adaptive_ensemble(np.array([[-1e-4, 0.0], [2e-4, 0.0]], np.float32))
    weights = np.exp([-0.1, 0.1])
    assert tiny[0] == pytest.approx((weights @ [-1e-4, 2e-4]) / weights.sum(), rel=1e-4)


@QUICK
@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=1, max_size=5), st.sampled_from([0, 1]))
def test_a_blend_lies_between_its_rows(rows, which):
    array = np.array(rows, np.float32)
    blended = (temporal_ensemble, adaptive_ensemble)[which](array)
    assert (blended >= array.min(0) - 1e-4).all() and (blended <= array.max(0) + 1e-4).all()


# Real-time chunking


def test_what_is_committed():
    committed = commit(chunk(0, 5), 8, 2)
    assert (committed.decided, committed.delay) == (5, 2)
    assert committed.actions[:, 0].tolist() == [0, 1, 2, 3, 4, 4, 4, 4]
    assert committed.frozen[:, 0].tolist() == [0, 1] and committed.left[:, 0].tolist() == [2, 3, 4]
    assert commit(chunk(0, 5), 3, 1).actions[:, 0].tolist() == [0, 1, 2] and commit(chunk(0, 5), 3, 1).decided == 3
    assert commit(chunk(0, 2), 8, 6).delay == 2 and commit(None, 8, 2) is None


def test_a_seam_gives_back_what_it_takes():
    old, new = np.zeros((8, 7), np.float32), np.ones((8, 7), np.float32)
    faded = fade_in(CONTRACT, Committed(old, 8, 1), new)
    assert faded[:, 0] == pytest.approx([0, 1 / 3, 2 / 3, 1.25, 1.25, 1.25, 1.25, 1], rel=1e-6)
    assert faded[:, 6].tolist() == [0, 1, 1, 1, 1, 1, 1, 1], "the gripper closes when the policy says so"
    one = fade_in(CONTRACT, Committed(old, 2, 1), new)
    assert one[:, 0] == pytest.approx([0, 0.5, 1.125, 1.125, 1.125, 1.125, 1, 1], rel=1e-6)
    absolute = fade_in(JOINTS, Committed(np.zeros((8, 4), np.float32), 8, 1), np.ones((8, 4), np.float32))
    assert absolute[:, 1] == pytest.approx([0, 1 / 3, 2 / 3, 1, 1, 1, 1, 1], rel=1e-6), "an angle is not made good"
    assert absolute[:, 2] == pytest.approx(absolute[:, 1]) and absolute[:, 3].tolist() == [0] + [1] * 7
    assert (new == 1).all() and faded.dtype == np.float32


@QUICK
@given(st.integers(0, 8), st.integers(0, 8), st.integers(0, 99))
def test_a_seam_leads_to_the_same_place_and_touches_few_rows(decided, delay, seed):
    rng = np.random.default_rng(seed)
    old, new = (rng.normal(size=(12, 7)).astype(np.float32) for _ in range(2))
    delay = min(delay, decided)
    chunk_ = fade_in(CONTRACT, Committed(old, decided, delay), new)
    assert chunk_.shape == new.shape and (chunk_[:delay] == old[:delay]).all()
    if delay <= 12 - 6:  # the whole seam lies within the chunk
        np.testing.assert_allclose(chunk_[delay:, :6].sum(0), new[: 12 - delay, :6].sum(0), atol=1e-4)
    left = min(decided - delay, 2)
    assert (
        (chunk_[delay + left + 4 :] == new[left + 4 : 12 - delay]).all()
        if left
        else (chunk_[delay:] == new[: 12 - delay]).all()
    )


@pytest.mark.parametrize(("ms", "hz", "steps"), [(0, 20, 0), (50, 20, 1), (50.001, 20, 2), (100, 10, 1), (101, 10, 2)])
def test_a_delay_in_control_steps(ms, hz, steps):
    assert delay_steps(ms, hz) == steps


@pytest.mark.parametrize("hz", [7.0, 30.0, 3.0])
def test_whole_periods_are_not_rounded_up_twice(hz):
    assert [delay_steps(k * 1000 / hz, hz) for k in range(40)] == list(range(40))


def test_holding_moves_nothing():
    state = np.arange(12, dtype=np.float32)
    assert hold(CONTRACT, state, None).tolist() == [0, 0, 0, 0, 0, 0, 9]
    assert hold(CONTRACT, state, np.full(7, 5.0)).tolist() == [0, 0, 0, 0, 0, 0, 5]
    assert hold(JOINTS, state, None).tolist() == [10, 11, 0, 9], "without a state of that name: 0"
    assert hold(JOINTS, state, np.full(4, 5.0)).tolist() == [5, 5, 5, 5]
    assert hold(JOINTS, state, None).dtype == np.float32


# The state to come


def test_motions_are_summed_and_rotations_composed_in_the_base_frame():
    start = Rotation.from_rotvec([0.3, -0.2, 0.5])
    turns = Rotation.from_rotvec([[0.0, 0.0, np.pi / 2], [np.pi / 2, 0.0, 0.0]])
    state = np.zeros(12, np.float32)
    state[3:9] = start.as_matrix()[:, :2].T.ravel()
    actions = np.zeros((2, 7), np.float32)
    actions[:, :3], actions[:, 3:6], actions[:, 6] = [[0.01, 0, 0], [0.02, 0.03, 0]], turns.as_rotvec(), 1.0
    later = future_state(CONTRACT, state, actions)
    expected = (turns[1] * turns[0] * start).as_matrix()[:, :2].T.ravel()
    assert later[:3] == pytest.approx([0.03, 0.03, 0], abs=1e-6) and later[3:9] == pytest.approx(expected, abs=1e-6)
    assert later[9:].tolist() == [0, 0, 0] and state[:3].tolist() == [0, 0, 0]
    both = future_state(CONTRACT, np.stack([state, later]), np.stack([actions, actions]))
    assert both[0] == pytest.approx(later, abs=1e-6) and both[1, :3] == pytest.approx([0.06, 0.06, 0], abs=1e-6)
    assert np.array_equal(future_state(CONTRACT, state, actions[:0]), state)


def test_joint_positions_become_the_last_commanded():
    state = np.zeros(12, np.float32)
    actions = np.array([[1, 2, 3, 4], [9, 9, 9, 9], [5, 6, 7, 8]], np.float32)
    later = future_state(JOINTS, state, actions)
    assert np.array_equal(future_state(JOINTS, later, actions[:0]), later)
    assert later.tolist() == [0] * 10 + [5, 6]
    degrees = replace(JOINTS, action=(Field("joint_position", 2, "deg"), *JOINTS.action[1:]))
    assert not future_state(degrees, state, np.ones((2, 4), np.float32)).any()


@pytest.mark.parametrize(
    ("part", "name", "values", "moved"),
    [
        ("state", "ee_position", {"unit": "mm"}, [False, True]),
        ("state", "ee_position", {"frame": "tool"}, [False, True]),
        ("action", "ee_translation", {"frame": "tool"}, [False, True]),
        ("state", "ee_rotation", {"rotation": "quaternion"}, [True, False]),
        ("action", "ee_rotation", {"rotation": "euler"}, [True, False]),
    ],
)
def test_fields_of_another_convention_stay_as_they_are(part, name, values, moved):
    fields = tuple(replace(f, **values) if f.name == name else f for f in getattr(CONTRACT, part))
    state = np.zeros(12, np.float32)
    state[3:9] = [1, 0, 0, 0, 1, 0]
    later = future_state(replace(CONTRACT, **{part: fields}), state, np.full((1, 7), 0.1, np.float32))
    assert [bool((later[place] != state[place]).any()) for place in (slice(0, 3), slice(3, 9))] == moved


# Inference in its own thread


class Gated:
    """Answers one observation for each release of its gate."""

    def __init__(self) -> None:
        self.gate, self.started = threading.Semaphore(0), threading.Semaphore(0)
        self.resets: list[tuple[str, dict]] = []
        self.committed: list = []

    def reset(self, instruction, **options):
        self.resets.append((instruction, options))

    def act(self, observation, **more):
        self.committed.append(more)
        self.started.release()
        assert self.gate.acquire(timeout=20)
        if isinstance(observation, Exception):
            raise observation
        return chunk(observation)


@pytest.fixture
def worker():
    policy = Gated()
    made = InferenceWorker(policy, stalled_after=60)
    yield policy, made
    policy.gate.release(99)
    assert made.close(timeout=20)


def until(call, seconds: float = 20.0):
    """The first true value of ``call()``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = call()
        if found:
            return found
        time.sleep(0.001)
    raise AssertionError("nothing came")


def test_a_result_comes_once_with_its_step_and_duration(worker):
    policy, made = worker
    assert made.poll() is None and made.age == 0.0
    made.reset("go", seed=3)
    made.submit(5.0, 7)
    assert policy.started.acquire(timeout=20)
    began = time.monotonic()
    until(lambda: made.age > 0.02)
    policy.gate.release()
    result = until(made.poll)
    assert result.step == 7 and result.chunk[0, 0] == 5.0
    assert 0.01 < result.seconds <= time.monotonic() - began + 0.5
    assert made.poll() is None and until(lambda: made.age == 0.0)
    assert policy.resets == [("go", {"seed": 3})] and policy.committed == [{}] and made.dropped == 0


def test_committed_actions_are_handed_on(worker):
    policy, made = worker
    committed = Committed(chunk(0), 1, 1)
    policy.gate.release()
    made.submit(0.0, 0, committed)
    until(made.poll)
    assert policy.committed == [{"committed": committed}]


def test_the_newest_observation_waits_and_the_ones_before_are_counted(worker):
    policy, made = worker
    made.submit(1.0, 1)
    assert policy.started.acquire(timeout=20)
    for step in (2, 3, 4):
        made.submit(float(step), step)
    assert made.dropped == 2
    policy.gate.release()
    assert until(made.poll).step == 1
    policy.gate.release()
    assert until(made.poll).step == 4 and made.dropped == 2


def test_the_newest_result_waits_until_it_is_asked_for(worker):
    policy, made = worker
    for step in (1, 2):
        made.submit(float(step), step)
        assert policy.started.acquire(timeout=20)
        policy.gate.release()
        until(lambda: made.age == 0.0)
    assert made.poll().step == 2 and made.poll() is None


def test_a_reset_discards_what_was_before(worker):
    policy, made = worker
    made.submit(1.0, 1)
    assert policy.started.acquire(timeout=20)
    policy.gate.release()
    until(lambda: made.age == 0.0)
    made.reset("a result was waiting")
    assert made.poll() is None
    made.submit(2.0, 2)
    assert policy.started.acquire(timeout=20)
    made.submit(3.0, 3)
    made.reset("one observation ran, one was waiting")
    policy.gate.release()
    until(lambda: len(policy.resets) == 2 and made.age == 0.0)
    assert made.poll() is None and len(policy.committed) == 2
    made.submit(4.0, 4)
    policy.gate.release()
    assert until(made.poll).step == 4
    assert [name for name, _ in policy.resets] == ["a result was waiting", "one observation ran, one was waiting"]


def test_an_error_is_raised_once_and_discarded_by_a_reset(worker):
    policy, made = worker
    policy.gate.release(2)
    made.submit(ValueError("broken"), 0)
    with pytest.raises(ValueError, match="broken"):
        until(made.poll)
    assert made.poll() is None
    made.submit(KeyError("again"), 0)
    assert policy.started.acquire(timeout=20) and policy.started.acquire(timeout=20)
    until(lambda: made.age == 0.0)
    made.reset("go")
    assert made.poll() is None


def test_a_policy_that_hangs_is_reported_only_after_its_time():
    policy = Gated()
    made = InferenceWorker(policy, stalled_after=0.05)
    made.submit(1.0, 0)
    assert policy.started.acquire(timeout=20)
    until(lambda: made.age > 0.06)
    with pytest.raises(InferenceStalled, match="0.05 s"):
        made.poll()
    assert made.close(timeout=0.01) is False
    policy.gate.release()
    assert made.close(timeout=20) is True
    slow = InferenceWorker(policy)
    slow.submit(1.0, 0)
    assert policy.started.acquire(timeout=20)
    until(lambda: slow.age > 0.06)
    assert slow.poll() is None, "two seconds are allowed where nothing else is said"
    assert inspect.signature(InferenceWorker).parameters["stalled_after"].default == 2.0
    policy.gate.release()
    with slow:
        assert until(slow.poll).step == 0
    assert not slow._thread.is_alive() and slow._thread.daemon


# Executor and worker together


class Answers:
    """A worker that gives the results that it is told to."""

    def __init__(self) -> None:
        self.result: InferenceResult | None = None
        self.submitted: list = []
        self.resets: list = []

    def reset(self, instruction, **options):
        self.resets.append((instruction, options))

    def submit(self, observation, step, committed=None):
        self.submitted.append((observation, step, committed))

    def poll(self):
        result, self.result = self.result, None
        return result


def test_the_expected_delay_is_the_longest_of_the_last_ten():
    answers = Answers()
    runner = AsyncRunner(answers, ChunkExecutor("realtime", T, 2), control_hz=20.0)
    assert runner.expected_delay == 1, "before the first"
    expected = []
    for step, seconds in enumerate([0.2, *([0.1001] * 10), 0.01]):
        answers.result = InferenceResult(chunk(0), step, seconds)
        runner.step(step, lambda: {})
        expected.append(runner.expected_delay)
    assert expected == [4] * 10 + [3, 3]
    for step in range(100, 110):
        answers.result = InferenceResult(chunk(0), step, 0.0)
        runner.step(step, lambda: {})
    assert runner.expected_delay == 1 and len(runner.seconds) == 22
    for step in range(200):
        answers.result = InferenceResult(chunk(0), step, 0.0)
        runner.step(step, lambda: {})
    assert len(runner.seconds) == 200


def test_a_chunk_is_late_when_none_of_its_rows_is_left():
    answers = Answers()
    runner = AsyncRunner(answers, ChunkExecutor("open_loop", T, 1), control_hz=20.0)
    for after, late in ((T - 1, 0), (T, 1), (T + 5, 2)):
        answers.result = InferenceResult(chunk(0), 20, 0.0)
        action = runner.step(20 + after, lambda: {})
        assert runner.late == late and (action is None) == (after >= T)


def test_an_observation_is_made_only_when_an_inference_starts():
    answers = Answers()
    runner = AsyncRunner(answers, ChunkExecutor("realtime", T, 2), control_hz=20.0)
    runner.reset("go", seed=1)
    assert answers.resets == [("go", {"seed": 1})]
    seen = []

    def observe():
        seen.append(1)
        return {"n": len(seen)}

    assert [runner.step(k, observe) for k in range(3)] == [None] * 3
    assert answers.submitted == [({"n": 1}, 0, None)]
    answers.result = InferenceResult(chunk(0), 0, 0.06)
    assert runner.step(3, observe).tolist() == [3, 3]
    observation, step, committed = answers.submitted[1]
    assert (observation, step) == ({"n": 2}, 3) and (committed.decided, committed.delay) == (1, 1)
    runner.reset("again")
    assert runner.step(0, observe) is None and len(answers.submitted) == 3, "the executor was reset, too"
