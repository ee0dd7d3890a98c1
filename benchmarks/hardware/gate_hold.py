"""An arm that is moved by hand during a stop, then reset: the first command of the next stream, relative to the arm.

The plain classes (supervisor and controller), with an arm that follows its commands at once or lags behind them, and
the running nodes with joint states of this process.
"""

from __future__ import annotations

import os
import random
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.hardware.running_nodes import RunningNodes, running

NAME = "gate-hold"
TITLE = "arms moved by up to 0.3 rad during a stop: the next stream begins within 1 mm and 0.01 rad of them"
TARGET = 100.0
UNIT = "of 100"
BETTER = "higher"
NODES = int(os.environ.get("VLA_AGENT_HOLD_NODES", "20"))
MOST = 0.3  # rad by which a joint is moved
JUMP, SHIFT = 0.01, 0.001  # rad, metres: of the first command from where the arm is
PULL = 0.041  # rad from the arm to any target once it was moved: twice the tolerance of `robot.safety.hold`
SEED = 23


@dataclass(frozen=True)
class Case:
    """What happened.  ``pull``: largest distance of a target from the moved arm during the stop, rad."""

    jump: float
    shift: float
    pull: float
    displaced: float
    trouble: str = ""

    @property
    def good(self) -> bool:
        return not self.trouble and self.jump <= JUMP and self.shift <= SHIFT and self.pull <= PULL


def run() -> dict[str, Any]:
    from vla_agent.evaluation.exact_tests import clopper_pearson

    plain = [plain_case(seed) for seed in range(100 - NODES)]
    with tempfile.TemporaryDirectory() as folder:
        nodes = [node_case(seed, Path(folder)) for seed in range(NODES)]
    cases = plain + nodes
    good = sum(case.good for case in cases)
    return {
        "value": good,
        "n": len(cases),
        "interval": [100 * x for x in clopper_pearson(good, len(cases))],
        "seeds": f"{SEED}, 0 to {max(100 - NODES, NODES) - 1}",
        "rows": [_row("supervisor and controller", plain), _row("running nodes", nodes)],
        "passed": good == len(cases) == 100,
        "notes": f"no target during the stop may be farther than {PULL} rad from the arm once it was moved; wrong: "
        f"{'; '.join(str(case) for case in cases if not case.good) or 'nothing'}",
    }


def _row(asked: str, cases: list[Case]) -> dict[str, Any]:
    return {
        "asked": asked,
        "n": len(cases),
        "good": sum(case.good for case in cases),
        "largest jump, rad": max((case.jump for case in cases), default=0.0),
        "largest shift, m": max((case.shift for case in cases), default=0.0),
        "largest pull, rad": max((case.pull for case in cases), default=0.0),
        "mean displacement, rad": float(np.mean([case.displaced for case in cases])) if cases else 0.0,
    }


def _displacement(rng: random.Random, ahead: Any, joints: np.ndarray) -> np.ndarray:
    """(J,) rad by which a hand moves the arm from ``joints`` to where a stream may begin."""
    while True:
        shift = np.array([rng.uniform(-MOST, MOST) for _ in joints])
        if ahead.path(joints, (joints + shift)[None]) is None:
            return shift


# -- plain classes ---------------------------------------------------------------------------------------------------


class Arm:
    """A supervisor with its controller, and an arm that comes by ``speed`` of the way to its target each period."""

    def __init__(self, speed: float) -> None:
        from vla_agent.robot.control.arm_controller import ArmController
        from vla_agent.robot.description import load_robot
        from vla_agent.robot.safety.lookahead import LookAhead
        from vla_agent.robot.safety.supervisor import Supervisor

        self.robot = load_robot("panda")
        self.supervisor, self.controller = Supervisor(self.robot), ArmController(self.robot, "ee_delta")
        self.ahead = LookAhead(self.robot)
        self.speed, self.now = speed, 0.0
        self.joints = np.array(self.robot.home)
        self.target = self.joints.copy()
        self.sent: list[np.ndarray] = []
        self.new_stream = True

    def period(self, action: np.ndarray | None = None, led: np.ndarray | None = None) -> None:
        """One control period with an action (7,), or none; ``led``: (J,) rad where a hand holds the arm."""
        from vla_agent.robot.safety.supervisor import Command

        self.now += self.robot.period
        self.joints = self.joints + self.speed * (self.target - self.joints) if led is None else led
        targets = [self.supervisor.on_joint_state(self.joints, 0.0, self.now, self.now, 0.0)]
        if action is not None:
            if self.new_stream:
                self.controller.rest(self.joints, 0.0)
                self.new_stream = False
            command = self.controller.command(action, self.joints)
            plan = np.empty((0, len(command)))
            targets.append(self.supervisor.command(Command(command, 0.0, self.now, plan), 0.0, self.now))
        targets.append(self.supervisor.tick(self.now, self.now))
        for target in targets:
            if target is not None:
                self.target = target.joints
                self.sent.append(target.joints)


