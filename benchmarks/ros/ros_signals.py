"""SIGINT and SIGTERM at random times: the robot must hold, and the exit code must be 0."""

from __future__ import annotations

import signal
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ros.ros_graph import PACE, PATIENCE, Graph
from vla_agent.evaluation.success_statistics import wilson
from vla_agent.ros.process.start import ENDING

NAME = "ros-signals"
TITLE = "SIGINT or SIGTERM at a random time after which the robot holds and the node's exit code is 0"
TARGET = 1.0
UNIT = "share"
BETTER = "higher"
TIMES = 4  # for each signal and each case
CASES = ("safety_node", "controller_node", "policy_node", "safety_node starting")
STARTING = 4.0  # seconds of a start within which the signal falls
SEED = 0


def run() -> dict[str, Any]:
    from benchmarks.ros.ros_policy import Swing

    rng = np.random.default_rng(SEED)
    done: dict[tuple[str, str], list[str]] = defaultdict(list)
    with (
        tempfile.TemporaryDirectory() as folder,
        Swing().served() as server,
        Graph(Path(folder), policy=server.url, real_time_factor=PACE) as graph,
    ):
        for _ in range(TIMES):
            for case in CASES:
                for number in ENDING:
                    name, _, starting = case.partition(" ")
                    end = _end_starting if starting else _end_moving
                    done[case, number.name].append(end(graph, name, number, rng))
                    print(f"{case}, {number.name}: {done[case, number.name][-1] or 'ok'}", flush=True)
    wrong = sorted({word for words in done.values() for word in words if word})
    rows: list[dict[str, Any]] = [
        {"node": c, "signal": s, "n": len(w), "ended well": w.count("")} for (c, s), w in done.items()
    ]
    n, passed = sum(map(len, done.values())), sum(words.count("") for words in done.values())
    return {
        "value": passed / n,
        "n": n,
        "interval": list(wilson(passed, n)),
        "seeds": str(SEED),
        "rows": rows,
        "notes": f"simulation at {PACE} of real time; the signal falls up to one second of control after motion began, "
        f"or within {STARTING:g} s of a start; the safety node must publish a last target after the signal, and after "
        f"the end of any node the targets must stay the same; wrong: {'; '.join(wrong) or 'nothing'}",
    }


def _end_moving(graph: Graph, name: str, number: signal.Signals, rng: np.random.Generator) -> str:
    """What went wrong; empty where nothing did."""
    graph.require_motion()
    graph.pause(20 * rng.random())
    targets = len(graph.targets)
    code = _signal(graph, name, number)
    graph.pause(10)
    wrong = [] if code == 0 else [f"{name}: exit code {code}"]
    if name == "safety_node" and len(graph.targets) == targets:
        wrong.append("no last hold")
    rests = len(graph.targets)
    graph.pause(6)
    if len(graph.targets) > rests and not graph.rests():
        wrong.append(f"{name}: the robot moves on")
    _again(graph, name)
    return "; ".join(wrong)


def _end_starting(graph: Graph, name: str, number: signal.Signals, rng: np.random.Generator) -> str:
    """The same while the node starts."""
    graph.processes.kill(name)
    graph.processes.start_again(name)
    time.sleep(STARTING * rng.random())
    code = _signal(graph, name, number)
    _again(graph, name)
    return "" if code == 0 else f"{name} starting: exit code {code}"


def _signal(graph: Graph, name: str, number: signal.Signals) -> int | None:
    """Send it; the exit code, None where the node does not end."""
    process = graph.processes.process(name)
    process.send_signal(number)
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return process.poll()


def _again(graph: Graph, name: str) -> None:
    graph.processes.kill(name)  # it has ended: this only forgets it
    graph.processes.start_again(name)
