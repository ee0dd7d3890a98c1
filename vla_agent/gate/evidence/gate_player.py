"""Plays one episode of a gate in a worker, with its variation, on the evaluation's own player; retraces it, too."""

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
from vla_agent.gate.evidence.following_env import FollowingEnv
from vla_agent.gate.evidence.perception_oracle import OraclePolicy

REFRAIN = ("removed", "absent", "contradict")
NOT_DONE = ("blank", "blind", "frozen")


def play(player: Player, job: GateJob) -> PlayedEpisode:
    """Play one episode, for `vla_agent.evaluation.play.workers.Workers.map`."""
    env = environment_of(player, job)
    result = _run(player, job, env)
    return PlayedEpisode(job, row_of(job, result, env), result.actions, result.looks, result.seconds)


def retrace(player: Player, job: GateJob, actions: np.ndarray) -> tuple[dict[str, Any], np.ndarray, tuple[int, ...]]:
    """Simulate an episode again from its actions (N, A), and ask the policy at every step what it would have done.

    The world follows the recorded actions, so that small differences between processors do not add up.

    Returns:
        the row of what happened; the policy's own actions (M, A); the control steps at which it observed images.

    Raises:
        CertificateError: the recorded actions end before the episode does.
    """
    env = environment_of(player, job)
    result = _run(player, job, FollowingEnv(env, actions))
    return row_of(job, result, env), result.actions, result.looks


def _run(player: Player, job: GateJob, env: Any) -> EpisodeResult:
    """The episode of a job with the player's policy, in this environment."""
    policy = player.policy(player.settings.policy, player.tabletop(job.task))
    if job.control == ORACLE:
        policy = OraclePolicy(policy)
    if "torch" in sys.modules:  # for policies that draw from torch's global generator
        sys.modules["torch"].manual_seed(job.seed)
    instruction = getattr(env, "instruction", None)
    execution, other = player.settings.execution, delay_of(job.control)
    if other is not None:
        execution = replace(execution, delay_ms=other)
    if player.settings.policy in SCRIPTED or execution.plain:
        return run_episode(env, policy, job.seed, EpisodeSettings(instruction))
    executor, delay = execution.executor(policy, env.contract)
    return run_episode(env, policy, job.seed, EpisodeSettings(instruction, executor, delay))


def row_of(job: GateJob, result: EpisodeResult, env: Any) -> dict[str, Any]:
    """The episode's entry in ``report.json``, but for the hash of its actions; ``env`` is as the episode left it."""
    row = record(job, result, False) | {"index": job.index, "outcome": result.success}
    row.pop("shuffle")
    if isinstance(env, VariedEnv):
        assert env.effect is not None and env.original is not None
        row["detail"] = env.effect.detail
        row["outcome"] = outcome_of(job.control, result.success, result.events)
        if env.variation.name == "swap":
            others = set(env.original.object_names) - set(env.effect.task.object_names)
            row["original"] = bool(env.original.success(env.world)) or _went_to(result.events, others)
    return row


def outcome_of(cell: str, success: bool, events: Events) -> bool:
    """Whether an episode of a cell came out as it must: its goal was reached, was not, or nothing was touched."""
    variation = variation_of(cell)
    name = "" if variation is None else variation.name
    return refrained(events) if name in REFRAIN else success != (name in NOT_DONE)


def job_of(row: Mapping[str, Any]) -> GateJob:
    """The job whose episode a row is."""
    return GateJob(row["control"], row["task"], row["seed"], row["index"])


def refrained(events: Events) -> bool:
    """Whether nothing was lifted, pushed, pressed or opened."""
    still = all(o.lifted < LIFT and o.moved < PUSH for o in events.objects.values())
    return still and not events.buttons and abs(events.drawer[1]) < DRAWER


def _went_to(events: Events, names: set[str]) -> bool:
    """Whether one of these objects, and no other, was lifted or pushed."""
    touched = {n for n, o in events.objects.items() if o.lifted >= LIFT or o.moved >= PUSH}
    return bool(touched) and touched <= names


def environment_of(player: Player, job: GateJob) -> Any:
    """The environment of a job's task, with its variation where it has one."""
    env, variation = player.tabletop(job.task), variation_of(job.control)
    return env if variation is None else VariedEnv(env, variation)


def replay_episode(
    player: Player, row: Mapping[str, Any], actions: np.ndarray, film_every: int, film: Callable[[], Any]
) -> EpisodeResult:
    """Replay the episode of a row from its actions (N, A), without the policy.

    ``film_every``, ``film``: as ``frame_every`` and ``render_frame`` of `sim.rollout.EpisodeSettings`.
    """
    env = environment_of(player, job_of(row))
    settings = EpisodeSettings(row["instruction"], frame_every=film_every, render_frame=film)
    return run_episode(env, ReplayPolicy(actions), row["seed"], settings)
