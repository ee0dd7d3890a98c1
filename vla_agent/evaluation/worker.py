"""What a worker process does: build one world and one policy, once, then play the episodes that it is given."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from sim.env import TabletopEnv
from sim.policies import ExpertPolicy, Policy, RandomPolicy
from sim.rollout import EpisodeResult, run_episode
from sim.task import TaskFamily, TaskInstance
from vla_agent.contract import Contract
from vla_agent.evaluation.failure import classify

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


def load_learned(name: str) -> Policy:
    """The learned policy in a folder or of a hub id."""
    from vla_agent.policy import load_policy

    return load_policy(name)


@dataclass(frozen=True)
class Setting:
    """What all episodes of a run have in common.  ``load`` makes the policy of a name; it travels to the workers."""

    policy: str
    families: dict[str, TaskFamily]
    split: str = "seen"
    load: Callable[[str], Policy] = load_learned


class Player:
    """One world, one policy."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.env: TabletopEnv | None = None
        self._policies: dict[str, Policy] = {"expert": ExpertPolicy(), "random": RandomPolicy()}

    def environment(self, task: str) -> TabletopEnv:
        """The environment, set to a task family; the world is built at the first call alone."""
        family = self.setting.families[task]
        if self.env is None:
            self.env = TabletopEnv(task=family, split=self.setting.split)
        self.env.set_task(family, self.setting.split)
        return self.env

    def policy(self, name: str, env: TabletopEnv) -> Policy:
        """The policy of that name or folder, loaded once, its contract compared with the environment's."""
        if name not in self._policies:
            policy = self.setting.load(name)
            contract: Contract | None = getattr(policy, "contract", None)
            if contract is not None:
                contract.require(env.contract, f"policy {name}", "the simulator", ignore=("chunk_length",))
            self._policies[name] = policy
        return self._policies[name]

    def play(self, job: Job) -> EpisodeResult:
        env = self.environment(job.task)
        name = job.control if job.control in SCRIPTED else self.setting.policy
        policy = self.policy(name, env)
        if "torch" in sys.modules:  # for policies that draw from torch's global generator
            sys.modules["torch"].manual_seed(job.seed)
        instruction = partial(other_instruction, seed=job.seed) if job.control == "shuffled" else None
        return run_episode(env, policy, job.seed, instruction)

    def close(self) -> None:
        if self.env is not None:
            self.env.close()


def other_instruction(task: TaskInstance, seed: int) -> str:
    """Another valid instruction of the scene: same task and another target, else one of another task."""
    return str(np.random.default_rng([seed, 103]).choice(task.other_instructions or task.foreign_instructions))


def record(job: Job, result: EpisodeResult, scene_has_others: bool) -> dict[str, Any]:
    """The episode's entry in ``report.json``."""
    return {
        "task": job.task,
        "instruction": result.instruction,
        "seed": job.seed,
        "success": result.success,
        "steps": result.steps,
        "failure": classify(result.success, result.events),
        "control": job.control,
        "task_instruction": result.task_instruction,
        "shuffle": None if job.control != "shuffled" else "scene" if scene_has_others else "foreign",
        "state_hash": result.state_hash,
        "image_hash": result.image_hash,
    }


@dataclass(frozen=True)
class Played:
    """What comes back from a worker."""

    job: Job
    record: dict[str, Any]
    actions: np.ndarray
    looks: tuple[int, ...]
    seconds: float


_player: Player | None = None
_setting: Setting | None = None


def start(setting: Setting) -> None:
    """Initialise a worker process.  Ctrl-C is the parent's business."""
    global _setting
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _setting = setting


def play(job: Job) -> Played:
    """Play one episode in this worker process; the first one builds the world."""
    global _player
    if _player is None:
        assert _setting is not None
        _player = Player(_setting)
    return play_with(_player, job)


def play_with(player: Player, job: Job) -> Played:
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    result = player.play(job)
    others = bool(player.env.task.other_instructions) if player.env else False
    return Played(job, record(job, result, others), result.actions, result.looks, result.seconds)
