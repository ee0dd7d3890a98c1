"""What the ROS benchmarks count, without a running graph: one that counts wrong proves nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("websockets")

from benchmarks.ros import ros_faults, ros_jitter, ros_latency, ros_soak
from benchmarks.ros.machine_wakeups import late_wakeups  # noqa: E402
from benchmarks.ros.ros_policy import FAULTS, SPAN, Swing  # noqa: E402
from benchmarks.ros.ros_quantiles import quantile_rows  # noqa: E402
from vla_agent.contract.blank_observation import blank_observation  # noqa: E402
from vla_agent.contract.tabletop import tabletop_contract  # noqa: E402

T = 0.05


def test_latency_is_counted_from_the_picture_that_the_step_waited_for():
    shown = [(1.0 + k / 30, 100.0 + k / 30) for k in range(7)]  # stamps, and when they went out
    actions = [(1.0, 100.004), (1.05, 100.0707), (1.10, 100.104)]  # the second step waits for the third picture
    arrivals = [100.010, 100.0767, 100.110]
    assert ros_latency.latencies(actions, arrivals, shown, T) == pytest.approx([0.010, 0.010, 0.010], abs=1e-3)
    late = [100.010, 100.0767 + 0.02, 100.110 + 0.02]
    assert ros_latency.latencies(actions, late, shown, T)[1:] == pytest.approx([0.030, 0.030], abs=1e-3)


def test_a_command_that_is_lost_makes_the_latency_longer_not_shorter():
    shown = [(1.0 + k * T, 100.0 + k * T) for k in range(4)]
    actions = [(stamp, at + 0.004) for stamp, at in shown]
    assert ros_latency.latencies(actions, [100.008, 100.108, 100.158], shown, T).max() > T


def test_missing_control_steps_are_counted():
    assert ros_jitter.missing([1.0, 1.05, 1.1], T) == 0
    assert ros_jitter.missing([1.0, 1.10, 1.15, 1.30], T) == 3


def test_growth_is_between_settled_and_last_not_from_the_start():
    loading = np.concatenate([np.linspace(100, 200, 30), np.full(90, 200.0)])
    assert ros_soak.growth("policy_node", loading)["growth, %"] == 0
    leaking = 200 * (1 + np.arange(120) / 1000)
    assert ros_soak.growth("policy_node", leaking)["growth, %"] > 5


def test_a_fault_without_a_hold_counts_as_not_held():
    line = ros_faults.row("camera_stop", [0.5, 1.9, 2.1, math.inf])
    assert (line["n"], line["held"], line["held in time"], line["slowest, periods"]) == (4, 3, 2, 2.1)
    assert ros_faults.row("camera_stop", [math.inf])["held"] == 0


def test_every_fault_of_the_table_is_injected():
    cases = ros_faults.cases(Swing())
    sensors = {
        "camera_stop",
        "camera_frozen",
        "camera_size",
        "camera_encoding",
        "joints_stop",
        "joints_jump",
        "joints_nan",
        "gripper_force",
    }
    killed = {"policy_node killed", "controller_node killed", "safety_node killed"}
    others = {"clock_jump", "instruction flood", "e-stop"}
    assert set(cases) == sensors | killed | others | {f"policy {fault}" for fault in FAULTS}


def test_the_scripted_policy_turns_round_and_goes_wrong_when_told():
    policy = Swing()
    policy.contract.check_chunk(policy.act(at(0.0)))
    assert policy.act(at(SPAN + 0.01))[0, 1] < 0 < policy.act(at(-SPAN - 0.01))[0, 1]
    policy.fault = "nan"
    assert np.isnan(policy.act(at(0.0))).all()
    policy.fault = "raises"
    with pytest.raises(ValueError):
        policy.act(at(0.0))
    policy.clear_fault()
    assert np.isfinite(policy.act(at(0.0))).all()


def at(y: float) -> dict[str, np.ndarray]:
    state = blank_observation(tabletop_contract())["state"]
    state[1] = y
    return {"state": state}


def test_the_machines_own_wake_ups_are_a_column_beside_what_is_measured():
    late = late_wakeups(0.2)
    assert len(late) and (late > -1).all()
    rows = quantile_rows(np.array([1.0, 3.0]), machine=np.array([2.0, 4.0]))
    assert rows[-1] == {"quantile": 1.0, "ms": 3.0, "machine, ms": 4.0}
