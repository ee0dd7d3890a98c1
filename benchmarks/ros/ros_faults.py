"""Faults in the running graph: each must lead to a hold within two control periods that lasts until the reset.

The policy is scripted (`ros_policy.Swing`): it keeps the arm moving, and fails on command.
"""

from __future__ import annotations

import math
import os
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.ros import ros_network
from benchmarks.ros.ros_graph import PACE, Graph, stop_delay, stop_lasts
from benchmarks.ros.ros_policy import FAULTS as POLICY_FAULTS
from benchmarks.ros.ros_policy import Swing
from vla_agent.evaluation.success_statistics import wilson
from vla_agent.ros.runtime.sim_robot import FAULTS

NAME = "ros-faults"
TITLE = "injected faults after which the robot is told to hold within 2 control periods, until the reset"
TARGET = 1.0
UNIT = "share"
BETTER = "higher"
TIMES = int(os.environ.get("VLA_AGENT_FAULTS", "20"))  # of each fault
PERIODS = 2.0
LATE = 30  # control periods that a late answer takes: more than the chunk and the patience of the policy node
SENSORS = tuple(fault for fault in FAULTS if fault != "none")
KILLED = ("policy_node", "controller_node")
FLOOD = 500  # instructions, each another


def run() -> dict[str, Any]:
    policy = Swing(late=LATE / 20 / PACE)
    rows = []
    with (
        tempfile.TemporaryDirectory() as folder,
        policy.served() as server,
        Graph(Path(folder), policy=server.url, real_time_factor=PACE) as graph,
    ):
        for fault, inject in cases(policy).items():
            rows.append(row(fault, [inject(graph) for _ in range(TIMES)]))
            print(rows[-1], flush=True)
    notes = ""
    if ros_network.possible():
        rows.append(row("network cut", ros_network.in_own_network(TIMES)))
    else:
        notes = "; NETWORK CUT NOT TRIED: no network namespaces here"
    n = sum(r["n"] for r in rows)
    held = sum(r["held in time"] for r in rows)
    return {
        "value": held / n,
        "n": n,
        "interval": list(wilson(held, n)),
        "seeds": "0",
        "rows": rows,
        "passed": held == n and not notes,
        "notes": f"scripted policy, simulation at {PACE} of real time; a period is counted from the first faulty "
        "message, the signal, the cut, or the first control step for which the policy has no usable action; "
        f"safety_node killed: nothing may reach the robot{notes}",
    }


def cases(policy: Swing) -> dict[str, Callable[[Graph], float]]:
    """Fault -> injects it into a running graph and clears it: control periods to the hold, see `row`."""
    found: dict[str, Callable[[Graph], float]] = {fault: partial(_sensor, fault=fault) for fault in SENSORS}
    found |= {f"policy {fault}": partial(_policy, policy=policy, fault=fault) for fault in POLICY_FAULTS}
    found |= {"instruction flood": _flood, "e-stop": _estop}
    found |= {f"{name} killed": partial(_kill, name=name) for name in KILLED}
    return found | {"safety_node killed": _kill_safety}


def row(fault: str, delays: list[float]) -> dict[str, Any]:
    """One line of the table; ``delays`` in control periods, infinite where the hold did not come or did not last."""
    finite = [d for d in delays if math.isfinite(d)]
    return {
        "fault": fault,
        "n": len(delays),
        "held": len(finite),
        "held in time": sum(d <= PERIODS for d in finite),
        "slowest, periods": max(finite, default=math.nan) if finite else "none",
    }


def _sensor(graph: Graph, fault: str) -> float:
    graph.require_motion()
    period, jumped = graph.robot.period, graph.jumped_to
    sent = math.floor(round(graph.time / period, 6))  # the period whose messages are on their way, right ones
    graph.set("sim_robot_node", "fault", fault)
    # a frozen camera repeats its last image only after having sent it once
    began = (sent + 1 + (fault == "camera_frozen")) * period
    if fault == "clock_jump":  # counted by the clock that jumps
        graph.wait(lambda: graph.jumped_to != jumped, 100 * period / PACE)
        began = graph.jumped_to
    delay = stop_delay(graph, began)
    graph.set("sim_robot_node", "fault", "none")
    return delay


def _policy(graph: Graph, policy: Swing, fault: str) -> float:
    """From the control step after the last usable action to the first hold, which a latched stop must follow."""
    graph.require_motion()
    policy.fault = fault
    graph.wait(lambda: graph.stopped is True, 60 * graph.robot.period / PACE + 5)
    policy.clear_fault()
    if not graph.stopped:
        return math.inf
    usable = [k for k, acted in enumerate(graph.acted) if acted.action[:6].any()]
    holds = [acted.time for acted in graph.acted[usable[-1] + 1 :]]
    delay = (min([*holds, graph.stopped_at]) - graph.acted[usable[-1]].stamp) / graph.robot.period - 1
    return max(0.0, delay) if stop_lasts(graph) else math.inf


def _flood(graph: Graph) -> float:
    from std_msgs.msg import String

    graph.require_motion()
    began = graph.time
    flood = threading.Thread(target=_say, args=(graph, [String(data=f"task {k}") for k in range(FLOOD)]))
    flood.start()
    delay = stop_delay(graph, began)
    flood.join()
    return delay


def _say(graph: Graph, texts: list[Any]) -> None:
    for text in texts:
        graph.instruction.publish(text)
        time.sleep(0.001)


def _estop(graph: Graph) -> float:
    graph.require_motion()
    began = graph.time
    graph.call("safety/estop")
    return stop_delay(graph, began)


def _kill(graph: Graph, name: str) -> float:
    graph.require_motion()
    began = graph.time
    graph.processes.kill(name)
    delay = stop_delay(graph, began)
    graph.processes.start_again(name)
    return delay


def _kill_safety(graph: Graph) -> float:
    """0 where nothing reaches the robot after the kill."""
    graph.require_motion()
    graph.processes.kill("safety_node")
    graph.pause(1)
    count = len(graph.targets)
    graph.pause(10)
    silent = len(graph.targets) == count
    graph.processes.start_again("safety_node")
    return 0.0 if silent else math.inf
