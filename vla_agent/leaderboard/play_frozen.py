"""Plays one episode of a frozen suite in a worker, on the gate's own player, and only where it is the frozen one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim.policies import Policy
from sim.rollout import EpisodeSettings, run_episode
from sim.tasks.task import TaskInstance, load_suite
from vla_agent.environments.tabletop import TabletopChoice
from vla_agent.errors import TaskError
from vla_agent.evaluation.play.player import SCRIPTED, PlayedEpisode, Player, PlayerSettings
from vla_agent.gate.decision.plan import GateJob
from vla_agent.gate.evidence.gate_player import environment_of, row_of
from vla_agent.leaderboard.fingerprint import fingerprint
from vla_agent.leaderboard.frozen_suite import Suite


@dataclass(frozen=True)
class FrozenJob(GateJob):
    """An episode of a suite.  ``told``: the instruction that the policy gets."""

    told: str = ""
    fingerprint: str = ""


def play(player: Player, job: FrozenJob) -> PlayedEpisode:
    """Play one episode, for `vla_agent.evaluation.play.workers.Workers.map`.

    Raises:
        TaskError: this simulator lays out another episode than the frozen one.
    """
    env = environment_of(player, job)
    require_frozen(env, job)
    policy = player.policy(player.settings.policy, player.tabletop(job.task))
    if "torch" in sys.modules:  # for policies that draw from torch's global generator
        sys.modules["torch"].manual_seed(job.seed)
    settings, execution = EpisodeSettings(lambda _: job.told), player.settings.execution
    if player.settings.policy not in SCRIPTED and not execution.plain:
        settings = EpisodeSettings(lambda _: job.told, *execution.executor(policy, env.contract))
    result = run_episode(env, policy, job.seed, settings)
    row = row_of(job, result, env) | {"fingerprint": job.fingerprint}
    return PlayedEpisode(job, row, result.actions, result.looks, result.seconds)


def lay_player(suite: Suite) -> Player:
    """A player of the suite's world, which drives no policy."""
    return Player(PlayerSettings("expert", TabletopChoice(load_suite("tabletop"), suite.split)))


def require_frozen(env: Any, job: FrozenJob) -> TaskInstance:
    """Lay the episode out, compare it with the frozen one, and return its task.

    Raises:
        TaskError: it is another.
    """
    task: TaskInstance = env.begin(job.seed)
    found = fingerprint(env, task)
    if found != job.fingerprint:
        raise TaskError(
            "this simulator lays out another episode than the frozen one",
            key=f"{job.control}, {job.task}, seed {job.seed}",
            expected=job.fingerprint,
            found=found,
            remedy="use a release with this suite's scenes and perturbations: docs/leaderboard.md",
        )
    return task


class Blind:
    """A policy that gets black images: what it still reaches, it reaches without looking."""

    def __init__(self, policy: Any) -> None:
        self._policy = policy
        self.contract, self.execute = policy.contract, policy.execute

    def reset(self, instruction: str, seed: int = 0) -> None:
        self._policy.reset(instruction, seed=seed)

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        images = {name: np.zeros_like(image) for name, image in observation["images"].items()}
        return np.asarray(self._policy.act({**observation, "images": images}))


def load_blind(name: str, load: Callable[[str], Policy]) -> Policy:
    """The policy of ``load`` behind `Blind`."""
    return Blind(load(name))
