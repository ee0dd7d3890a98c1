"""The walk-through of docs/ros2.md on a short clip: record through the graph, convert, one step of tuning, evaluate."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.shared.evaluations import POLICY, ROOT

Command = Callable[..., None]

NAME = "ros-record-loop"
TITLE = "stages of the way from a recorded bag through dataset and one fine-tuning step to an evaluation that work"
TARGET = 4
UNIT = "of 4"
BETTER = "higher"
TASK, SEED = "press_button", 3
FEWEST = 8  # frames
PERIODS = 120  # control periods within which the demonstration has to succeed


def run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        rows = loop(Path(folder))
    done = sum(not row["wrong"] for row in rows)
    return {
        "value": done,
        "n": 1,
        "interval": None,
        "seeds": str(SEED),
        "rows": rows,
        "notes": f"an expert's demonstration of {TASK}, played through the graph and recorded there",
    }


def loop(folder: Path, command: Command | None = None) -> list[dict[str, Any]]:
    """The four stages, up to the first that fails.

    Args:
        command: runs a command line; None: as a process of its own.
    """
    rows: list[dict[str, Any]] = []
    for name, stage in STAGES.items():
        began = time.monotonic()
        try:
            result, wrong = stage(folder, command or as_process), ""
        except (RuntimeError, AssertionError) as error:
            result, wrong = "", str(error)
        rows.append({"stage": name, "seconds": time.monotonic() - began, "made": result, "wrong": wrong})
        if wrong:
            break
    return rows


def record(folder: Path, _: Command) -> str:
    """One episode through the running graph into ``recordings``."""
    from benchmarks.ros.ros_graph import PACE, PATIENCE, Graph
    from benchmarks.ros.ros_policy import Demonstrated
    from vla_agent.ros.process.graph_processes import Processes
    from vla_agent.ros.process.graph_table import arguments_of

    values = {name: argument.default for name, argument in arguments_of("record").items()}
    values["output"] = str(folder / "recordings")
    with Demonstrated(TASK, SEED).served() as server:
        arguments: dict[str, Any] = {"policy": server.url, "task": TASK, "seed": SEED, "real_time_factor": PACE}
        with Graph(folder / "logs", **arguments) as graph:
            recorder = Processes("record", values, folder / "logs", ("camera_node",), PATIENCE)
            recorder.start()
            try:
                graph.require_motion()
                graph.call("record/discard")  # until the recorder is there
                instruction = graph.episode(SEED, TASK)
                _require(*graph.call("record/start"))
                until = graph.time + PERIODS * graph.robot.period
                while not graph.call("sim/success")[0]:
                    _require(graph.time < until and not graph.stopped, f"no success; {graph.diagnostics}")
                    graph.pause(2)
                _require(*graph.call("record/success"))
            finally:
                codes = recorder.stop()
    _require(not any(codes.values()), f"exit codes {codes}")
    return f"episode-0000: {instruction}"


def convert(folder: Path, command: Command) -> str:
    """The recordings to a dataset, which is then validated."""
    mapping = str(ROOT / "config" / "data" / "recorder.yaml")
    command("data", "convert", str(folder / "recordings"), "--mapping", mapping, "-o", str(folder / "dataset"))
    command("data", "validate", str(folder / "dataset"))
    frames = json.loads((folder / "dataset" / "meta" / "info.json").read_text(encoding="utf-8"))["total_frames"]
    _require(frames >= FEWEST, f"{frames} frames")
    return f"{frames} frames"


def finetune(folder: Path, command: Command) -> str:
    """One step of LoRA on that dataset."""
    step = ("--set", "train.samples=8", "--set", "train.batch=8", "--set", "train.warmup_steps=0")
    command("finetune", str(POLICY), "--data", str(folder / "dataset"), "-o", str(folder / "tuned"), *step)
    _require((folder / "tuned" / "policy" / "policy.json").is_file(), "no policy")
    return "policy"


def evaluate(folder: Path, command: Command) -> str:
    """One episode of the tuned policy."""
    words = ("--tasks", TASK, "--episodes", "1", "--seed", str(SEED), "--workers", "1", "--controls", "none")
    command("eval", str(folder / "tuned" / "policy"), *words, "--out", str(folder / "report"))
    report = json.loads((folder / "report" / "report.json").read_text(encoding="utf-8"))
    _require(len(report["episodes"]) == 1, f"{len(report['episodes'])} episodes")
    return f"success: {report['episodes'][0]['success']}"


STAGES: dict[str, Callable[[Path, Command], str]] = {
    "record": record,
    "convert": convert,
    "finetune": finetune,
    "evaluate": evaluate,
}


def as_process(*words: str) -> None:
    """Run ``vla-agent`` as by hand.

    Raises:
        RuntimeError: it fails.
    """
    done = subprocess.run([sys.executable, "-m", "vla_agent", *words], cwd=ROOT, capture_output=True, text=True)
    _require(done.returncode == 0, f"vla-agent {words[0]}: exit code {done.returncode}: {done.stderr[-500:]}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise RuntimeError(message)
