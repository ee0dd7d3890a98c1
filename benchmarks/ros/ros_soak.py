"""The graph for a simulated hour, and started and stopped fifty times: memory, orphans, shared memory, exit codes."""

from __future__ import annotations

import os
import re
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.shared.evaluations import POLICY

NAME = "ros-soak"
TITLE = "growth of a node's memory over a simulated hour, beside 50 starts and stops"
TARGET = 5.0
UNIT = "%"
BETTER = "lower"
SHARE = float(os.environ.get("VLA_AGENT_SOAK", "1"))  # fraction of the full measurement: 0.02 is one cycle and a minute
CYCLES = max(1, round(50 * SHARE))
SECONDS = 3600 * SHARE  # of simulation
PACE = float(os.environ.get("VLA_AGENT_PACE", "1.0"))  # simulated seconds of that in one second
SAMPLES = 120  # of each node's memory
SETTLED = 0.25  # fraction of the samples that are skipped; as many after them are compared with as many at the end
SEGMENT = re.compile(r"/dev/shm/((?:fastdds|fastrtps)_(?!port)\w+)$", re.MULTILINE)


def run() -> dict[str, Any]:
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for k in range(CYCLES):
            wrong += _cycle(Path(folder) / str(k))
            print(f"cycle {k + 1} of {CYCLES}: {wrong or 'ok'}", flush=True)
        memory, actions, stops = _hour(Path(folder) / "hour", wrong)
    rows = [growth(name, np.array(samples)) for name, samples in memory.items()]
    return {
        "value": max(row["growth, %"] for row in rows),
        "n": CYCLES,
        "interval": None,
        "seeds": f"0 to {SAMPLES - 1}",
        "rows": rows,
        "passed": not wrong and max(row["growth, %"] for row in rows) <= TARGET,
        "notes": f"{CYCLES} starts and stops, {SECONDS:g} s of simulation at {PACE:g} of real time, {SAMPLES} scenes, "
        f"{actions} actions and {stops} stops by the supervisor; resident memory, median of its last "
        f"{100 * SETTLED:g} % against that of as much from {100 * SETTLED:g} % on; n counts the cycles; "
        f"wrong: {'; '.join(sorted(set(wrong))) or 'no orphan, no shared memory left, every exit code 0'}",
    }


def _cycle(logs: Path) -> list[str]:
    """Start the graph, wait until it moves, stop it; what went wrong."""
    from benchmarks.ros.ros_graph import Graph

    with Graph(logs, policy=str(POLICY), real_time_factor=1.0) as graph:
        moved = graph.set_in_motion()
        wrong, held = _stop(graph)
    return ([] if moved else ["a graph that does not move"]) + wrong + left(held)


def _stop(graph: Any) -> tuple[list[str], set[str]]:
    """Stop all nodes: what went wrong (codes that are not 0, processes that are left), and their segments."""
    pids = {name: graph.processes.process(name).pid for name in graph.processes.names}
    held = set().union(*map(segments, pids.values()))
    codes = graph.processes.stop()
    wrong = [f"{name}: exit code {code}" for name, code in codes.items() if code != 0]
    return wrong + [f"{name} is left" for name, pid in pids.items() if _group_alive(pid)], held


def segments(pid: int) -> set[str]:
    """Names of Fast DDS's segments that a process has mapped, without those of its ports, which all share."""
    return set(SEGMENT.findall(Path(f"/proc/{pid}/maps").read_text()))


def left(held: set[str]) -> list[str]:
    """What is wrong with segments of a graph that has ended, this process's listener too."""
    there = sorted(name for name in held if Path("/dev/shm", name).exists())
    return [f"{len(there)} segments of a graph left in /dev/shm"] if there else []


def _group_alive(leader: int) -> bool:
    """Whether any process of the session that a node led still runs."""
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True


def _hour(logs: Path, wrong: list[str]) -> tuple[dict[str, list[float]], int, int]:
    """Run on, with a new scene now and then: MiB of each node, again and again; actions; scenes that were stopped."""
    import psutil

    from benchmarks.ros.ros_graph import Graph

    stops, each = 0, SECONDS / PACE / SAMPLES
    with Graph(logs, policy=str(POLICY), real_time_factor=PACE) as graph:
        graph.require_motion()
        watched = {name: psutil.Process(graph.processes.process(name).pid) for name in graph.processes.names}
        memory: dict[str, list[float]] = {name: [] for name in watched}
        began = time.monotonic()
        for k in range(SAMPLES):
            graph.episode(k)
            graph.wait(partial(_later, began + (k + 1) * each), 2 * each)
            if ended := graph.processes.ended():
                raise RuntimeError(f"ended by themselves: {ended}")
            stops += bool(graph.stopped)
            for name, process in watched.items():
                memory[name].append(process.memory_info().rss / 2**20)
        actions = graph.actions
        ended_badly, held = _stop(graph)
    wrong += ended_badly + left(held)
    return memory, actions, stops


def _later(until: float) -> bool:
    return time.monotonic() > until


def growth(node: str, samples: np.ndarray) -> dict[str, Any]:
    """A line of the table from a node's memory (N,) in MiB."""
    count = max(1, round(SETTLED * len(samples)))
    early, late = float(np.median(samples[count : 2 * count])), float(np.median(samples[-count:]))
    return {"node": node, "MiB": late, "growth, %": 100 * (late - early) / early}
