"""The tabletop as an environment: `sim.env.TabletopEnv` behind the protocol, bit for bit as `sim.rollout` plays it."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from sim.env import TabletopEnv
from sim.experts.expert import Expert
from sim.policies import Policy
from sim.rollout import state_hash
from sim.tasks.events import Events, EventTracker
from sim.tasks.task import TaskFamily, TaskInstance
from sim.world.cameras import Cameras
from vla_agent.contract.tabletop import CAMERAS

NAME = "tabletop"
EXPERT_STREAM = 101  # of the expert's random numbers, as in `sim.policies.ExpertPolicy`


@dataclass(frozen=True)
class TabletopChoice:
    """Task families of the tabletop, and the split that their wordings and objects are drawn from."""

    families: Mapping[str, TaskFamily]
    split: str = "seen"

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(self.families)

    def open(self) -> Tabletop:
        """The environment, with its world built."""
        return Tabletop(self.families, self.split)


class Tabletop:
    """`vla_agent.environments.protocol.Environment` of the simulated arm; the world is built once for all tasks."""

    def __init__(self, families: Mapping[str, TaskFamily], split: str = "seen") -> None:
        self._families, self._split = dict(families), split
        self.env = TabletopEnv(task=next(iter(self._families.values())), split=split)
        self.contract = self.env.contract
        self._film: dict[tuple[int, tuple[str, ...]], Cameras] = {}
        self._seed = 0
        self._expert: Expert | None = None
        self._tracker: EventTracker | None = None

    def at(self, task: str) -> TabletopEnv:
        """The Gymnasium environment, set to a task family; for the gate, which varies its world."""
        self.env.set_task(self._families[task], self._split)
        return self.env

    @property
    def instance(self) -> TaskInstance:
        """The running episode's task."""
        return self.env.task

    def tasks(self) -> tuple[str, ...]:
        return tuple(self._families)

    def limit(self, task: str) -> int:
        return int(self._families[task].time_limit)

    def reset(self, task: str, seed: int) -> str:
        instance = self.at(task).begin(seed)
        self._seed, self._expert = seed, None
        self._tracker = EventTracker(self.env.world, instance)
        return instance.instruction

    def observe(self, images: bool = True) -> dict[str, Any]:
        state = {"state": self.env.world.state()}
        return state | {"images": self.env.world.render()} if images else state

    def step(self, action: np.ndarray) -> bool:
        assert self._tracker is not None, "reset first"
        self.env.world.step(action)
        self._tracker.update()
        return bool(self.instance.success(self.env.world))

    def close(self) -> None:
        for cameras in self._film.values():
            cameras.close()
        self._film.clear()
        self.env.close()

    def expert(self) -> np.ndarray:
        """(7,) float32: the scripted expert's action; it reads the simulator's state."""
        if self._expert is None:
            random = np.random.default_rng([self._seed, EXPERT_STREAM])
            self._expert = Expert(self.env.world, self.instance, rng=random, noise=0.0)
        return np.asarray(self._expert.action(), np.float32)

    def other_instructions(self) -> tuple[str, ...]:
        return self.instance.other_instructions

    def foreign_instructions(self) -> tuple[str, ...]:
        return self.instance.foreign_instructions

    def state_hash(self) -> str:
        return state_hash(self.env.world)

    def versions(self) -> dict[str, str]:
        return {name: importlib.metadata.version(name) for name in ("mujoco", "numpy", "gymnasium")}

    def events(self) -> Events:
        assert self._tracker is not None, "reset first"
        return self._tracker.events()

    def film(self, size: int, views: tuple[str, ...] = CAMERAS) -> Callable[[], dict[str, np.ndarray]]:
        """A function that renders ``views`` of the world at (size, size, 3)."""
        if (size, views) not in self._film:
            self._film[size, views] = Cameras(self.env.world.model, (size, size), views)
        return partial(self._film[size, views].render, self.env.world.data)

    def render(self) -> np.ndarray:
        """(H, W, 3) uint8: the front camera, now."""
        return np.array(self.env.world.render()[CAMERAS[0]])

    def bind(self, policy: Policy) -> None:
        """Give a policy that reads the simulator the world and the episode's task."""
        policy.bind(self.env.world, self.instance)  # type: ignore[attr-defined]  # an optional hook of policies