def plain_case(seed: int) -> Case:
    """One stop, one displacement, one new stream."""
    rng = random.Random(f"{SEED} {seed}")
    arm = Arm(rng.choice([1.0, 0.7, 0.4]))
    action = np.array([rng.uniform(-0.01, 0.01), rng.uniform(-0.01, 0.01), rng.uniform(0, 0.008), 0, 0, 0, 0])
    for _ in range(rng.randrange(1, 15)):
        arm.period(action)
    if arm.supervisor.mode != "running":
        return Case(0.0, 0.0, 0.0, 0.0, f"never ran: {arm.supervisor.reason}")
    arm.supervisor.stop("e-stop", "a benchmark", arm.now)
    for _ in range(rng.randrange(30)):
        arm.period()
    pull, began = 0.0, arm.joints
    shift = _displacement(rng, arm.ahead, began)
    steps = rng.randrange(2, 20)
    for k in range(1, 1 + steps + 20):
        arm.sent = []
        led = began + shift * min(1.0, k / steps)
        arm.period(led=led)
        if k >= steps:  # it was moved: no target pulls at it
            pull = max([pull, *(float(np.abs(target - led).max()) for target in arm.sent)])
    there, arm.sent, arm.new_stream = arm.joints, [], True
    done, why = arm.supervisor.reset(arm.now)
    if not done:
        return Case(0.0, 0.0, pull, float(np.abs(shift).max()), f"no reset: {why}")
    arm.period(action, led=there)
    if not arm.sent:
        return Case(0.0, 0.0, pull, float(np.abs(shift).max()), f"does not move: {arm.supervisor.reason}")
    return _judged(arm.ahead, arm.sent[0], there, pull, shift)


def _judged(ahead: Any, first: np.ndarray, there: np.ndarray, pull: float, shift: np.ndarray) -> Case:
    moved = np.linalg.norm(ahead.end_effector(first) - ahead.end_effector(there))
    return Case(float(np.abs(first - there).max()), float(moved), pull, float(np.abs(shift).max()))


# -- running nodes ---------------------------------------------------------------------------------------------------


def node_case(seed: int, folder: Path) -> Case:
    """The same with safety and controller node; the arm follows its commands at once until a hand leads it."""
    from vla_agent.robot.safety.lookahead import LookAhead

    rng = random.Random(f"nodes {SEED} {seed}")
    with running({"safety_node": {}, "controller_node": {}}, str(folder)) as nodes:
        nodes.connect()
        ahead, arm = LookAhead(nodes.robot), _Following(nodes)
        nodes.joints = np.array(nodes.robot.home)
        nodes.spin(0.2)
        action = np.array([rng.uniform(-0.004, 0.004), rng.uniform(-0.004, 0.004), 0.003, 0, 0, 0, 0])
        if not arm.start(action):
            return Case(0.0, 0.0, 0.0, 0.0, f"never ran: {nodes.status}")
        nodes.spin(rng.uniform(0.1, 0.5), partial(arm.follow, action))
        nodes.call("safety/estop")
        nodes.spin(rng.uniform(0.3, 0.8), arm.follow)
        began = nodes.joints
        shift, steps = _displacement(rng, ahead, began), rng.randrange(2, 8)
        for k in range(1, 1 + steps):
            nodes.joints = began + shift * k / steps
            nodes.spin(nodes.robot.period)
        there = nodes.joints
        nodes.spin(2 * nodes.robot.period)
        nodes.arm.clear()
        nodes.spin(0.3)
        pull = max((float(np.abs(target - there).max()) for target in nodes.arm), default=0.0)
        if not nodes.wait(lambda: nodes.call("safety/reset")[0] and not nodes.stopped, 5.0):
            return Case(0.0, 0.0, pull, float(np.abs(shift).max()), f"no reset: {nodes.status}")
        nodes.arm.clear()
        if not arm.start(action):
            return Case(0.0, 0.0, pull, float(np.abs(shift).max()), f"does not move: {nodes.status}")
        return _judged(ahead, nodes.arm[0], there, pull, shift)


class _Following:
    """An arm that is where it was last commanded."""

    def __init__(self, nodes: RunningNodes) -> None:
        self._nodes, self._home = nodes, None

    def follow(self, action: np.ndarray | None = None) -> None:
        """Once a control period: be where the last target was, and pass an action on."""
        if self._nodes.arm:
            self._nodes.joints = self._nodes.arm[-1]
        if action is not None:
            self._nodes.act(action)

    def start(self, action: np.ndarray) -> bool:
        """Whether the arm gets a target within a second; a stop because this process was late is reset."""
        for _ in range(5):
            self._nodes.spin(4 * self._nodes.robot.period, partial(self.follow, action))
            if self._nodes.arm:
                return True
            if self._nodes.stopped:
                self._nodes.call("safety/reset")
                self._nodes.wait(lambda: not self._nodes.stopped, 1.0)
        return False
