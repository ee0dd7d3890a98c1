"""Real drivers: five fakes that publish as their sources do, and the whole graph: motion, gripper, stop, reset."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

NAME = "robots-drivers"
TITLE = "robots whose fakes are driven by the whole graph: instruction to motion, gripper, stop, reset"
TARGET = 5
UNIT = "robots of 5"
BETTER = "higher"
ROBOTS = ("fer", "fr3", "ur5e", "so101", "xarm7")
TRIES, PAUSE = 3, 1.5  # of an instruction; seconds between two, as a person takes
STILL = 0.01  # rad in half a second


def run() -> dict[str, Any]:
    """Drive each robot; VLA_AGENT_ROBOTS names fewer, separated by commas."""
    chosen = [name for name in os.environ.get("VLA_AGENT_ROBOTS", ",".join(ROBOTS)).split(",") if name]
    rows = [drive(name) for name in chosen]
    passed = sum(row["failed"] == "" for row in rows)
    return {
        "value": passed,
        "n": len(rows),
        "interval": None,
        "seeds": [],
        "rows": rows,
        "notes": "Dry runs: safety, controller and policy node against a fake in a process of its own, over Fast DDS; "
        "the fakes follow trajectories with velocities and serve the gripper's actions.  No message came on a "
        "motor's topic.  The policy is scripted, of each robot's contract.",
    }


def drive(name: str) -> dict[str, Any]:
    """One row: what the robot did, and at which step it failed, empty where at none."""
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from benchmarks.robots.robot_run import PATIENCE, FakeProcess, Probe, interfaces, serve
    from vla_agent.ros.process.graph_processes import Processes
    from vla_agent.ros.process.realtime_priority import set_realtime_priority

    folder = Path(tempfile.mkdtemp(prefix=f"robots-{name}-"))
    os.environ["ROS_DOMAIN_ID"] = str(1 + (os.getpid() + 7 * ROBOTS.index(name)) % 101)
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ["PYTHONPATH"] = os.pathsep.join([interfaces(), *filter(None, [os.environ.get("PYTHONPATH")])])
    robot, server = serve(name)
    unasked: list[str] = []
    with server:
        set_realtime_priority(10)  # a busy machine's other programs are no part of what is measured
        fake = FakeProcess(name, folder / "fake.log")
        given = {"robot": name, "policy": server.url}
        nodes = Processes("dry_run", given, folder, without=("camera_node", "frames_node"), patience=PATIENCE)
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        probe = Probe(robot)
        try:
            nodes.start()
            probe.alive = lambda: not nodes.ended()
            failed = first_failure(steps(probe, robot, unasked))
            failed = failed and f"{failed}: {probe.status} {nodes.ended()}"
        finally:
            codes = nodes.stop()
            probe.close()
            rclpy.try_shutdown()
            counts = fake.stop()
    failed = failed or first_failure([
        ("nodes end with 0", lambda: not any(codes.values())),
        ("nothing for motors", lambda: counts["on motors"] == 0),
        ("every command is taken", lambda: not counts["refused"]),
        ("no stop that nobody asked for", lambda: not unasked),
    ])  # fmt: skip
    counts |= {"refused": "; ".join(f"{reason}: {count}" for reason, count in sorted(counts["refused"].items()))}
    return {"robot": name} | counts | {"stops that nobody asked for": "; ".join(unasked), "failed": failed}


def steps(probe: Any, robot: Any, unasked: list[str]) -> list[tuple[str, Callable[[], bool]]]:
    """What is tried, in order: (name, whether it works); ``unasked`` gets the reasons of stops nobody asked for."""

    def gripper() -> float:
        return float(robot.gripper.fraction(probe.positions.get(robot.gripper.joint, robot.gripper.open)))

    def instructed(text: str) -> bool:
        """Where the supervisor stops the robot by itself, it is reset, so that the rest is seen; the robot fails."""
        for _ in range(TRIES):
            probe.instruct(text)
            if probe.wait(lambda: probe.moves(seconds=0.5) or probe.stopped is True) and probe.stopped is False:
                return True
            unasked.append(probe.status.get("safety_node", ""))
            reset()
            time.sleep(PAUSE)
        return False

    def stands() -> bool:
        return not probe.moves(STILL, 0.5)

    def stop() -> bool:
        done, _ = probe.call("safety/estop")
        return done and probe.wait(lambda: probe.stopped is True) and probe.wait(stands, 5.0)

    def reset() -> bool:
        probe.instruct("")
        return probe.wait(lambda: probe.call("safety/reset")[0]) and probe.wait(lambda: probe.stopped is False)

    return [
        ("joint states", lambda: probe.wait(lambda: probe.joints is not None)),
        ("ready", lambda: probe.wait(lambda: probe.stopped is False) or reset()),
        ("motion", lambda: instructed("sway")),
        ("gripper stays open", lambda: gripper() < 0.1),
        ("gripper closes", lambda: instructed("sway and close") and probe.wait(lambda: gripper() > 0.8)),
        ("gripper opens", lambda: instructed("sway") and probe.wait(lambda: gripper() < 0.2)),
        ("stop", stop),
        ("stays stopped", lambda: np.isfinite(gripper()) and stands()),
        ("reset", reset),
        ("motion again", lambda: instructed("sway again")),
    ]


def first_failure(tried: Iterable[tuple[str, Callable[[], bool]]]) -> str:
    """Name of the first step that does not work; empty where all do."""
    return next((name for name, works in tried if not works()), "")
