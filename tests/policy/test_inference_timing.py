"""How long an inference takes here: the percentile of a run, early ends of slow runs, the best of three."""

from __future__ import annotations

import os
from types import SimpleNamespace

import numpy as np
import pytest

from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.errors import NodeError
from vla_agent.policy import inference_timing
from vla_agent.policy.inference_timing import COUNT, RUNS, TOO_SLOW, WARM_UP, best_p99_ms, inference_times, p99_ms


class Paced:
    """A policy whose inferences take these milliseconds by the clock of the module; the last one for ever."""

    def __init__(self, monkeypatch, *milliseconds: float) -> None:
        self.contract, self.left, self.now, self.acted, self.slept = tabletop_contract(), list(milliseconds), 0.0, 0, []
        clock = SimpleNamespace(perf_counter=lambda: self.now, sleep=self.slept.append)
        monkeypatch.setattr(inference_timing, "time", clock)

    def reset(self, instruction: str) -> None:
        self.acted = 0

    def act(self, observation) -> None:
        self.acted += 1
        warm = self.acted <= WARM_UP
        self.now += (999.0 if warm else self.left.pop(0) if len(self.left) > 1 else self.left[0]) / 1000


def test_the_warm_up_does_not_count_and_all_others_do(monkeypatch):
    policy = Paced(monkeypatch, 5.0, 10.0)
    assert inference_times(policy, {}, "x") == pytest.approx([5.0] + [10.0] * (COUNT - 1))
    assert p99_ms(Paced(monkeypatch, *range(1, 61))) == pytest.approx(np.quantile(range(1, 61), 0.99))


def test_a_run_ends_with_the_second_inference_that_is_too_slow(monkeypatch):
    """Two of them put the percentile over the limit, whatever follows; one does not."""
    policy = Paced(monkeypatch, 5.0, 10.1, 5.0, 10.2, 5.0)
    assert p99_ms(policy, enough=10.0) > 10.0 and policy.acted == WARM_UP + 4
    assert np.quantile([5.0] * (COUNT - TOO_SLOW) + [10.1, 10.2], 0.99) > 10.0
    policy = Paced(monkeypatch, 5.0, 10.1, 5.0)
    assert p99_ms(policy, enough=10.0) < 10.0 and policy.acted == WARM_UP + COUNT
    policy = Paced(monkeypatch, 10.0)
    assert p99_ms(policy, enough=10.0) == pytest.approx(10.0)


def test_the_first_run_within_the_limit_counts_and_else_the_best(monkeypatch):
    policy = Paced(monkeypatch, 20.0, 20.0, 5.0)
    assert best_p99_ms(policy, 10.0, pause=0.5) == pytest.approx(5.0) and policy.slept == [0.5]
    policy = Paced(monkeypatch, 20.0, 20.0, 11.0, 11.0, 15.0, 15.0)
    assert best_p99_ms(policy, 10.0) == pytest.approx(11.0) and len(policy.slept) == RUNS - 1


@pytest.mark.parametrize(
    "plant",
    [
        lambda lock, other: lock.symlink_to(other),
        lambda lock, other: lock.symlink_to(other.with_name("made")),
        lambda lock, other: os.mkfifo(lock),
        lambda lock, other: lock.mkdir(),
    ],
)
def test_what_others_put_in_the_lock_s_place_is_left_alone(monkeypatch, tmp_path, plant):
    other = tmp_path / "other"
    other.write_text("kept")
    monkeypatch.setattr(inference_timing.tempfile, "gettempdir", lambda: str(tmp_path))
    plant(tmp_path / f"vla-agent-trial-{os.getuid()}.lock", other)
    with pytest.raises(NodeError) as error:
        inference_times(Paced(monkeypatch, 5.0), {}, "x")
    assert error.value.key == "lock"
    assert other.read_text() == "kept" and not (tmp_path / "made").exists()


def test_a_lock_of_another_user_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(inference_timing.tempfile, "gettempdir", lambda: str(tmp_path))
    inference_times(Paced(monkeypatch, 5.0), {}, "x")
    (lock,) = tmp_path.iterdir()
    assert lock.stat().st_mode & 0o777 == 0o600
    inference_times(Paced(monkeypatch, 5.0), {}, "x")
    own = os.getuid()
    monkeypatch.setattr(inference_timing.os, "getuid", lambda: own + 1)
    lock.rename(tmp_path / f"vla-agent-trial-{own + 1}.lock")
    with pytest.raises(NodeError, match="own file"):
        inference_times(Paced(monkeypatch, 5.0), {}, "x")
