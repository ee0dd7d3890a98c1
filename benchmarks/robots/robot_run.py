"""A fake of a real robot, the nodes of a dry run around it, and a policy of its contract, driven step by step."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.robots.driver_fakes import FAKES
from vla_agent.contract import Contract, Field
from vla_agent.contract.tabletop import ACTIONS, tabletop_contract
from vla_agent.robot.description import Robot, load_robot
from vla_agent.ros.process.graph_processes import node_environment
from vla_agent.serving.server import PolicyServer

PATIENCE = float(os.environ.get("VLA_AGENT_PATIENCE", "60"))
ROOT = Path(__file__).parents[2]
STEP, TURN, SPAN = 0.004, 0.02, 0.15  # metres, rad a control step; rad or m to each side


def contract_for(robot: Robot, mode: str) -> Contract:
    """What a policy sees of a robot, and what it emits in a mode: as the tabletop's, with this robot's joints."""
    joints = len(robot.joints)

    def fitted(field: Field) -> Field:
        size = joints if field.name == "joint_position" else field.size
        return replace(field, size=size, frame=robot.base_frame if field.frame else "")

    base = tabletop_contract()
    return replace(
        base,
        state=tuple(fitted(field) for field in base.state),
        action=tuple(fitted(field) for field in ACTIONS[mode]),
        control_hz=robot.control_hz,
    )


class Sway:
    """Moves the arm from side to side; an instruction with "close" closes the gripper, and keeps it closed."""

    execute = 8

    def __init__(self, robot: Robot, mode: str) -> None:
        self.contract, self._mode = contract_for(robot, mode), mode
        self._places = self.contract.slices(self.contract.state)
        self._home = np.array(robot.home)
        self._side, self._grip, self._middle = 1.0, 0.0, 0.0

    def __deepcopy__(self, memo: Any) -> Sway:
        return self

    def reset(self, instruction: str, seed: int = 0) -> None:
        """A new instruction."""
        self._grip = 1.0 if "close" in instruction else 0.0

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        """(T, A) float32."""
        state, contract = observation["state"], self.contract
        chunk = np.zeros((contract.chunk_length, contract.action_dim), np.float32)
        if self._mode == "joint_position":
            joints = state[self._places["joint_position"]]
            self._turn(joints[0] - self._home[0])
            chunk[:, :-1] = joints
            chunk[:, 0] += TURN * self._side * np.arange(1, len(chunk) + 1)
        else:
            self._turn(state[self._places["ee_position"]][1])
            chunk[:, 1] = STEP * self._side
        chunk[:, -1] = self._grip
        return chunk

    def _turn(self, aside: float) -> None:
        if abs(aside) > SPAN:
            self._side = -float(np.sign(aside))


def interfaces() -> str:
    """Folder of control_msgs, franka_msgs and others, built once from tests/interfaces/packages."""
    packages = sorted(str(file.parent) for file in (ROOT / "tests" / "interfaces" / "packages").glob("*/package.xml"))
    command = [sys.executable, str(ROOT / "scripts" / "build_interfaces.py"), "--cache", f"{sys.prefix}/.interfaces"]
    return subprocess.run([*command, *packages], check=True, capture_output=True, text=True).stdout.splitlines()[-1]


class FakeProcess:
    """A fake of `driver_fakes`, running; ``motors``: it lets itself be seen on the motors' topics, too."""

    def __init__(self, name: str, log: Path, motors: bool = False) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        command = [sys.executable, "-m", "benchmarks.robots.driver_fake", name, *(["--motors"] if motors else [])]
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT, env=node_environment()
            )

    def stop(self) -> dict[str, Any]:
        """What came to the robot: commands accepted and refused, goals of the gripper, commands for motors."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(PATIENCE)
        lines = self._log.read_text(errors="replace").splitlines()
        try:
            return dict(json.loads(lines[-1]))
        except (ValueError, IndexError):
            raise RuntimeError(f"the fake robot failed: {lines[-12:]}") from None


class Probe:
    """Watches the joints of a robot and the supervisor, and gives instructions."""

    def __init__(self, robot: Robot) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import SingleThreadedExecutor
        from sensor_msgs.msg import JointState
        from std_msgs.msg import Bool, String

        from vla_agent.ros.process.node_base import LATCHED, SENSORS

        self._names = robot.joint_names
        self.positions: dict[str, float] = {}
        self.stopped: bool | None = None
        self.status: dict[str, str] = {}
        self.alive: Callable[[], bool] = lambda: True  # whether it is worth waiting
        self.node: Any = rclpy.create_node("probe")
        for topic in robot.joint_state_topics:
            self.node.create_subscription(JointState, topic, self._state, SENSORS)
        self.node.create_subscription(Bool, "safety/stopped", self._stopped, LATCHED)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._status, 20)
        self._instruction = self.node.create_publisher(String, "instruction", LATCHED)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._going = True
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while self._going:
            self._executor.spin_once(timeout_sec=0.1)

    def _state(self, message: Any) -> None:
        self.positions.update(zip(message.name, message.position, strict=True))

    def _stopped(self, message: Any) -> None:
        self.stopped = message.data

    def _status(self, message: Any) -> None:
        self.status.update({status.name: status.message for status in message.status})

    @property
    def joints(self) -> np.ndarray | None:
        """(J,) rad, or None before all are known."""
        known = [self.positions.get(name) for name in self._names]
        return None if None in known else np.array(known, dtype=float)

    def instruct(self, text: str) -> None:
        """Give an instruction."""
        from std_msgs.msg import String

        self._instruction.publish(String(data=text))

    def wait(self, until: Callable[[], bool], seconds: float = PATIENCE) -> bool:
        """Whether something holds within that time."""
        deadline = time.monotonic() + seconds
        while not until():
            if time.monotonic() > deadline or not self.alive():
                return False
            time.sleep(0.02)
        return True

    def call(self, service: str) -> tuple[bool, str]:
        """Call a Trigger service: (success, message)."""
        from std_srvs.srv import Trigger

        client = self.node.create_client(Trigger, service)
        try:
            if not client.wait_for_service(timeout_sec=PATIENCE):
                return False, "no such service"
            future = client.call_async(Trigger.Request())
            if not self.wait(future.done):
                return False, "no answer"
            return future.result().success, future.result().message
        finally:
            self.node.destroy_client(client)

    def moves(self, by: float = 0.03, seconds: float = PATIENCE) -> bool:
        """Whether a joint moves by so many rad within that time."""
        first = self.joints
        return self.wait(lambda: self.joints is not None and np.abs(self.joints - first).max() > by, seconds)

    def close(self) -> None:
        """End."""
        self._going = False
        self._thread.join()
        self._executor.shutdown()
        self.node.destroy_node()


def serve(name: str) -> tuple[Robot, PolicyServer]:
    """The robot of a fake and a server, not started, of a policy that moves it."""
    fake = FAKES[name]
    robot = load_robot(fake.robot)
    return robot, PolicyServer(Sway(robot, fake.mode), "Sway", port=0)
