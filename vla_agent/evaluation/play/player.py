"""Plays episodes: one environment and one policy, opened once, for any number of episodes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from sim.env import TabletopEnv
from sim.policies import ExpertPolicy, Policy, RandomPolicy, ReplayPolicy
from vla_agent.contract import Contract
from vla_agent.contract.renamed_cameras import RenamedCameras
from vla_agent.environments.choice import Choice
from vla_agent.environments.episode import Outcome, Playing, play_episode
from vla_agent.environments.protocol import Environment, offers
from vla_agent.environments.scripted import EnvironmentExpert, RandomActions
from vla_agent.environments.tabletop import Tabletop, TabletopChoice
from vla_agent.errors import EnvironmentFault
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
    environment: Choice | TabletopChoice
    load: Callable[[str], Policy] = load_learned
    execution: Execution = Execution()


class Player:
    """One environment, one policy; plays episodes, and replays recorded ones."""

    def __init__(self, settings: PlayerSettings) -> None:
        self.settings = settings
        self._environment: Environment | None = None
        self._policies: dict[str, Policy] = {}

    @property
    def environment(self) -> Environment:
        """The environment; it is opened at the first use only."""
        if self._environment is None:
            self._environment = self.settings.environment.open()
        return self._environment

    def tabletop(self, task: str) -> TabletopEnv:
        """The tabletop's own environment, set to a task family; for what varies its world.

        Raises:
            EnvironmentFault: this player has another environment.
        """
        environment = self.environment
        if not isinstance(environment, Tabletop):
            raise EnvironmentFault(
                "this needs the tabletop",
                key="environment",
                expected="tabletop",
                found=getattr(self.settings.environment, "name", "another"),
                remedy="docs/environments.md says what works with every environment",
            )
        return environment.at(task)

    def policy(self, name: str, env: Any) -> Policy:
        """The policy of that name or folder, loaded once, its contract compared with that of ``env``."""
        if name not in self._policies:
            self._policies[name] = self._scripted(name) if name in SCRIPTED else self._loaded(name, env)
        return self._policies[name]

    def _scripted(self, name: str) -> Policy:
        """The expert, or random actions; on the tabletop the simulator's own, which the gate binds to varied worlds."""
        if isinstance(self.settings.environment, TabletopChoice):
            return ExpertPolicy() if name == "expert" else RandomPolicy()
        return EnvironmentExpert(self.environment) if name == "expert" else RandomActions(self.environment.contract)

    def _loaded(self, name: str, env: Any) -> Policy:
        policy = self.settings.execution.prepare(self.settings.load(name))
        if self.settings.execution.renamed:
            policy = RenamedCameras(policy, dict(self.settings.execution.renamed))
        contract: Contract | None = getattr(policy, "contract", None)
        if contract is not None:
            contract.require(env.contract, f"policy {name}", "the simulator", ignore=("chunk_length",))
        return policy

    def play(self, job: Job) -> Outcome:
        environment = self.environment
        name = job.control if job.control in SCRIPTED else self.settings.policy
        policy = self.policy(name, environment)
        if "torch" in sys.modules:  # for policies that draw from torch's global generator
            sys.modules["torch"].manual_seed(job.seed)
        instruction = partial(other_instruction, seed=job.seed) if job.control == "shuffled" else None
        if name in SCRIPTED or self.settings.execution.plain:
            return play_episode(environment, policy, job.task, job.seed, Playing(instruction))
        executor, delay = self.settings.execution.executor(policy, environment.contract)
        return play_episode(environment, policy, job.task, job.seed, Playing(instruction, executor, delay))

    def replay(
        self,
        row: Mapping[str, Any],
        actions: np.ndarray,
        looks: tuple[int, ...],
        size: int,
        film_every: int,
        views: tuple[str, ...] | None = None,
    ) -> Outcome:
        """Replay an episode of a report from its actions (N, A), with video of ``views`` every ``film_every`` steps.

        With ``looks``, the steps at which the policy received images, the same images are rendered again.  ``size``
        holds where the environment renders videos in any size; else they have that of its cameras.
        """
        film = self.film(size, views)
        playing = Playing(lambda _: row["instruction"], frame_every=film_every, film=film, most=len(actions))
        return play_episode(self.environment, ReplayPolicy(actions, looks), row["task"], row["seed"], playing)

    def film(self, size: int, views: tuple[str, ...] | None = None) -> Callable[[], dict[str, np.ndarray]]:
        """A function that renders ``views`` (None: all cameras), at (size, size, 3) where the environment can."""
        environment: Any = self.environment
        names = views or environment.contract.camera_names
        if offers(environment, "film"):
            film: Callable[[], dict[str, np.ndarray]] = environment.film(size, tuple(names))
            return film
        return lambda: {name: _enlarged(environment.observe()["images"][name], size) for name in names}

    def close(self) -> None:
        """Close the environment."""
        if self._environment is not None:
            self._environment.close()


def _enlarged(image: np.ndarray, size: int) -> np.ndarray:
    """A small image (H, W, 3), each pixel repeated as often as it fits into ``size``; H and W are made even."""
    times = max(1, size // max(image.shape[:2]))
    image = image.repeat(times, 0).repeat(times, 1)
    return np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), mode="edge")


def other_instruction(environment: Any, seed: int) -> str:
    """Another valid instruction for the scene: the same task with another target, else another task.

    Raises:
        EnvironmentFault: there is none.
    """
    for name in ("other_instructions", "foreign_instructions"):
        texts = tuple(getattr(environment, name)()) if offers(environment, name) else ()
        if texts:
            return drawn_from(texts, seed)
    raise EnvironmentFault(
        "the scene has no other instruction",
        key="other_instructions",
        expected="at least one text, of this scene or of another",
        found="none",
        remedy="evaluate with --controls none, or offer other_instructions() only where there are some",
    )


def drawn_from(texts: Sequence[str], seed: int) -> str:
    """One of the texts; the same for the same seed."""
    return str(np.random.default_rng([seed, 103]).choice(texts))


def record(job: Job, result: Any, scene_has_others: bool) -> dict[str, Any]:
    """The episode's entry in ``report.json``; ``result``: an `Outcome`, or the gate's `sim.rollout.EpisodeResult`."""
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
    environment: Any = player.environment
    others = offers(environment, "other_instructions") and bool(environment.other_instructions())
    return PlayedEpisode(job, record(job, result, others), result.actions, result.looks, result.seconds)
