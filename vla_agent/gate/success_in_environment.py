"""Success in another environment, shown or not shown by the gate's sequential test.  No certificate follows from it.

What an environment of somebody else does not offer is no part of it: perturbations, probes of language and of vision,
latency.  So a policy that passes here may ignore its instruction; the report says so, and no robot moves by it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vla_agent.errors import OptionError
from vla_agent.evaluation.evaluate import EvaluationSettings, describe, load_the_hashed, make_plan
from vla_agent.evaluation.play.player import Job, PlayedEpisode, PlayerSettings, play
from vla_agent.evaluation.play.worker_protocol import Workers
from vla_agent.evaluation.play.workers import open_workers
from vla_agent.evaluation.report.clips import choose, clip_count, film, film_one
from vla_agent.evaluation.report.evaluation_page import page
from vla_agent.evaluation.result_store import Store, identity_of
from vla_agent.evaluation.success_statistics import summarise, summarise_groups
from vla_agent.files.canonical_json import digest
from vla_agent.gate.decision.sequential_test import design

FIRST_SEED, SEEDS = 20_000_000, 1_000_000  # far from those of demonstrations
NOT_JUDGED = {
    "certificate": "a certificate: only success was judged, so that no robot moves by this report",
    "probes": "whether it follows its instruction, and refrains where it must",
    "latency": "success with its own inference latency, unless --delay-ms of vla-agent eval names one",
}
Progress = Callable[[PlayedEpisode, int, int], None]


@dataclass(frozen=True)
class Demand:
    """H0: the mean success over the tasks is at most ``threshold``, against ``threshold + margin``.

    Attributes:
        alpha: probability to pass a policy at the threshold; beta: to fail one at threshold + margin.
        block: episodes between two looks.
    """

    threshold: float = 0.8
    margin: float = 0.1
    alpha: float = 0.05
    beta: float = 0.05
    block: int = 20

    def __post_init__(self) -> None:
        """Raise `OptionError` for rates out of range."""
        good = 0 < self.threshold < self.threshold + self.margin < 1 and 0 < self.alpha < 0.5 and 0 < self.beta < 0.5
        if not good or self.block < 1:
            raise OptionError(
                "the demand cannot be tested",
                key="--above, --margin",
                expected="0 < above < above + margin < 1",
                found=f"{self.threshold:g}, {self.margin:g}",
                remedy="for a success above 80 %: --above 0.8 --margin 0.1",
            )


def show_success(settings: EvaluationSettings, demand: Demand, progress: Progress | None = None) -> dict[str, Any]:
    """Play blocks of episodes until the test has decided; the report, written to ``settings.out``.

    Episode i is of task i mod F, at the first seed + i div F.  The first seed follows from policy, environment and
    demand, unless ``settings.seed`` is above 0.  An interrupted run goes on with ``settings.resume``.

    Raises:
        VlaAgentError: bad settings, a policy that does not fit, another run in ``out``.
    """
    began = time.perf_counter()
    plan = make_plan(replace(settings, controls="none", episodes=1))
    head = describe(plan)
    head["environment"]["left_out"] = head["environment"]["left_out"] | NOT_JUDGED
    first = settings.seed or FIRST_SEED + int(digest([head["hashes"], asdict(demand)])[:12], 16) % SEEDS
    recorded = plan.recorded_settings() | {"seed": first, "demand": asdict(demand)}
    identity = identity_of(head | {"summary": {"settings": recorded}})
    load = load_the_hashed(settings, head["hashes"]["policy"])
    player = PlayerSettings(settings.policy, plan.world.choice, load, settings.execution)
    run = _Run(demand, plan.world.choice.tasks, first)
    with (
        closing(Store(Path(settings.out or "runs/gate"), identity, settings.resume)) as store,
        open_workers(player, settings.workers, settings.ray) as workers,
    ):
        judged, episodes = run.play(store, workers, progress)
        wall = round(time.perf_counter() - began, 2)
        took = {"wall": wall, "episodes": round(store.seconds, 2), "workers": workers.count}
        groups = summarise_groups(episodes, head["environment"]["groups"])
        summary = summarise(episodes, took) | groups | {"settings": recorded, "success_test": judged}
        report = head | {"episodes": episodes, "summary": summary}
        clips = film(episodes, choose(episodes, clip_count(head)), store.actions, workers, film_one)
        store.finish(report, page(report, clips, store.out))
    return report


@dataclass(frozen=True)
class _Run:
    """The episodes of a demand, in their order."""

    demand: Demand
    tasks: tuple[str, ...]
    first: int

    def job(self, number: int) -> Job:
        turn, task = divmod(number, len(self.tasks))
        return Job("policy", self.tasks[task], self.first + turn)

    def play(
        self, store: Store, workers: Workers, progress: Progress | None
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Play until the test has decided: its decision, and all rows by task and seed."""
        demand, outcomes = self.demand, list[bool]()
        test = design(demand.threshold, demand.margin, demand.alpha, demand.beta)
        jobs: list[Job] = []
        while test.decide(outcomes).verdict is None:
            block = [self.job(i) for i in range(len(jobs), min(len(jobs) + demand.block, test.size))]
            jobs += block
            missing = sorted((job for job in block if job.key not in store.records), key=lambda job: job.task)
            for played in workers.map(play, missing):
                store.add(played)
                if progress:
                    progress(played, len(store.records), len(jobs))
            outcomes += [bool(store.records[job.key]["success"]) for job in block]
        decision = test.decide(outcomes)
        judged = {"verdict": decision.verdict, "k": decision.k, "n": decision.n} | asdict(demand)
        judged |= {"interval": list(test.interval(decision)), "largest": test.size}
        jobs.sort(key=lambda job: (self.tasks.index(job.task), job.seed))
        return judged, [store.records[job.key] for job in jobs]


def sentence(report: dict[str, Any]) -> str:
    """The verdict in words."""
    test = report["summary"]["success_test"]
    low, high = test["interval"]
    shown = "shown" if test["verdict"] == "pass" else "NOT shown"
    return (
        f"{test['verdict'].upper()}: success above {100 * test['threshold']:g} % is {shown}: {test['k']} of "
        f"{test['n']} episodes ({100 * low:.0f} to {100 * high:.0f} %), of at most {test['largest']}"
    )
