"""The graph for an hour, and started and stopped fifty times: memory, orphans, shared memory, exit codes."""

from __future__ import annotations

import os
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.evaluations import POLICY

NAME = "ros-soak"
TITLE = "growth of a node's memory over an hour, beside 50 starts and stops"
TARGET = 5.0
UNIT = "%"
BETTER = "lower"
SHARE = float(os.environ.get("VLA_AGENT_SOAK", "1"))  # of the whole: 0.02 is one cycle and a minute
CYCLES = max(1, round(50 * SHARE))
SECONDS = 3600 * SHARE
SAMPLES = 120  # of each node's memory
SETTLED = 0.25  # share of the samples that pass first; as many after that are compared with as many at the end
SEGMENTS = ("fastdds", "fastrtps", "sem.fastdds", "sem.fastrtps")


def run() -> dict[str, Any]:
    before = segments()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for k in range(CYCLES):
            wrong += _cycle(Path(folder) / str(k))
            print(f"cycle {k + 1} of {CYCLES}: {wrong or 'well'}", flush=True)
        memory = _hour(Path(folder) / "hour", wrong)
    left = unused(segments() - before)
    if left:
        wrong.append(f"{len(left)} segments left in /dev/shm")
    rows = [growth(name, np.array(samples)) for name, samples in memory.items()]
    return {
        "value": max(row["growth, %"] for row in rows),
        "n": CYCLES,
        "interval": None,
        "seeds": "0",
        "rows": rows,
        "passed": not wrong and max(row["growth, %"] for row in rows) <= TARGET,
        "notes": f"{CYCLES} starts and stops, {SECONDS:g} s of running; resident memory, median of its last "
        f"{100 * SETTLED:g} % against that of as much from {100 * SETTLED:g} % on; n counts the cycles; "
        f"wrong: {'; '.join(sorted(set(wrong))) or 'no orphan, no shared memory left, every exit code 0'}",
    }


def _cycle(logs: Path) -> list[str]:
    """Start the graph, wait until it moves, stop it; what went wrong."""
    from benchmarks.ros_graph import Graph

    with Graph(logs, policy=str(POLICY), real_time_factor=1.0) as graph:
        moved = graph.set_in_motion()
        return ([] if moved else ["a graph that does not move"]) + _stop(graph)


def _stop(graph: Any) -> list[str]:
    """Stop all nodes; codes that are not 0, and processes that are left."""
    pids = {name: graph.processes.process(name).pid for name in graph.processes.names}
    codes = graph.processes.stop()
    wrong = [f"{name}: exit code {code}" for name, code in codes.items() if code != 0]
    return wrong + [f"{name} is left" for name, pid in pids.items() if _group_alive(pid)]


def _group_alive(leader: int) -> bool:
    """Whether any process of the session that a node led still runs."""
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True


def _hour(logs: Path, wrong: list[str]) -> dict[str, list[float]]:
    """Run on, with a new scene now and then; MiB of each node, again and again."""
    import psutil

    from benchmarks.ros_graph import Graph

    with Graph(logs, policy=str(POLICY), real_time_factor=1.0) as graph:
        graph.require_motion()
        watched = {name: psutil.Process(graph.processes.process(name).pid) for name in graph.processes.names}
        memory: dict[str, list[float]] = {name: [] for name in watched}
        began = time.monotonic()
        for k in range(SAMPLES):
            graph.episode(k)
            graph.wait(partial(_later, began + (k + 1) * SECONDS / SAMPLES), 2 * SECONDS)
            if ended := graph.processes.ended():
                raise RuntimeError(f"ended by themselves: {ended}")
            for name, process in watched.items():
                memory[name].append(process.memory_info().rss / 2**20)
        wrong += _stop(graph)
    return memory


def _later(until: float) -> bool:
    return time.monotonic() > until


def growth(node: str, samples: np.ndarray) -> dict[str, Any]:
    """A line of the table from a node's memory (N,) in MiB."""
    count = max(1, round(SETTLED * len(samples)))
    early, late = float(np.median(samples[count : 2 * count])), float(np.median(samples[-count:]))
    return {"node": node, "MiB": late, "growth, %": 100 * (late - early) / early}


def segments() -> set[str]:
    """Names of Fast DDS's segments in /dev/shm, without those of its ports, which all participants share."""
    return {p.name for p in Path("/dev/shm").glob("*") if p.name.startswith(SEGMENTS) and "_port" not in p.name}


def unused(names: set[str]) -> set[str]:
    """Those of ``names`` that no process has mapped: of others that run beside us they are not ours."""
    mapped = ""
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            mapped += maps.read_text()
        except OSError:
            continue
    return {name for name in names if name not in mapped and name.removesuffix("_el") not in mapped}
