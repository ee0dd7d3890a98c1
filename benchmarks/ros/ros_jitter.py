"""Jitter of the commands during inference of the shipped policy; every missed period must be reported."""

from __future__ import annotations

import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ros.machine_wakeups import NOTE, late_wakeups
from benchmarks.ros.ros_quantiles import quantile_interval, quantile_rows
from benchmarks.shared.evaluations import POLICY

NAME = "ros-jitter"
TITLE = "control period at 20 Hz while inference runs: distance from 50 ms, p99"
TARGET = 5.0
UNIT = "ms"
BETTER = "lower"
MINUTES = float(os.environ.get("VLA_AGENT_JITTER_MINUTES", "10"))
EPISODE = 12.0  # seconds of each scene, so that the policy always has work
WARM = 10  # commands of each scene
MOST_STOPS = 20
FIRST_SEED = 1000


def run() -> dict[str, Any]:
    from benchmarks.ros.ros_graph import Graph

    machine = late_wakeups()
    intervals: list[np.ndarray] = []
    missed = reported = stops = seed = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        Graph(Path(folder), policy=str(POLICY), real_time_factor=1.0) as graph,
    ):
        graph.require_motion()
        period = graph.robot.period
        while sum(len(part) for part in intervals) * period < 60 * MINUTES:
            graph.episode(FIRST_SEED + seed)
            seed += 1
            before, first = _reported_missed(graph), graph.actions
            graph.wait(partial(_acted, graph, first + WARM))
            commands = len(graph.written)
            graph.pause(EPISODE / period)
            stops += bool(graph.stopped)
            if not graph.stopped:  # the targets of a stop have their own timing
                intervals.append(np.diff(graph.written[commands:]))
            graph.rest()  # the policy node reports at once that it is idle, with its counts
            missed += missing([a.stamp for a in graph.acted[first:]], period)
            reported += _reported_missed(graph) - before
            if stops > MOST_STOPS:
                raise RuntimeError(f"the supervisor stops repeatedly: {graph.diagnostics.get('safety_node')}")
    away = 1000 * np.abs(np.concatenate(intervals) - period)
    p99 = float(np.quantile(away, 0.99))
    unreported = max(0, missed - reported)
    return {
        "value": p99,
        "n": len(away),
        "interval": quantile_interval(away),
        "seeds": f"{FIRST_SEED} to {FIRST_SEED + seed - 1}",
        "rows": quantile_rows(away, machine=machine),
        "passed": p99 <= TARGET and not unreported,
        "notes": f"{MINUTES:g} minutes of control; intervals between the commands that are written to the robot; "
        f"{missed} periods missed, {reported} reported on /diagnostics, {unreported} not; {stops} stops by the "
        f"supervisor in {seed} scenes; {NOTE}",
    }


def missing(stamps: list[float], period: float) -> int:
    """Control steps that are missing between the first and the last of ``stamps`` (s)."""
    return int(sum(max(0, round(gap / period) - 1) for gap in np.diff(stamps)))


def _acted(graph: Any, count: int) -> bool:
    return graph.actions > count


def _reported_missed(graph: Any) -> int:
    """Missed control steps so far, by the policy node's own count."""
    return int(graph.diagnostics.get("policy_node", {}).get("missed_steps", 0))
