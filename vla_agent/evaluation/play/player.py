"""Plays episodes: one world and one policy, built once, for any number of episodes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from sim.env import TabletopEnv
from sim.policies import ExpertPolicy, Policy, RandomPolicy, ReplayPolicy
from sim.rollout import EpisodeResult, EpisodeSettings, run_episode
from sim.tasks.task import TaskFamily, TaskInstance
from sim.world.cameras import Cameras
from vla_agent.contract import Contract
from vla_agent.contract.renamed_cameras import RenamedCameras
from vla_agent.contract.tabletop import CAMERAS
from vla_agent.evaluation.failure_modes import classify
from vla_agent.policy.execution_settings import Execution

SCRIPTED = ("expert", "random")


@dataclass(frozen=True)
class Job:
    """One episode to play.  ``control``: "policy", "shuffled", "random" or "expert"."""

    control: str
    task: str
    seed: int

    @property
    def key(self) -> str:
        return f"{self.control}/{self.task}/{self.seed}"


def load_learned(name: str, expected: str | None = None) -> Policy:
    """The learned policy in a folder, of the hub, or behind a server; ``expected``: the digest that it must have."""
    from vla_agent.policy.loading import load_policy

    return load_policy(name, expected=expected)


@dataclass(frozen=True)
class PlayerSettings:
    """What all episodes of a run have in common.  ``load`` makes the policy of a name; it is sent to the workers."""

    policy: str
    families: dict[str, TaskFamily]
    split: str = "seen"
    load: Callable[[str], Policy] = load_learned
    execution: Execution = Execution()


class Player:
    """One world, one policy; plays episodes, and replays recorded ones."""

    def __init__(self, settings: PlayerSettings) -> None:
        self.settings = settings
        self._env: TabletopEnv | None = None
        self._policies: dict[str, Policy] = {"expert": ExpertPolicy(), "random": RandomPolicy()}
        self._film: dict[tuple[int, tuple[str, ...]], Cameras] = {}

    def environment(self, task: str) -> TabletopEnv:
        """The environment, set to a task family; the world is built at the first call only."""
        family = self.settings.families[task]
        if self._env is None:
            self._env = TabletopEnv(task=family, split=self.settings.split)
        self._env.set_task(family, self.settings.split)
        return self._env

    def policy(self, name: str, env: TabletopEnv) -> Policy:
        """The policy of that name or folder, loaded once, its contract compared with the environment's."""
        if name not in self._policies:
            policy = self.settings.execution.prepare(self.settings.load(name))
            if self.settings.execution.renamed:
                policy = RenamedCameras(policy, dict(self.settings.execution.renamed))
            contract: Contract | None = getattr(policy, "contract", None)
            if contract is not None:
                contract.require(env.contract, f"policy {name}", "the simulator", ignore=("chunk_length",))
            self._policies[name] = policy
        return self._policies[name]

    def play(self, job: Job) -> EpisodeResult:
        env = self.environment(job.task)
        name = job.control if job.control in SCRIPTED else self.settings.policy
        policy = self.policy(name, env)
        if "torch" in sys.modules:  # for policies that draw from torch's global generator
            sys.modules["torch"].manual_seed(job.seed)
        instruction = partial(other_instruction, seed=job.seed) if job.control == "shuffled" else None
        if job.control in SCRIPTED or self.settings.execution.plain:
            return run_episode(env, policy, job.seed, EpisodeSettings(instruction))
        executor, delay = self.settings.execution.executor(policy, env.contract)
        return run_episode(env, policy, job.seed, EpisodeSettings(instruction, executor, delay))

    def replay(
        self,
        row: Mapping[str, Any],
        actions: np.ndarray,
        looks: tuple[int, ...],
        size: int,
        film_every: int,
        views: tuple[str, ...] = CAMERAS,
    ) -> EpisodeResult:
        """Replay an episode of a report from its actions (N, A), with video of ``views`` every ``film_every`` steps.

        With ``looks``, the steps at which the policy received images, the same images are rendered again.
        """
        env = self.environment(row["task"])
        film = self.film(env, size, views)
        settings = EpisodeSettings(row["instruction"], frame_every=film_every, render_frame=film)
        return run_episode(env, ReplayPolicy(actions, looks), row["seed"], settings)

    def film(
        self, env: TabletopEnv, size: int, views: tuple[str, ...] = CAMERAS
    ) -> Callable[[], dict[str, np.ndarray]]:
        """A function that renders ``views`` of the world at (size, size, 3), for `sim.rollout.run_episode`."""
        if (size, views) not in self._film:
            self._film[size, views] = Cameras(env.world.model, (size, size), views)
        return partial(self._film[size, views].render, env.world.data)

    def close(self) -> None:
        """Free the renderers."""
        for cameras in self._film.values():
            cameras.close()
        if self._env is not None:
            self._env.close()


def other_instruction(task: TaskInstance, seed: int) -> str:
    """Another valid instruction for the scene: the same task with another target, else another task."""
    return str(np.random.default_rng([seed, 103]).choice(task.other_instructions or task.foreign_instructions))


def record(job: Job, result: EpisodeResult, scene_has_others: bool) -> dict[str, Any]:
    """The episode's entry in ``report.json``."""
    return {
        "task": job.task,
        "instruction": result.instruction,
        "seed": job.seed,
        "success": result.success,
        "steps": result.steps,
        "failure": classify(result.success, result.events, bool(result.refusals)),
        "control": job.control,
        "task_instruction": result.task_instruction,
        "shuffle": None if job.control != "shuffled" else "scene" if scene_has_others else "foreign",
        "state_hash": result.state_hash,
        "image_hash": result.image_hash,
    } | ({"refusals": [list(refusal) for refusal in result.refusals]} if result.refusals else {})


@dataclass(frozen=True)
class PlayedEpisode:
    """An episode as a worker returns it."""

    job: Job
    record: dict[str, Any]
    actions: np.ndarray
    looks: tuple[int, ...]
    seconds: float


def play(player: Player, job: Job) -> PlayedEpisode:
    """Play one episode, for `vla_agent.evaluation.play.workers.Workers.map`."""
    result = player.play(job)
    others = bool(player.environment(job.task).task.other_instructions)
    return PlayedEpisode(job, record(job, result, others), result.actions, result.looks, result.seconds)
