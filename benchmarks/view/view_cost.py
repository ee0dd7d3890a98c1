"""What viewers cost the control of a robot: the ROS graph with `vla-agent view --ros` and three viewers, and without.

The same scenes with and without, in turn, in one run: each pair of blocks has one scene, and the order changes from
pair to pair.  "Without" there is no window at all: it is started for each block with viewers, and ended after it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.shared.evaluations import POLICY
from benchmarks.view.window_process import window_process

NAME = "view-cost"
TITLE = "control of the ROS graph with three viewers over without: the worse of control rate and p99 jitter"
TARGET = 3.0
UNIT = "% worse"
BETTER = "lower"
PAIRS = int(os.environ.get("VLA_AGENT_VIEW_PAIRS", "12"))
VIEWERS = 3
BLOCK = 12.0  # seconds of control of a block
WARM = 10  # commands before a block counts
MOST_STOPS = 20
FIRST_SEED = 1200
LEAST = 5.0  # messages a second of a viewer: one that gets less is not served, and costs nothing
PATIENCE = 120.0  # seconds until every viewer is served


@dataclass(frozen=True)
class Load:
    """What the viewers of a block took: messages and megabytes a second of each, processor seconds a second of the
    window."""

    messages: float
    megabytes: float
    processor: float


@contextmanager
def viewers(logs: Path) -> Iterator[Any]:
    """The window and its viewers; yields a function that says what they have taken so far, and the processor seconds
    that the window has used."""
    import psutil

    told = logs / "viewers.jsonl"
    with window_process("--ros") as window, told.open("w") as out:
        crowd = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.view.viewers", window.url, str(VIEWERS)], stdout=out
        )
        process = psutil.Process(window.process.pid)

        def look() -> tuple[dict[str, float], float]:
            lines = told.read_text().splitlines()
            times = process.cpu_times()
            return (json.loads(lines[-1]) if lines else {}), times.user + times.system

        try:
            _wait_for(look)
            yield look
        finally:
            crowd.terminate()
            crowd.wait()


def _wait_for(look: Any) -> None:
    """Until every viewer has a second's worth of messages."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        counts, _ = look()
        if counts.get("viewers") == VIEWERS and counts.get("messages", 0) > 10 * VIEWERS:
            return
        time.sleep(0.2)
    raise RuntimeError(f"not every viewer was served within {PATIENCE:g} s")


def block(graph: Any, seed: int) -> np.ndarray | None:
    """Seconds between the commands that are written to the robot in a scene; None where the supervisor stopped it."""
    graph.episode(seed)
    first = graph.actions
    graph.wait(lambda: graph.actions > first + WARM)
    commands = len(graph.written)
    graph.pause(BLOCK / graph.robot.period)
    stopped = bool(graph.stopped)
    intervals = np.diff(graph.written[commands:])
    graph.rest()
    return None if stopped or not len(intervals) else intervals


def watched_block(graph: Any, seed: int, logs: Path) -> tuple[np.ndarray | None, Load]:
    """The same with viewers."""
    with viewers(logs) as look:
        (counts, used), began = look(), time.time()
        intervals = block(graph, seed)
        (later, used_later), passed = look(), time.time() - began
        taken = {key: (later[key] - counts[key]) / VIEWERS / (later["time"] - counts["time"]) for key in later}
        return intervals, Load(taken["messages"], taken["bytes"] / 1e6, (used_later - used) / passed)


def run() -> dict[str, Any]:
    from benchmarks.ros.ros_graph import Graph

    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    loads: list[Load] = []
    stops = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        Graph(Path(folder), policy=str(POLICY), real_time_factor=1.0) as graph,
    ):
        graph.require_motion()
        period = graph.robot.period
        number = 0
        while len(pairs) < PAIRS:
            seed, first = FIRST_SEED + number, number % 2
            found: dict[bool, np.ndarray | None] = {}
            for watched in (bool(first), not first):
                if watched:
                    found[True], load = watched_block(graph, seed, Path(folder))
                    loads.append(load)
                else:
                    found[False] = block(graph, seed)
            number += 1
            with_viewers, without = found[True], found[False]
            if with_viewers is not None and without is not None:
                pairs.append((with_viewers, without))
                continue
            stops += 1
            if stops > MOST_STOPS:
                raise RuntimeError(f"the supervisor stops repeatedly: {graph.diagnostics.get('safety_node')}")
    return result(pairs, loads, period, stops, number)


def result(
    pairs: list[tuple[np.ndarray, np.ndarray]], loads: list[Load], period: float, stops: int, scenes: int
) -> dict[str, Any]:
    """The measurement from the intervals (s) of each pair, with viewers and without."""
    watched, plain = summary([a for a, _ in pairs], period), summary([b for _, b in pairs], period)
    rate, jitter = worse(watched, plain)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(1000):
        some = [pairs[k] for k in rng.integers(0, len(pairs), len(pairs))]
        drawn.append(max(worse(summary([a for a, _ in some], period), summary([b for _, b in some], period))))
    low, high = np.quantile(drawn, [0.025, 0.975])
    served = bool(loads) and min(one.messages for one in loads) >= LEAST
    load = {key: float(np.mean([getattr(one, key) for one in loads])) for key in ("messages", "megabytes", "processor")}
    return {
        "value": max(rate, jitter),
        "passed": max(rate, jitter) <= TARGET and served,
        "n": sum(len(a) + len(b) for a, b in pairs),
        "interval": [float(low), float(high)],
        "seeds": f"{FIRST_SEED} to {FIRST_SEED + scenes - 1}",
        "rows": [{"viewers": VIEWERS} | watched, {"viewers": 0} | plain],
        "notes": f"{len(pairs)} pairs of blocks of {BLOCK:g} s, interleaved; intervals between the commands that are "
        f"written to the robot; control rate {rate:+.2f} % worse, p99 of the jitter {jitter:+.1f} % worse. The "
        "interval is of pairs drawn anew. Viewers are websockets that take everything and draw nothing, on the same "
        f"processors: browsers there would measure themselves. Each took {load['messages']:.0f} messages and "
        f"{load['megabytes']:.2f} MB a second; the window used {load['processor']:.0%} of a core at niceness 5. "
        f"A block whose viewers got fewer than {LEAST:g} messages does not count as passed. {stops} pairs with a stop "
        f"by the supervisor are left out of {scenes}.",
    }


def summary(blocks: list[np.ndarray], period: float) -> dict[str, float]:
    """Control rate, Hz, and quantiles of the distance from the period, ms."""
    intervals = np.concatenate(blocks)
    away = 1000 * np.abs(intervals - period)
    return {
        "control rate Hz": float(1 / intervals.mean()),
        "p50 jitter ms": float(np.quantile(away, 0.5)),
        "p99 jitter ms": float(np.quantile(away, 0.99)),
        "largest jitter ms": float(away.max()),
    }


def worse(watched: dict[str, float], plain: dict[str, float]) -> tuple[float, float]:
    """How much worse rate and p99 jitter are with viewers, percent."""
    rate = 100 * (1 - watched["control rate Hz"] / plain["control rate Hz"])
    jitter = 100 * (watched["p99 jitter ms"] / plain["p99 jitter ms"] - 1)
    return rate, jitter
