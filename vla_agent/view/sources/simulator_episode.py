"""One episode of the simulator that a viewer can stop, step and disturb, driven by the policy or by the expert."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from sim.env import TabletopEnv
from sim.perturbations.catalogue import require_effect
from sim.perturbations.variation import Variation
from sim.policies import ExpertPolicy
from sim.tasks.task import TaskInstance
from sim.world.scene import Scene
from sim.world.world import World
from vla_agent.evaluation.robot_chain import RobotChain, drive_by_chain
from vla_agent.policy.execution import hold
from vla_agent.view.policy_eyes import PolicyEyes
from vla_agent.view.source import Picture

POLICY, EXPERT, NOBODY = "policy", "expert", "nobody"
DRIVERS = (POLICY, EXPERT, NOBODY)
MAX_PATH = 400  # control steps of the executed path that are kept: 20 s


class Driver:
    """Acts as whoever drives, one of `DRIVERS`; `RobotChain` asks it for the actions that follow."""

    execute = 1

    def __init__(self, policy: Any) -> None:
        self.policy, self.expert, self.name = policy, ExpertPolicy(), POLICY
        self._still: Callable[[], np.ndarray] | None = None

    def reset(self, instruction: str) -> None:
        """The policy is reset by `Episode.instruct`, the expert by `begin`."""

    def begin(self, world: World, task: TaskInstance, still: Callable[[], np.ndarray]) -> None:
        self.expert.bind(world, task)
        self.expert.reset(task.instruction)
        self._still = still

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        """(T, A)."""
        if self.name == POLICY:
            return np.asarray(self.policy.act(observation))
        if self.name == EXPERT:
            return self.expert.act(observation)
        assert self._still is not None, "begin first"
        return self._still()[None]


class Episode:
    """An episode, one control period at a time.

    Args:
        chain: a robot's controller, filter and supervisor between driver and arm; None: the simulator's own controller.

    Attributes:
        chunk: (T, A) of the last look of the policy; empty before one.
        refusal, doubt: of the policy at its last look; empty and None where it has nothing to say.
        inference: milliseconds of the last chunk.
    """

    def __init__(self, env: TabletopEnv, policy: Any, chain: RobotChain | None = None) -> None:
        self.env, self.world, self.policy, self.chain = env, env.world, policy, chain
        self.driver, self._eyes = Driver(policy), PolicyEyes(policy)
        self._acting: Any = self.driver if chain is None else drive_by_chain(self.world, chain, self.driver)
        self.variation, self.detail = "", ""
        self.severity = 2

    def begin(self, seed: int, scene: Scene | None, dress: Callable[[World], None]) -> None:
        """Lay out the episode of a seed.

        Args:
            scene: in place of the task's own.
            dress: what the viewer set of light and camera; called after the variation's own changes.

        Raises:
            OptionError: the variation cannot be applied to this episode.
            TaskError: the family cannot be sampled.
        """
        task = self.env.family.episode(seed, self.env.split)
        effect = require_effect(Variation(self.variation, self.severity), task, seed) if self.variation else None
        task = task if effect is None else effect.task
        self.detail = "" if effect is None else effect.detail
        vary = None if effect is None else effect.vary
        self.task = task if scene is None else replace(task, scene=scene)

        def prepare(world: World) -> None:
            if vary is not None:
                vary(world)
            dress(world)

        self.world.reset(self.task.scene, prepare)
        self.seed, self.steps, self.success = seed, 0, False
        self.driver.begin(self.world, self.task, lambda: hold(self.env.contract, self.world.state(), None))
        self._path = np.empty((MAX_PATH, 3))
        self.instruct((effect.instruction if effect is not None else None) or self.task.instruction)

    def instruct(self, instruction: str) -> None:
        """Give the policy an instruction; it looks before the next step.  Success is still that of the task."""
        self.instruction = instruction
        self.policy.reset(instruction, seed=self.seed)
        self._eyes.begin(instruction)
        self.images = self.world.render()
        self.chunk, self.refusal, self.doubt, self.inference = np.empty((0, 0)), "", None, 0.0
        self._since, self.seen = 0, dict[str, Picture]()

    def look(self) -> None:
        """The policy looks at the scene as it is now, whoever drives; where it drives, its chunk is executed."""
        self.images = self.world.render()
        observation = {"images": self.images, "state": self.world.state()}
        drives, began = self.driver.name == POLICY, time.perf_counter()
        self.chunk = np.asarray((self._acting if drives else self.policy).act(observation))
        self.inference = 1000 * (time.perf_counter() - began)
        self.seen, self.start, self._since = self._eyes.look(self.images), self.world.command_position, 0
        self.refusal = getattr(self.policy, "refusal", None) or ""
        self.doubt = getattr(self.policy, "doubt", None)

    def look_afresh(self) -> None:
        """The same, after a viewer changed the scene: what the policy remembers of the old one is forgotten."""
        self.policy.reset(self.instruction, seed=self.seed)
        self.look()

    def advance(self) -> np.ndarray:
        """One control period; returns the action (A,) that was executed."""
        if not len(self.chunk) or self._since >= min(self.policy.execute, len(self.chunk)):
            self.look()
        drives = self.driver.name == POLICY
        action = self.chunk[self._since] if drives else self._acting.act({"state": self.world.state()})[0]
        self._path[self.steps % MAX_PATH] = self.world.ee_position
        self.world.step(action)
        self._since, self.steps = self._since + 1, self.steps + 1
        self.success = bool(self.task.success(self.world))
        self.images = self.world.render()
        return np.asarray(action)

    @property
    def over(self) -> bool:
        return self.success or self.steps >= self.task.steps_limit

    @property
    def path(self) -> np.ndarray:
        """(N, 3): where the end effector was, oldest first, metres."""
        if self.steps <= MAX_PATH:
            return self._path[: self.steps].copy()
        return np.roll(self._path, -(self.steps % MAX_PATH), axis=0)

    @property
    def plan(self) -> np.ndarray:
        """(N, 3): where the rest of the policy's chunk leads the commanded end effector, metres."""
        if not len(self.chunk) or self.env.world.control != "ee_delta":
            return np.empty((0, 3))
        moves = np.vstack([np.zeros(3), np.cumsum(self.chunk[:, :3], axis=0)]) + self.start
        return moves[self._since :] if self.driver.name == POLICY else moves
