"""What stands between a policy and the arm on a robot, in one process: controller, filter and supervisor.

`RobotChain` is these parts, as the nodes call them.  `drive_by_chain` puts it between a policy and the simulator, so
that an episode has the robot's limits, its filter and its stops.  Certificates judge a policy without it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sim.policies import Policy
from sim.world.world import World
from vla_agent.errors import RobotError
from vla_agent.robot.control.arm_controller import ArmController
from vla_agent.robot.description import Robot
from vla_agent.robot.safety.hold import Target
from vla_agent.robot.safety.supervisor import STOPPED, Command, Supervisor

NO_PLAN = np.empty((0, 0))


class RobotChain:
    """One action a control period -> the target that the robot gets.

    Args:
        robot: its robot file; ``safety: filter`` decides whether the filter is in the chain.
        mode: ``ee_delta`` or ``joint_position``.
    """

    def __init__(self, robot: Robot, mode: str) -> None:
        self.robot = robot
        self._arm, self._horizon = ArmController(robot, mode), max(1, round(robot.lookahead.seconds / robot.period))
        self.begin()

    def begin(self) -> None:
        """A new episode: the next action begins a stream, wherever the arm is."""
        self._supervisor, self._now, self._starting = Supervisor(self.robot), 0.0, True
        self.filtered: Counter[str] = Counter()  # what limited a command -> number of commands
        self.seconds: list[float] = []  # that the controller took for each command and its plan

    @property
    def stopped(self) -> str:
        """Why the supervisor stopped the robot; empty where it runs."""
        return self._supervisor.reason if self._supervisor.mode == STOPPED else ""

    def step(
        self, actions: np.ndarray, measured: np.ndarray, gripper: float, effort: float | None = None
    ) -> Target | None:
        """The target of this period; None: the robot keeps the last one.

        Args:
            actions: (N, A), for this period and, where they are known, the next ones.
            measured: (J,) rad.
            gripper: measured, 0 open to 1 closed.
            effort: of the gripper's joint; None where it is not measured.
        """
        self._now += self.robot.period
        now, supervisor = self._now, self._supervisor
        stopping = supervisor.on_joint_state(measured, gripper, now, now, effort)
        if supervisor.mode == STOPPED:
            return stopping or supervisor.tick(now, now)
        if self._starting:
            self._arm.rest(measured, gripper)
            self._starting = False
        began = time.perf_counter()
        try:
            joints = self._arm.command(actions, measured)
            plan = self._arm.preview(actions[1:], self._horizon - 1)
        except RobotError as error:
            return supervisor.stop("asked", f"{error.what}: {error.found}", now)
        self.seconds.append(time.perf_counter() - began)
        if self._arm.filtered is not None:
            self.filtered[self._arm.filtered.limit] += 1
        return supervisor.command(Command(joints, self._arm.gripper, now, plan), 0.0, now)


class _Announced:
    """A policy whose last chunk is known to the chain."""

    def __init__(self, policy: Policy) -> None:
        self._policy, self._chunk, self._next = policy, NO_PLAN, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        self._chunk, self._next = self._policy.act(observation), 0
        return self._chunk

    def upcoming(self) -> np.ndarray:
        """(N, A): the actions after the one of this period; called once a period."""
        self._next += 1
        return self._chunk[self._next :]


class _ChainedController:
    """In the place of the simulator's controller: its targets are those of the chain."""

    def __init__(self, chain: RobotChain, world: World, upcoming: Callable[[], np.ndarray]) -> None:
        self._inner, self._chain, self._world, self._upcoming = world.controller, chain, world, upcoming
        joints = [world.model.joint(name) for name in chain.robot.joint_names]
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self._effort = world.model.joint(chain.robot.gripper.joint).dofadr[0]
        self.joints, self.gripper = self._inner.joints, self._inner.gripper

    @property
    def position(self) -> np.ndarray:
        return self._inner.kinematics.forward(self.joints)[0]

    def start(self, position: np.ndarray, yaw: float, gripper: float) -> np.ndarray:
        self.joints, self.gripper = self._inner.start(position, yaw, gripper), float(gripper)
        self._chain.begin()
        return self.joints

    def command(self, action: np.ndarray, _position: np.ndarray, _quaternion: np.ndarray) -> None:
        data, upcoming = self._world.data, self._upcoming()
        actions = np.vstack([action[None], upcoming]) if len(upcoming) else action[None]
        effort = float(data.qfrc_actuator[self._effort])
        target = self._chain.step(actions, data.qpos[self._qpos].copy(), self._world.gripper, effort)
        if target is not None:
            self.joints, self.gripper = target.joints, target.gripper


def drive_by_chain(world: World, chain: RobotChain, policy: Policy) -> Policy:
    """From the next reset on the chain drives the world's arm; returns the policy that `run_episode` must play.

    The chain's mode must be the world's.  Snapshots of such a world cannot be restored: experts that look ahead are
    not for it.
    """
    announced = _Announced(policy)
    world.controller = _ChainedController(chain, world, announced.upcoming)  # type: ignore[assignment]  # what World calls
    return announced  # type: ignore[return-value]  # everything but act is the policy's own
