"""Plays one episode of a gate in a worker, with its variation, on the evaluation's own player; replays it, too."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from sim.perturbations.varied_env import VariedEnv
from sim.policies import ReplayPolicy
from sim.rollout import EpisodeResult, EpisodeSettings, run_episode
from sim.tasks.events import Events
from vla_agent.evaluation.failure_modes import DRAWER, LIFT, PUSH
from vla_agent.evaluation.play.player import SCRIPTED, PlayedEpisode, Player, record
from vla_agent.gate.decision.gate_file import ORACLE
from vla_agent.gate.decision.plan import GateJob, delay_of, variation_of
from vla_agent.gate.evidence.perception_oracle import OraclePolicy

REFRAIN = ("removed", "absent")
NOT_DONE = ("blank", "blind", "frozen")


def play(player: Player, job: GateJob) -> PlayedEpisode:
    """Play one episode, for `vla_agent.evaluation.play.workers.Workers.map`."""
    env = player.environment(job.task)
    policy = player.policy(player.settings.policy, env)
    if job.control == ORACLE:
        policy = OraclePolicy(policy)
    if "torch" in sys.modules:  # for policies that draw from torch's global generator
        sys.modules["torch"].manual_seed(job.seed)
    variation = variation_of(job.control)
    varied = None if variation is None else VariedEnv(env, variation)
    instruction = None if varied is None else varied.instruction
    execution, other = player.settings.execution, delay_of(job.control)
    if other is not None:
        execution = replace(execution, delay_ms=other)
    if player.settings.policy in SCRIPTED or execution.plain:
        result = run_episode(varied or env, policy, job.seed, EpisodeSettings(instruction))
    else:
        executor, delay = execution.executor(policy, env.contract)
        result = run_episode(varied or env, policy, job.seed, EpisodeSettings(instruction, executor, delay))
    row = record(job, result, False) | {"index": job.index, "outcome": result.success}
    if varied is not None and variation is not None:
        assert varied.effect is not None and varied.original is not None
        row["detail"] = varied.effect.detail
        if variation.name in REFRAIN:
            row["outcome"] = refrained(result.events)
        elif variation.name in NOT_DONE:
            row["outcome"] = not result.success
        elif variation.name == "swap":
            row["original"] = bool(varied.original.success(env.world)) or _went_to(
                result.events, set(varied.original.object_names) - set(varied.effect.task.object_names)
            )
    row.pop("shuffle")
    return PlayedEpisode(job, row, result.actions, result.looks, result.seconds)


def refrained(events: Events) -> bool:
    """Whether nothing was lifted, pushed, pressed or opened."""
    still = all(o.lifted < LIFT and o.moved < PUSH for o in events.objects.values())
    return still and not events.buttons and abs(events.drawer[1]) < DRAWER


def _went_to(events: Events, names: set[str]) -> bool:
    """Whether one of these objects, and no other, was lifted or pushed."""
    touched = {n for n, o in events.objects.items() if o.lifted >= LIFT or o.moved >= PUSH}
    return bool(touched) and touched <= names


def environment_of(player: Player, row: Mapping[str, Any]) -> Any:
    """The environment of a row's task, with its variation where it has one."""
    env, variation = player.environment(row["task"]), variation_of(row["control"])
    return env if variation is None else VariedEnv(env, variation)


def replay_episode(
    player: Player,
    row: Mapping[str, Any],
    actions: np.ndarray,
    looks: tuple[int, ...],
    film_every: int = 0,
    film: Callable[[], dict[str, np.ndarray]] | None = None,
) -> EpisodeResult:
    """Replay the episode of a row from its actions (N, A); compare ``state_hash`` and ``image_hash``.

    ``film_every``, ``film``: as ``frame_every`` and ``render_frame`` of `sim.rollout.EpisodeSettings`.
    """
    env = environment_of(player, row)
    settings = EpisodeSettings(row["instruction"], frame_every=film_every, render_frame=film)
    return run_episode(env, ReplayPolicy(actions, looks), row["seed"], settings)
