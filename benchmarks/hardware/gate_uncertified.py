"""Random orders of inputs, services, parameters and faults on hardware without a valid certificate.

Sequences of the plain classes (supervisor, gate, certificate watch), and of the running nodes with a subscriber on
every topic of the robot.  Some begin with a valid certificate that becomes invalid before the first event.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.certificates.certificate_case import CertificateCase
from benchmarks.hardware.running_nodes import RunningNodes, running
from benchmarks.hardware.uncertified_cases import Hardware, certified, faulty
from vla_agent.robot.description import Robot, load_robot
from vla_agent.ros.process.graph_table import Value

NAME = "gate-uncertified"
TITLE = "messages on the robot's topics in 10,000 random sequences of the supervisor and 200 of the running nodes"
TARGET = 0.0
UNIT = "messages"
BETTER = "lower"
SEQUENCES = int(os.environ.get("VLA_AGENT_UNCERTIFIED", "10000"))
NODES = int(os.environ.get("VLA_AGENT_UNCERTIFIED_NODES", "200"))
CONTROLS = 5  # sequences with a valid certificate, which must be seen to command the robot
EVENTS, NODE_EVENTS = 40, 14  # of a sequence
PROCESSES = 2
WITHDRAWN = ("revoked", "a file written", "demands gone", "another policy loaded")  # after the certificate was valid
SEED = 17


def run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder) / f"{k}" for k in range(PROCESSES)]
        with ProcessPoolExecutor(PROCESSES, get_context("fork")) as pool:
            seeds = np.array_split(np.arange(SEQUENCES), PROCESSES)
            parts = list(pool.map(_plain_sequences, places, [list(map(int, part)) for part in seeds]))
        rows = _rows("supervisor and gate", parts)
        robot = load_robot("panda")
        seen = sum(plain_sequence(certified(Path(folder) / f"good-{k}"), robot, "", k) for k in range(CONTROLS))
        rows += _rows("running nodes", [_node_sequences(Path(folder) / "nodes", NODES)])
        rows.append(_control(Path(folder) / "control"))
    messages = sum(row["messages"] for row in rows if row["asked"] != "control, certified")
    seen_by_nodes = rows[-1]["messages"]
    return {
        "value": messages,
        "n": SEQUENCES + NODES,
        "interval": [0.0, float(_upper(messages, SEQUENCES + NODES))],
        "seeds": f"{SEED}, 0 to {SEQUENCES - 1}; nodes 0 to {NODES - 1}",
        "rows": rows,
        "passed": messages == 0 and seen > 0 and seen_by_nodes > 0,
        "notes": f"interval: exact, of sequences with a message; {EVENTS} events a sequence, {NODE_EVENTS} at the "
        f"nodes (safety and controller node, in one process, real time).  Control with a valid certificate, whose "
        f"timing is replaced: {seen} targets of the plain classes, {seen_by_nodes} messages of the nodes",
    }


def _upper(k: int, n: int) -> float:
    from vla_agent.evaluation.exact_tests import clopper_pearson

    return n * clopper_pearson(min(k, n), n)[1]


def _rows(asked: str, parts: list[dict[str, tuple[int, int]]]) -> list[dict[str, Any]]:
    total: dict[str, Counter[str]] = {}
    for part in parts:
        for fault, (sequences, messages) in part.items():
            total.setdefault(fault, Counter()).update(sequences=sequences, messages=messages)
    return [{"asked": asked, "certificate": fault} | dict(counts) for fault, counts in sorted(total.items())]


# -- plain classes ---------------------------------------------------------------------------------------------------


def _plain_sequences(folder: Path, seeds: list[int]) -> dict[str, tuple[int, int]]:
    """Certificate -> sequences and messages.  The simulator's files are hashed, and the robot's model is read, once."""
    from vla_agent.gate.certificate import enforce
    from vla_agent.robot.safety import supervisor

    robot = load_robot("panda")
    files, ahead = enforce.simulator_files(), supervisor.LookAhead(robot)
    cases, valid = faulty(folder / "faults"), certified(folder / "valid")
    found: dict[str, Counter[str]] = {}
    with (
        mock.patch.object(enforce, "simulator_files", lambda: files),
        mock.patch.object(supervisor, "LookAhead", lambda _robot: ahead),
    ):
        for seed in seeds:
            fault = random.Random(f"{SEED} {seed}").choice([*cases, *WITHDRAWN])
            withdrawn = "" if fault in cases else fault
            hardware = _copied(valid, folder / f"{seed}") if withdrawn else cases[fault]
            messages = plain_sequence(hardware, robot, withdrawn, seed)
            found.setdefault(fault, Counter()).update(sequences=1, messages=messages)
            if withdrawn:
                shutil.rmtree(folder / f"{seed}")
    return {fault: (counts["sequences"], counts["messages"]) for fault, counts in found.items()}


def _copied(hardware: Hardware, root: Path) -> Hardware:
    shutil.copytree(hardware.case.root, root)
    case = CertificateCase(root)
    return replace(hardware, case=case, certificate=case.certificate)


class Plain:
    """Gate, supervisor and watch as the safety node has them, and what happens to them."""

    def __init__(self, hardware: Hardware, rng: random.Random, robot: Robot) -> None:
        from vla_agent.robot.safety.command_gate import CommandGate
        from vla_agent.robot.safety.supervisor import Supervisor
        from vla_agent.ros.runtime.certificate_watch import CertificateWatch

        os.environ["VLA_AGENT_KEYS"] = str(hardware.keys)
        self.rng, self.hardware = rng, hardware
        self.robot = robot
        self.sent: list[Any] = []
        file = str(hardware.certificate or "")
        self.watch = CertificateWatch(str(hardware.policy), file, hardware.deployment, lambda *_: 1.0)
        self.gate = CommandGate(Supervisor(robot, deadman=rng.random() < 0.3), self.sent.append, "not checked yet")
        self.now, self.clock, self.loaded = 1.0, 1.0, ""
        self.joints = np.array(self.robot.home)
        self.check()

    def check(self) -> None:
        """As the safety node does at its start and at a reset."""
        refused = self.watch.check() or self.watch.recheck(self.loaded)
        if refused:
            self.gate.withdraw(refused, self.now)
        else:
            self.gate.permit()

    def recheck(self) -> None:
        """As the safety node does once a second."""
        if not self.gate.refused and (refused := self.watch.recheck(self.loaded)):
            self.gate.withdraw(refused, self.now)

    def state(self) -> None:
        self.gate.on_joint_state(self.joints, 0.2, self.clock, self.now, 0.0)

    def led(self) -> None:
        self.joints = self.joints + np.array([self.rng.uniform(-0.3, 0.3) for _ in self.joints])
        self.state()

    def bad_state(self) -> None:
        joints = self.rng.choice([np.full(7, np.nan), np.zeros(3), self.joints + 9.0])
        self.gate.on_joint_state(joints, self.rng.choice([0.0, np.nan]), self.clock, self.now, None)

    def force(self) -> None:
        self.gate.on_joint_state(self.joints, 0.2, self.clock, self.now, 99.0)

    def command(self) -> None:
        from vla_agent.robot.safety.supervisor import Command

        joints = self.joints + self.rng.choice([0.0, 0.001, 0.5, np.nan])
        plan = np.tile(joints, (self.rng.randrange(3), 1)).reshape(-1, len(joints))
        gripper = self.rng.choice([0.0, 1.0, 7.0])
        self.gate.command(Command(joints, gripper, self.clock, plan), self.rng.choice([0.0, 9.0]), self.now)

    def stream(self) -> None:
        """As at a proper start: five periods of joint states and commands."""
        from vla_agent.robot.safety.supervisor import Command

        for _ in range(5):
            self.wait(self.robot.period)
            self.state()
            rest = np.empty((0, len(self.joints)))
            self.gate.command(Command(self.joints, 0.2, self.clock, rest), 0.0, self.now)

    def reset(self) -> None:
        if self.gate.stopped:
            self.check()
        self.gate.reset(self.now)

    def wait(self, seconds: float | None = None) -> None:
        passed = self.rng.choice([0.001, 0.05, 0.2]) if seconds is None else seconds
        self.now, self.clock = self.now + passed, self.clock + passed
        self.gate.tick(self.now, self.clock)

    def jump(self) -> None:
        self.clock += self.rng.choice([-9.0, 9.0])
        self.gate.tick(self.now, self.clock)

    def load(self) -> None:
        self.loaded = self.rng.choice(["", "0" * 64, self.hardware.case.payload["policy"]["digest"]])
        self.recheck()

    def stop(self) -> None:
        self.gate.stop(self.rng.choice(["e-stop", "asked"]), "a benchmark", self.now)

    def deadman(self) -> None:
        self.gate.on_deadman(self.rng.random() < 0.5, self.now)

    def end(self) -> None:
        self.gate.end()

    def final(self) -> None:
        self.gate.final(self.now, partial(self.wait, self.robot.period))


MOVES: tuple[Callable[[Plain], None], ...] = (
    *(Plain.state, Plain.led, Plain.bad_state, Plain.force, Plain.command, Plain.stream, Plain.reset, Plain.wait),
    *(Plain.jump, Plain.load, Plain.stop, Plain.deadman, Plain.end, Plain.recheck, Plain.check),
)


def plain_sequence(hardware: Hardware, robot: Robot, withdrawn: str, seed: int) -> int:
    """Targets that reached the robot.

    Args:
        withdrawn: one of `WITHDRAWN`, which happens before the events to a valid certificate; empty: nothing does.
    """
    rng = random.Random(f"plain {SEED} {seed}")
    plain = Plain(hardware, rng, robot)
    if withdrawn:
        plain.loaded = "0" * 64 if withdrawn == "another policy loaded" else ""
        _withdraw(hardware, withdrawn)
        plain.recheck()
    for move in rng.choices(MOVES[: -2 if withdrawn else None], k=EVENTS):
        if not (withdrawn and move in (Plain.load, Plain.reset)):  # they may make it valid again
            move(plain)
    plain.final()
    return len(plain.sent)


def _withdraw(hardware: Hardware, withdrawn: str) -> None:
    from vla_agent.gate.certificate import keys

    if withdrawn == "revoked":
        keys.revoke(hardware.case.payload["id"], "a benchmark", hardware.keys)
    elif withdrawn == "a file written":
        os.utime(hardware.policy / "head.safetensors", ns=(1, 1))
    elif withdrawn == "demands gone":
        (hardware.keys / "demands" / "panda.yaml").unlink()


# -- running nodes ---------------------------------------------------------------------------------------------------


def _node_sequences(folder: Path, count: int) -> dict[str, tuple[int, int]]:
    cases = faulty(folder)
    found: dict[str, Counter[str]] = {}
    for seed in range(count):
        fault = list(cases)[seed % len(cases)]
        messages = node_sequence(cases[fault], seed)
        found.setdefault(fault, Counter()).update(sequences=1, messages=messages)
        if messages:
            print(f"sequence {seed}, {fault}: {messages} messages", flush=True)
    return {fault: (counts["sequences"], counts["messages"]) for fault, counts in found.items()}


def node_sequence(hardware: Hardware, seed: int) -> int:
    """Messages on the robot's own topics during one life of safety and controller node."""
    rng = random.Random(f"nodes {SEED} {seed}")
    values: dict[str, Any] = {"hardware": True, "deadman": rng.random() < 0.3} | hardware.parameters()
    with running({"safety_node": values, "controller_node": {}}, str(hardware.keys)) as nodes:
        nodes.connect()
        moves = _node_moves(nodes, rng)
        nodes.joints = np.array(nodes.robot.home)
        for move in rng.choices(moves, k=NODE_EVENTS):
            move()
            nodes.spin(rng.choice([0.0, 0.01, 0.06]))
        nodes.end()
        return nodes.on_hardware()


