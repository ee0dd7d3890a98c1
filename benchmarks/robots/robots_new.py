"""A new user's way: from a URDF and running drivers (a fake) to an arm that a policy moves.  Commands are counted."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

NAME = "robots-new"
TITLE = "commands from a URDF and running drivers to an arm that a policy moves, dry run"
TARGET = 8
UNIT = "commands"
BETTER = "lower"

FAKE, MODEL, END = "fr3", "config/robots/models/fr3.urdf", "fr3_hand_tcp"
CAMERAS = {name: f"/cameras/{name}/color/image_raw" for name in ("front", "wrist")}
# What a user decides: for each number that `robot new` lists, the key that it names -> the line written for it.
DECISIONS = {
    "control_hz": "control_hz: 20",
    "home": "home: [0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785]",
    "gripper": "gripper: {joint: fr3_finger_joint1, open: 0.04, closed: 0.0}",
    "workspace": "workspace: {low: [0.2, -0.4, 0.1], high: [0.7, 0.4, 0.7]}",
    "lookahead": "lookahead: {guarded: [fr3_link4, fr3_link5, fr3_link6], forbidden: [fr3_link0, fr3_link1]}",
    "joint_states": "joint_states: [franka/joint_states, franka_gripper/joint_states]",
    "controller": "controller: {type: joint_trajectory, topic: fr3_arm_controller/joint_trajectory, gripper: "
    "{type: franka, topic: franka_gripper, open: 0.08, closed: 0.0, speed: 0.1, force: 20.0, grasp_from: 0.5}}",
}


def run() -> dict[str, Any]:
    """The commands, as they are typed, each with its exit code and what it said last."""
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from benchmarks.robots.robot_run import FakeProcess, Probe, interfaces, serve

    folder = Path(tempfile.mkdtemp(prefix="robots-new-"))
    shutil.copy(Path(__file__).parents[2] / MODEL, folder / "arm.urdf")
    os.environ["ROS_DOMAIN_ID"] = str(1 + (os.getpid() + 50) % 101)
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ["PYTHONPATH"] = os.pathsep.join([interfaces(), *filter(None, [os.environ.get("PYTHONPATH")])])
    robot, server = serve(FAKE)
    user = User(folder)
    with server:
        fake = FakeProcess(FAKE, folder / "fake.log", motors=True)
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        probe = Probe(robot)
        try:
            moved = probe.wait(lambda: probe.joints is not None) and way(user, probe, server.url)
        finally:
            user.end()
            probe.close()
            rclpy.try_shutdown()
            fake.stop()
    return {
        "value": len(user.typed) if moved else None,
        "n": len(user.typed),
        "interval": None,
        "seeds": [],
        "rows": user.typed,
        "notes": "The fake publishes and takes what franka_ros2 does (one process, Fast DDS); the edit of the robot "
        "file, one line for each thing that robot new lists, counts as a command; the policy is scripted, behind a "
        "server.",
    }


class User:
    """Types commands in a folder; ``typed``: each, with its exit code and the last line that it printed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.typed: list[dict[str, Any]] = []
        self.running: list[subprocess.Popen[str]] = []

    def types(self, *words: str, waits: bool = True) -> str:
        """A command and what it prints; it runs on where ``waits`` is false."""
        programs = {"vla-agent": [sys.executable, "-m", "vla_agent"], "python": [sys.executable]}
        command = [*programs[words[0]], *words[1:]]
        row: dict[str, Any] = {"command": " ".join(words), "code": None, "said": ""}
        self.typed.append(row)
        if not waits:
            out = (self.folder / "graph.log").open("w")
            self.running.append(subprocess.Popen(command, cwd=self.folder, stdout=out, stderr=out, text=True))
            return ""
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=300)
        said = (done.stdout + done.stderr).strip()
        row |= {"code": done.returncode, "said": said.splitlines()[-1][:120] if said else ""}
        return said

    def edits(self, file: str, asked: list[str]) -> None:
        """Write a line for each key that was asked for."""
        text = (self.folder / file).read_text()
        (self.folder / file).write_text(text + "\n".join(DECISIONS[key] for key in asked) + "\n")
        self.typed.append({"command": f"edit {file}", "code": 0, "said": f"{len(asked)} lines: {', '.join(asked)}"})

    def end(self) -> None:
        """Ctrl-C for what runs."""
        for process in self.running:
            process.send_signal(signal.SIGINT)
            process.wait(120)


def way(user: User, probe: Any, policy: str) -> bool:
    """From the URDF to motion; whether the arm moves."""
    file = "my_robot.yaml"
    cameras = [word for name, topic in CAMERAS.items() for word in ("--camera", f"{name}={topic}")]
    options = ["--end-effector", END, "--topics", *cameras, "--acceleration", "5", "--jerk", "500", "-o", file]
    said = user.types("vla-agent", "robot", "new", "arm.urdf", *options)
    asked = asked_for(said)
    if not asked or not set(asked) <= set(DECISIONS):
        return False
    user.edits(file, asked)
    user.types("vla-agent", "robot", "check", file, "--topics", "--policy", policy)
    if user.typed[-1]["code"] != 0:
        return False
    user.types(
        "vla-agent", "up", "dry_run", "--robot", file, "--policy", policy, "--without", "camera_node", waits=False
    )
    client = ("python", "-m", "vla_agent.ros.client")
    probe.alive = lambda: all(process.poll() is None for process in user.running)
    probe.wait(lambda: "policy_node" in probe.status)
    user.types(*client, "instruct", "move to the side")
    if probe.wait(lambda: probe.moves(seconds=0.5) or probe.stopped is True) and probe.stopped is not True:
        return True
    user.types(*client, "call", "safety/reset")  # a stop at the start: an operator looks at it and resets
    user.types(*client, "instruct", "move to the other side")
    return bool(probe.moves())


def asked_for(said: str) -> list[str]:
    """Keys that `robot new` lists as left to decide, in its order."""
    return re.findall(r"^\s+\d+\. (\w+):", said, re.MULTILINE)
