"""Whether the policy node accepts what real drivers publish: a grid of joint states, delays, sizes and encodings."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

NAME = "robots-feed"
TITLE = "observations that are accepted: joint states of 20 Hz to 1 kHz, split or merged, camera delay up to 150 ms"
TARGET = 100.0
UNIT = "%"
BETTER = "higher"
NODE_CELLS = int(os.environ.get("VLA_AGENT_FEED_NODES", "8"))
NODE_SECONDS = 6.0  # of each
START = 60.0  # seconds until the node acts, on a busy machine


@dataclass(frozen=True)
class Heard:
    """What the policy node did with a cell: actions, those that the rate asks for, and the stops that it requested."""

    actions: int
    wanted: int
    stops: tuple[str, ...]


def run() -> dict[str, Any]:
    from benchmarks.robots.feed_cells import DELAYS, ENCODINGS, RATES, SIZES, Cell, accepted, cells, pictures
    from vla_agent.evaluation.exact_tests import clopper_pearson

    frames = {(size, encoding): pictures(encoding, size) for size in SIZES for encoding in ENCODINGS}
    counts = {cell: accepted(cell, frames[cell.size, cell.encoding], seed) for seed, cell in enumerate(cells())}
    good, steps = (sum(column) for column in list(zip(*counts.values(), strict=True))[:2])
    rows = [_row(f"joint states at {hz} Hz", counts, "hz", hz) for hz in RATES]
    rows += [_row(f"delay {1000 * delay:g} ms", counts, "delay", delay) for delay in DELAYS]
    rows += [_row("split" if split else "merged", counts, "split", split) for split in (False, True)]
    rows += [_row(f"{size[0]} x {size[1]}", counts, "size", size) for size in SIZES]
    rows += [_row(encoding, counts, "encoding", encoding) for encoding in ENCODINGS]
    late = [accepted(Cell(hz, 0.25, False, SIZES[0], "rgb8"), frames[SIZES[0], "rgb8"], 0) for hz in RATES]
    rows.append(_summed("delay 250 ms: not to be accepted", late))
    nodes = node_rows(NODE_CELLS)
    wrong = [f"{cell}: {why}" for cell, (g, n, why) in counts.items() if g < n]
    return {
        "value": 100.0 * good / steps,
        "n": steps,
        "interval": [100 * x for x in clopper_pearson(good, steps)],
        "seeds": f"0 to {len(counts) - 1}",
        "rows": rows + nodes,
        "passed": good == steps and late[0][0] == 0 and all(row["good"] == row["n"] for row in nodes),
        "notes": f"{len(counts)} cells, each a second of control steps at 20 Hz with the node's own classes and its "
        f"default limits, sources out of phase; physics allows all of them: at 20 Hz a joint state is at most 25 ms "
        f"from an image, 30 ms are allowed; {len(nodes)} cells with a driver's process and the policy node; one "
        f"message of a 1 kHz stream takes {state_cost():.0f} us of the buffer; wrong: {'; '.join(wrong[:5]) or 'none'}",
    }


def _row(asked: str, counts: dict[Any, tuple[int, int, str]], key: str, value: object) -> dict[str, Any]:
    return _summed(asked, [count for cell, count in counts.items() if getattr(cell, key) == value])


def _summed(asked: str, counts: list[tuple[int, int, str]]) -> dict[str, Any]:
    return {"asked": asked, "n": sum(n for _, n, _ in counts), "good": sum(good for good, _, _ in counts)}


def state_cost(messages: int = 3000) -> float:
    """Microseconds of this thread that a joint state of a 1 kHz stream takes in reader and buffer."""
    from benchmarks.robots.feed_cells import ARM, CONTRACT, GRIPPER, ROBOT, joint_message, limits
    from vla_agent.robot.joint_states import JointReader
    from vla_agent.ros.runtime.observations import ObservationBuffer

    reader = JointReader([*ARM, GRIPPER])
    buffer = ObservationBuffer(ROBOT, CONTRACT, lambda _: (np.zeros(3), np.eye(4)[0]), limits())
    stream = [joint_message((GRIPPER, *ARM), 1.0 + k / 1000, True) for k in range(messages)]
    began = time.thread_time()
    for message in stream:
        part = reader.read(message)
        assert part is not None  # it has all joints
        buffer.add_part(part)
    return 1e6 * (time.thread_time() - began) / messages


# -- the node ----------------------------------------------------------------------------------------------------------


def node_rows(most: int) -> list[dict[str, Any]]:
    """Some cells through a driver's process, Fast DDS and the policy node's process: control steps with an action."""
    from benchmarks.robots.feed_cells import Cell

    chosen = [
        Cell(1000, 0.15, True, (1280, 720), "jpeg"),
        Cell(500, 0.04, False, (640, 480), "rgb8"),
        Cell(20, 0.0, False, (96, 96), "rgb8"),
        Cell(100, 0.08, True, (640, 480), "yuv422_yuy2"),
        Cell(250, 0.04, False, (640, 480), "bgra8"),
        Cell(1000, 0.0, True, (96, 96), "mono8"),
        Cell(50, 0.15, True, (640, 480), "nv12"),
        Cell(250, 0.15, False, (640, 480), "bayer_rggb8"),
    ]
    rows = []
    for cell in chosen[:most]:
        heard = through_the_node(cell)
        wanted = heard.wanted - 1  # it is counted between two messages
        name = f"policy node: {cell.hz:g} Hz, {1000 * cell.delay:g} ms, {'split' if cell.split else 'merged'}"
        rows.append(
            {
                "asked": f"{name}, {cell.size[0]} x {cell.size[1]}, {cell.encoding}",
                "n": wanted,
                "good": max(0, min(heard.actions, wanted) - len(heard.stops)),
                "stops": "; ".join(sorted(set(heard.stops))) or "none",
            }
        )
    return rows


def through_the_node(cell: Any) -> Heard:
    """The policy node with a scripted policy, and a driver's process that publishes the cell."""
    from benchmarks.robots.feed_cells import COMPRESSED, ROBOT
    from benchmarks.robots.feed_driver import arguments
    from benchmarks.ros.ros_graph import Graph
    from benchmarks.ros.ros_policy import Swing
    from vla_agent.ros.process.graph_processes import node_environment

    with tempfile.TemporaryDirectory() as folder, Swing().served() as server:
        values: dict[str, Any] = {"policy": server.url, "instruction": "swing", "real_time_factor": 1.0}
        if cell.encoding in COMPRESSED:
            values["robot"] = str(_with_compressed(Path(folder)))
        without = ("sim_robot_node", "safety_node", "controller_node")
        with Graph(Path(folder) / "logs", without, **values) as graph:
            stops = _listen_for_stops(graph)
            graph.set("policy_node", "use_sim_time", False)
            words = [sys.executable, "-m", "benchmarks.robots.feed_driver"]
            words += arguments(cell, START + 3 * NODE_SECONDS)
            driver = subprocess.Popen(words, env=node_environment())
            try:
                if not graph.wait(lambda: graph.actions > 20, START):
                    return Heard(0, round(NODE_SECONDS / ROBOT.period), (str(graph.diagnostics.get("policy_node")),))
                first, began, told = graph.actions, time.monotonic(), len(stops)
                graph.wait(lambda: time.monotonic() > began + NODE_SECONDS, 2 * NODE_SECONDS)
                passed = time.monotonic() - began
                return Heard(graph.actions - first, round(passed / ROBOT.period), tuple(stops[told:]))
            finally:
                driver.terminate()
                driver.wait(20)


def _listen_for_stops(graph: Any) -> list[str]:
    from std_msgs.msg import String

    heard: list[str] = []
    graph.node.create_subscription(String, "safety/stop", lambda message: heard.append(message.data), 10)
    return heard


def _with_compressed(folder: Path) -> Path:
    """The robot's file with its cameras' images compressed."""
    text = (Path(__file__).parents[2] / "config" / "robots" / "panda.yaml").read_text(encoding="utf-8")
    for name in ("front", "wrist"):
        text = text.replace(f"frame: camera_{name}", f"frame: camera_{name}, transport: compressed")
    file = folder / "compressed.yaml"
    file.write_text(text, encoding="utf-8")
    return file
