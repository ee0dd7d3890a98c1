"""Faults in the running graph: each has to lead to a hold within two control periods, which lasts until the reset."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.ros_graph import PACE, Graph
from vla_agent.runtime.sim_robot import FAULTS

NAME = "ros-faults"
TITLE = "injected faults after which the robot is told to hold within 2 control periods, until the reset"
TARGET = 1.0
UNIT = "share"
BETTER = "higher"
TIMES = 20
PERIODS = 2.0
SENSORS = tuple(fault for fault in FAULTS if fault != "none")
KILLED = ("policy_node", "controller_node")


def run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, Graph(Path(folder), real_time_factor=PACE) as graph:
        if not graph.wait(lambda: graph.stopped is False and graph.actions > 5):
            raise RuntimeError(graph.processes.ended())
        rows = [row(fault, [_sensor(graph, fault) for _ in range(TIMES)]) for fault in SENSORS]
        rows.append(row("e-stop", [_estop(graph) for _ in range(TIMES)]))
        rows += [row(f"{name} killed", [_kill(graph, name) for _ in range(TIMES)]) for name in KILLED]
        rows.append(row("safety_node killed", [_kill_safety(graph) for _ in range(TIMES)]))
    n = sum(r["n"] for r in rows)
    held = sum(r["held in time"] for r in rows)
    return {
        "value": held / n,
        "n": n,
        "interval": wilson(held, n),
        "seeds": "0",
        "rows": rows,
        "notes": f"simulation at {PACE} of real time; a period is counted from the first faulty message or the signal; "
        "safety_node killed: nothing may reach the robot",
    }


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


def wilson(k: int, n: int, z: float = 1.96) -> list[float]:
    """95 % interval of a share (Wilson 1927)."""
    centre = (k + z * z / 2) / (n + z * z)
    half = z * math.sqrt(k * (n - k) / n + z * z / 4) / (n + z * z)
    return [max(0.0, centre - half), min(1.0, centre + half)]


def _moving(graph: Graph) -> None:
    """Until actions go to the robot again."""
    before = len(graph.targets)
    if not graph.wait(lambda: not graph.stopped and len(graph.targets) > before + 5):
        raise RuntimeError(f"the graph does not move: {graph.processes.ended()}")


def _delay(graph: Graph, began: float) -> float:
    """Control periods from ``began`` (s) to the stop; infinite where there is none, or it does not last."""
    period = graph.robot.period
    if not graph.wait(lambda: graph.stopped is True or graph.time > began + 20 * period) or not graph.stopped:
        return math.inf
    delay = (graph.stopped_at - began) / period
    graph.pause(10)
    return delay if graph.stopped and graph.rests() else math.inf


def _sensor(graph: Graph, fault: str) -> float:
    _moving(graph)
    period = graph.robot.period
    graph.set("sim_robot_node", "fault", fault)
    delay = _delay(graph, math.ceil(graph.time / period) * period)
    graph.set("sim_robot_node", "fault", "none")
    _again(graph)
    return delay


def _estop(graph: Graph) -> float:
    _moving(graph)
    began = graph.time
    graph.call("safety/estop")
    delay = _delay(graph, began)
    _again(graph)
    return delay


def _kill(graph: Graph, name: str) -> float:
    _moving(graph)
    began = graph.time
    graph.processes.kill(name)
    delay = _delay(graph, began)
    graph.processes.start_again(name)
    _again(graph)
    return delay


def _kill_safety(graph: Graph) -> float:
    """0 where nothing reaches the robot after the kill."""
    _moving(graph)
    graph.processes.kill("safety_node")
    graph.pause(1)
    count = len(graph.targets)
    graph.pause(10)
    silent = len(graph.targets) == count
    graph.processes.start_again("safety_node")
    _again(graph)
    return 0.0 if silent else math.inf


def _again(graph: Graph) -> None:
    """A new episode, so that the arm has work to do."""
    graph.episode(int(graph.time * 20) % 1000)
