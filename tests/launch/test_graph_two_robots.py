"""Two simulated robots side by side in one ROS domain, started as `vla-agent up` starts them: real processes."""

from __future__ import annotations

import os
import time

import pytest

rclpy = pytest.importorskip("rclpy")

from benchmarks.ros.ros_graph import DOMAIN, PATIENCE  # noqa: E402
from vla_agent.ros.process.graph_plan import Choices  # noqa: E402
from vla_agent.ros.process.graph_processes import Processes  # noqa: E402

ARMS = {"arm1": 0.4, "arm2": 0.2}  # namespace -> real-time factor: their clocks run apart
OTHERS = dict.fromkeys(ARMS, ("controller_node", "policy_node", "frames_node"))
OTHERS["arm2"] += ("safety_node",)  # a process less to wait for


def test_two_robots_on_one_host_have_their_own_states_clocks_and_stops(tmp_path, monkeypatch):
    from diagnostic_msgs.msg import DiagnosticArray
    from rclpy.executors import SingleThreadedExecutor
    from rosgraph_msgs.msg import Clock
    from sensor_msgs.msg import JointState
    from std_msgs.msg import Bool
    from std_srvs.srv import Trigger

    from vla_agent.ros.process.node_base import LATCHED

    monkeypatch.setitem(os.environ, "ROS_DOMAIN_ID", DOMAIN)
    monkeypatch.setitem(os.environ, "ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    graphs = {
        arm: Processes(
            "sim", {"real_time_factor": pace, "seed": k}, tmp_path / arm, OTHERS[arm], choices=Choices(namespace=arm)
        )
        for k, (arm, pace) in enumerate(ARMS.items())
    }
    rclpy.init(args=[])
    node, executor = rclpy.create_node("listener"), SingleThreadedExecutor()
    executor.add_node(node)
    heard: dict[tuple[str, str], list] = {}
    for arm in ("", *(f"/{arm}" for arm in ARMS)):
        for kind, topic, qos in (
            (JointState, "joint_states", 10),
            (Clock, "clock", 10),
            (Bool, "safety/stopped", LATCHED),
        ):
            kept = heard[arm, topic] = []
            node.create_subscription(kind, f"{arm}/{topic}", kept.append, qos)
    names: set[str] = set()
    node.create_subscription(
        DiagnosticArray, "/diagnostics", lambda m: names.update(status.name for status in m.status), 50
    )
    stop = node.create_client(Trigger, "/arm1/safety/estop")

    def wait(until) -> bool:
        deadline = time.monotonic() + PATIENCE
        while not until() and time.monotonic() < deadline and not any(g.ended() for g in graphs.values()):
            executor.spin_once(timeout_sec=0.05)
        return bool(until())

    def stopped() -> bool | None:
        kept = heard["/arm1", "safety/stopped"]
        return kept[-1].data if kept else None

    try:
        for graph in graphs.values():
            graph.start()
        assert wait(lambda: stopped() is False and all(len(heard[f"/{arm}", "joint_states"]) > 5 for arm in ARMS))
        assert wait(lambda: names == {"arm1/safety_node", "arm1/sim_robot_node", "arm2/sim_robot_node"}), names
        first, second = (heard[f"/{arm}", "joint_states"][-1].position for arm in ARMS)
        assert list(first)[:7] != list(second)[:7], "each has its own scene"
        assert wait(stop.service_is_ready)
        called = stop.call_async(Trigger.Request())
        assert wait(called.done) and wait(lambda: stopped() is True)
        count = len(heard["/arm2", "joint_states"])
        assert wait(lambda: len(heard["/arm2", "joint_states"]) > count + 5)
        assert not heard["", "joint_states"] and not heard["", "clock"] and not heard["", "safety/stopped"]
        for arm in ARMS:
            times = [m.clock.sec + 1e-9 * m.clock.nanosec for m in heard[f"/{arm}", "clock"]]
            assert times == sorted(times), "one clock for each robot"
    finally:
        codes = [code for graph in graphs.values() for code in graph.stop().values()]
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown()
    assert codes == [0] * 3
