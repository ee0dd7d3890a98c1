"""Plan the episodes, play them in parallel, keep them, and write the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.policies import Policy
from sim.tasks.task import SPLITS, TaskFamily, load_suite, select
from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.errors import OptionError
from vla_agent.evaluation import provenance
from vla_agent.evaluation.play.player import SCRIPTED, Job, Played, Setting, load_learned, play
from vla_agent.evaluation.play.workers import open_workers
from vla_agent.evaluation.report.clips import choose, film, film_one
from vla_agent.evaluation.report.evaluation_page import page
from vla_agent.evaluation.result_store import Store, identity_of
from vla_agent.evaluation.success_statistics import CONTROLS, summarise
from vla_agent.files.policy_folder import find_folder
from vla_agent.policy.execution_settings import Execution
from vla_agent.policy.sources import files_of, is_remote


@dataclass(frozen=True)
class Plan:
    """What is to be evaluated.  Episode k of a task uses seed ``seed + k``, for the policy and its controls."""

    policy: str
    families: dict[str, TaskFamily]
    suite: str = "tabletop"
    split: str = "seen"
    episodes: int = 10
    seed: int = 0
    controls: tuple[str, ...] = ("shuffled", "random", "expert")
    execution: Execution = Execution()

    def jobs(self) -> list[Job]:
        """Every episode, in the order of play: all controls of one scene together, task after task, seed after seed."""
        return [
            Job(control, task, self.seed + k)
            for k in range(self.episodes)
            for task in self.families
            for control in ("policy", *self.controls)
        ]


def make_plan(
    policy: str,
    tasks: str | Sequence[str] | None = None,
    suite: str = "tabletop",
    split: str = "seen",
    episodes: int = 10,
    seed: int = 0,
    controls: str = "all",
    execution: Execution | None = None,
) -> Plan:
    """Check the options and make a plan.  A control that would repeat the policy itself is left out.

    Raises:
        TaskError: unknown suite or task.
        OptionError: another option has a value that makes no sense.
    """
    _require(split in SPLITS, "--split", ", ".join(SPLITS), split)
    _require(controls in ("all", "none"), "--controls", "all, none", controls)
    _require(episodes >= 1, "--episodes", "at least 1", episodes)
    _require(seed >= 0, "--seed", "at least 0", seed)
    families = select(tasks if tasks is None or isinstance(tasks, str) else list(tasks), suite)
    for family in families.values():
        family.wordings_of(split)
    chosen: tuple[str, ...] = ("shuffled", "random", "expert") if controls == "all" else ()
    execution = execution or Execution()
    if policy in SCRIPTED and execution.settings():
        found = ", ".join(f"{k} {v}" for k, v in execution.settings().items())
        _require(False, "--execution", "the default, for a scripted policy: it emits one action at a time", found)
    if policy in SCRIPTED:  # they do not hear the instruction
        chosen = tuple(c for c in chosen if c not in ("shuffled", policy))
    return Plan(policy, families, suite, split, episodes, seed, chosen, execution)


def _require(good: bool, key: str, expected: object, found: object) -> None:
    if not good:
        raise OptionError(
            "an option has a value that makes no sense",
            key=key,
            expected=expected,
            found=found,
            remedy="see vla-agent eval --help",
        )


def evaluate(
    policy: str,
    tasks: str | Sequence[str] | None = None,
    episodes: int = 10,
    seed: int = 0,
    workers: int | None = 1,
    split: str = "seen",
    controls: str = "all",
    out: str | Path | None = None,
    suite: str = "tabletop",
    resume: bool = False,
    progress: Callable[[Played, int, int], None] | None = None,
    load: Callable[[str], Policy] = load_learned,
    execution: Execution | None = None,
    ray: str | None = None,
) -> dict[str, Any]:
    """Evaluate a policy; the report as a dictionary.

    The outcomes depend on the seeds alone, not on ``workers``.

    Args:
        policy: folder or hub id of a learned policy, "expert" or "random".
        out: folder for report.json, report.html and actions.npz; None writes nothing.
        workers: processes; None: as many as the Ray cluster has cores.
        resume: go on with an unfinished run in ``out``.
        progress: called after each episode with what was played, how many are done and how many there are.
        load: makes the policy of a name that is not "expert" or "random"; a function that can be pickled.
        execution: how the policy's chunks are executed and how long it thinks; None: open loop, no delay.  The controls
            "random" and "expert" are always driven without delay.
        ray: address of a Ray cluster that plays the episodes; None: this machine.

    Raises:
        VlaAgentError: bad options, a policy that does not fit, another run in ``out``.
    """
    _require(workers is None or workers >= 1, "--workers", "at least 1", workers)
    plan = make_plan(policy, tasks, suite, split, episodes, seed, controls, execution)
    began = time.perf_counter()
    description = describe(plan, find_files=load is load_learned)
    settings = {"summary": {"settings": _settings(plan)}}
    store = None if out is None else Store(Path(out), identity_of(description | settings), resume)
    rows = dict(store.records) if store else {}
    seconds = store.seconds if store else 0.0
    jobs = [job for job in plan.jobs() if job.key not in rows]
    total = len(jobs) + len(rows)
    setting = Setting(policy, plan.families, split, load, plan.execution)
    needed = workers and min(workers, len(jobs) or workers)
    with closing(store) if store else nullcontext(), open_workers(setting, needed, ray) as pool:
        for played in pool.map(play, jobs):
            rows[played.job.key] = played.record
            seconds += played.seconds
            if store:
                store.add(played)
            if progress:
                progress(played, len(rows), total)
        order = {task: i for i, task in enumerate(plan.families)}
        ranked = sorted(
            rows.values(),
            key=lambda r: (CONTROLS.index(r["control"]), order.get(r["task"], len(order)), r["task"], r["seed"]),
        )
        spent = {
            "wall": round(time.perf_counter() - began, 2),
            "episodes": round(seconds, 2),
            "workers": workers or pool.count,
        }
        summary = summarise(ranked, spent) | {"settings": _settings(plan)}
        report = description | {"episodes": ranked, "summary": summary}
        if store:
            clips = film(ranked, choose(ranked), store.actions, pool, film_one)
            store.finish(report, page(report, clips, store.out))
    return report


def _settings(plan: Plan) -> dict[str, Any]:
    """What was asked for; ``tasks`` gives the file of each family that is not of the suite."""
    shipped = load_suite(plan.suite)
    files = {n: None if n in shipped and f is shipped[n] else str(f.file) for n, f in plan.families.items()}
    asked = {"episodes": plan.episodes, "seed": plan.seed, "controls": list(plan.controls), "tasks": files}
    return asked | plan.execution.settings()


def describe(plan: Plan, find_files: bool = True) -> dict[str, Any]:
    """The head of the report: policy, suite, split, versions, hashes."""
    learned = plan.policy not in SCRIPTED and find_files
    remote = learned and is_remote(plan.policy)
    folder = find_folder(plan.policy) if learned and not remote else None
    return {
        "policy": plan.policy,
        "suite": plan.suite,
        "split": plan.split,
        "versions": provenance.versions(learned and not remote),
        "hashes": {
            "policy": files_of(plan.policy) if remote else provenance.hash_policy(folder),
            "tasks": {name: provenance.hash_file(Path(f.file)) for name, f in plan.families.items()},
            "simulator": provenance.hash_simulator(),
            "contract": tabletop_contract().hash,
        },
    }