def _node_moves(nodes: RunningNodes, rng: random.Random) -> list[Callable[[], Any]]:
    from std_msgs.msg import Bool, String
    from trajectory_msgs.msg import JointTrajectory

    from vla_agent.ros.messages import conversions

    home = np.array(nodes.robot.home)
    commands = nodes.probe.create_publisher(JointTrajectory, "controller/joint_trajectory", 10)

    def move_arm() -> None:
        nodes.joints = rng.choice([home, home + rng.uniform(-0.2, 0.2), home * np.nan, None])

    def publish_other_state() -> None:
        nodes.publish_state(home, *rng.choice([(nodes.names[:3], 0.0), (None, 99.0)]))

    def act() -> None:
        action = np.full(7, rng.choice([0.0, 0.004, np.nan]))
        nodes.spin(0.2, partial(nodes.act, action, rng.choice([0, 1, 4])))

    def command() -> None:
        rows = np.append(home, 0.0)[None] * rng.choice([1.0, 1.001, np.nan])
        message = conversions.trajectory_message(nodes.names, rows, nodes.time(), nodes.robot.period)
        commands.publish(message)

    def parameter() -> None:
        values: dict[str, Value] = {"hardware": False, "certificate": "/dev/null", "policy": "x", "robot": "so101"}
        name, value = rng.choice(sorted(values.items()))
        if not nodes.set("safety_node", name, value):
            raise AssertionError(f"the parameter {name} was set while the safety node runs")

    return [
        *(move_arm, publish_other_state, act, act, command, command, parameter),
        lambda: nodes.call("safety/estop"),
        lambda: nodes.call("safety/reset"),
        lambda: nodes.call("safety/reset"),
        lambda: nodes.stop.publish(String(data="a benchmark")),
        lambda: nodes.deadman.publish(Bool(data=rng.random() < 0.5)),
        lambda: nodes.loaded.publish(String(data=rng.choice(["", "0" * 64]))),
        lambda: nodes.spin(0.12),
    ]


def _control(folder: Path) -> dict[str, Any]:
    """A valid certificate, so that it is seen that messages are seen; the time of an inference is not measured."""
    from vla_agent.ros.runtime import certificate_watch

    hardware, messages = certified(folder), 0
    values: dict[str, Any] = {"hardware": True} | hardware.parameters()
    with mock.patch.object(certificate_watch, "p99_ms_in_subprocess", lambda *_: 1.0):
        for _ in range(CONTROLS):
            with running({"safety_node": values, "controller_node": {}}, str(hardware.keys)) as nodes:
                nodes.connect()
                nodes.announce(hardware.case.payload["policy"]["digest"])
                nodes.joints = np.array(nodes.robot.home)
                nodes.spin(0.2)
                nodes.spin(0.3, partial(nodes.act, np.zeros(7)))
                nodes.call("safety/estop")
                nodes.end()
                messages += nodes.on_hardware()
    return {"asked": "control, certified", "certificate": "valid", "sequences": CONTROLS, "messages": messages}
