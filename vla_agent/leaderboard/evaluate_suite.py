"""A policy on a frozen suite: plays every episode, keeps them, and writes the result file."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sim.policies import Policy
from sim.tasks.task import load_suite
from vla_agent.environments.tabletop import TabletopChoice
from vla_agent.errors import OptionError
from vla_agent.evaluation.evaluate import EvaluationSettings, describe, load_the_hashed, make_plan
from vla_agent.evaluation.play.player import SCRIPTED, PlayedEpisode, PlayerSettings, load_learned
from vla_agent.evaluation.play.workers import open_workers
from vla_agent.evaluation.result_store import Store, identity_of
from vla_agent.files.write_aside import write_text
from vla_agent.gate.decision.plan import CONTROL
from vla_agent.leaderboard.frozen_suite import FrozenEpisode, Suite, read_suite
from vla_agent.leaderboard.play_frozen import FrozenJob, load_blind, play
from vla_agent.leaderboard.result_file import RESULT, result_of, result_text
from vla_agent.leaderboard.result_page import page
from vla_agent.leaderboard.scores import scores
from vla_agent.policy.execution_settings import Execution

Progress = Callable[[PlayedEpisode, int, int], None]
AS_IT_IS, BLIND, SHUFFLED = "", "blind", "shuffled"


@dataclass(frozen=True)
class SuiteSettings:
    """What is evaluated on which suite.  The outcomes do not depend on ``workers`` or ``ray``.

    Attributes:
        policy: folder, hub name or server of a learned policy, "expert" or "random".
        out: folder for the result, the report with every episode, its page, and the actions.
        control: `BLIND`: the policy gets black images; `SHUFFLED`: the instruction of another episode; empty: neither.
        execution, workers, ray, resume, load: as in `vla_agent.evaluation.evaluate.EvaluationSettings`.
    """

    policy: str
    suite: str
    out: Path
    control: str = AS_IT_IS
    execution: Execution = Execution()
    workers: int | None = 1
    ray: str | None = None
    resume: bool = False
    load: Callable[..., Policy] = load_learned


def evaluate_suite(settings: SuiteSettings, progress: Progress | None = None) -> dict[str, Any]:
    """Play the suite, and write ``report.json``, ``report.html``, ``actions.npz`` and ``result.json``; the result.

    Raises:
        OptionError: a control that the policy cannot have.
        VlaAgentError: the policy does not fit, ``out`` holds another run, or this simulator is not the suite's.
    """
    began = time.perf_counter()
    if settings.policy in SCRIPTED and settings.control:
        raise OptionError(
            "a scripted policy has no such control",
            key="--controls",
            expected="none, for it neither looks nor reads",
            found=settings.control,
            remedy="leave --controls out",
        )
    suite, execution = read_suite(settings.suite), settings.execution
    own = EvaluationSettings(
        settings.policy, controls="none", episodes=1, execution=execution, load=settings.load, split=suite.split
    )
    which = f"{suite.name} {suite.sha256} {settings.control}".strip()  # what episodes must share to belong together
    head = describe(make_plan(own)) | {"suite": which, "control": settings.control}
    recorded = {"control": settings.control} | execution.settings()
    identity = identity_of(head | {"summary": {"settings": recorded}})
    player = PlayerSettings(
        settings.policy, TabletopChoice(load_suite("tabletop"), suite.split), _loader(settings, own, head), execution
    )
    jobs = [job_of(suite, episode, settings.control) for episode in suite.episodes]
    with (
        closing(Store(settings.out, identity, settings.resume)) as store,
        open_workers(player, settings.workers, settings.ray) as workers,
    ):
        missing = [job for job in jobs if job.key not in store.records]
        for played in workers.map(play, missing):
            store.add(played)
            if progress:
                progress(_as_policy(played), len(store.records), len(jobs))
        rows = [store.records[job.key] for job in jobs]
        took = {"wall": round(time.perf_counter() - began, 2), "episodes": round(store.seconds, 2)}
        found = scores(rows, suite)
        report = head | {"episodes": rows, "summary": {"seconds": took, "settings": recorded, "scores": found}}
        result = result_of(report, suite)
        store.finish(report, page(result, suite))
    write_text(settings.out / RESULT, result_text(result))
    return result


def job_of(suite: Suite, episode: FrozenEpisode, control: str) -> FrozenJob:
    """The job of an episode; in the control `SHUFFLED` with another's instruction."""
    told = suite.shuffled(episode) if control == SHUFFLED and episode.instruction else episode.instruction
    return FrozenJob(episode.cell, episode.task, episode.seed, 0, told, episode.fingerprint)


def _loader(settings: SuiteSettings, own: EvaluationSettings, head: dict[str, Any]) -> Callable[[str], Policy]:
    load = load_the_hashed(own, head["hashes"]["policy"])
    return partial(load_blind, load=load) if settings.control == BLIND else load


def _as_policy(played: PlayedEpisode) -> PlayedEpisode:
    """For the running success on the terminal, which counts the outcomes of the policy."""
    job = FrozenJob("policy" if played.job.control == CONTROL else "other", played.job.task, played.job.seed)
    return PlayedEpisode(job, played.record, played.actions, played.looks, played.seconds)
