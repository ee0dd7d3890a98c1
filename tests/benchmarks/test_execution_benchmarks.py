"""What the execution benchmarks compute, on made-up episodes: jerk at seams, the ratio with its interval, the plot."""

import numpy as np
import pytest

from benchmarks.policy import delay_plot, policy_contract_faults, policy_delay, policy_seams
from vla_agent.contract.tabletop import tabletop_contract


def test_jerk_is_found_at_the_seam_alone():
    actions = np.zeros((30, 7), np.float32)
    actions[4:] = 0.01  # the arm holds until the first chunk comes
    actions[12:] = 0.02  # the second chunk jumps
    actions[:, 6] = np.arange(30) % 2  # the gripper is left out
    across, seams, inside, rest = policy_seams.jerk_sums(actions, np.array([0, 8, 16]), delay=4)
    assert seams == 6 and rest == 30 - 4 - 3 - 6 and across > 0 and inside == 0
    assert policy_seams.roots(np.array([4.0, 1, 1.0, 1])) == (2.0, 1.0, 2.0)
    assert policy_seams.roots(np.array([4.0, 1, 0.0, 0])) == (2.0, None, None)
    assert policy_seams.jerk_sums(actions[:6], np.array([0]), delay=4) == (0.0, 0, 0.0, 0)


def test_smooth_motion_across_seams_gives_a_ratio_of_one():
    actions = np.repeat(np.sin(np.arange(4000) / 7)[:, None] * 0.01, 7, axis=1)
    sums = np.array(policy_seams.jerk_sums(actions, np.arange(0, 4000, 8), delay=2))
    assert policy_seams.roots(sums)[2] == pytest.approx(1.0, abs=0.02)


def test_ratio_of_successes_with_its_interval():
    pairs = np.array([[1.0, 1.0]] * 30 + [[0.0, 1.0]] * 10 + [[0.0, 0.0]] * 10)
    value, (low, high) = policy_delay.ratio(pairs)
    assert value == pytest.approx(0.75) and low < 0.75 < high <= 1
    assert policy_delay.ratio(np.zeros((5, 2))) == (None, None)


def test_plot_is_written(tmp_path):
    row = {"k": 5, "n": 10, "success": 0.5, "low": 0.2, "high": 0.8}
    rows = [row | {"mode": m, "delay_ms": d} for m in ("open_loop", "realtime") for d in (0, 200)]
    delay_plot.draw({"rows": rows}, tmp_path / "docs" / "delay.png")
    assert [p.name for p in (tmp_path / "docs").iterdir()] == ["delay.png"]


def test_altered_contracts_differ_exactly_where_they_were_altered():
    contract, rng = tabletop_contract(), np.random.default_rng(1)
    for _ in range(200):
        altered, keys = policy_contract_faults.alter(contract, rng)
        assert keys and {d.key for d in altered.differences(contract)} == keys
