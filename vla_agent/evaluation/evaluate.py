"""Plan the episodes, play them in parallel, keep them, and write the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from sim.policies import Policy
from sim.tasks.task import SPLITS, select
from vla_agent.environments.tabletop import NAME
from vla_agent.errors import OptionError
from vla_agent.evaluation import provenance
from vla_agent.evaluation.play.player import SCRIPTED, Job, PlayedEpisode, PlayerSettings, load_learned, play
from vla_agent.evaluation.play.workers import open_workers
from vla_agent.evaluation.played_world import PlayedWorld, is_tabletop, other_world, tabletop_world
from vla_agent.evaluation.report.clips import choose, clip_count, film, film_one
from vla_agent.evaluation.report.evaluation_page import page
from vla_agent.evaluation.result_store import Store, identity_of
from vla_agent.evaluation.success_statistics import CONTROLS, summarise, summarise_groups
from vla_agent.files.canonical_json import digest
from vla_agent.files.policy_folder import find_folder
from vla_agent.policy.execution_settings import Execution
from vla_agent.policy.sources import files_of, is_remote


@dataclass(frozen=True)
class EvaluationSettings:
    """What is evaluated, and how.  The outcomes depend on the seeds alone, not on ``workers`` or ``ray``.

    Attributes:
        policy: folder or hf://OWNER/NAME of a learned policy, address of a server, "expert" or "random".
        tasks: families of the suite or paths of task files; a string separates them by commas.  None: the whole suite.
        episodes, seed: episode k of each task uses seed ``seed + k``, for the policy and for its controls.
        controls: "all", or "none" for the policy alone.
        execution: how the policy's chunks are executed, and its inference latency.  The controls "random" and "expert"
            are always driven without delay.
        workers: processes; None: as many as the Ray cluster has cores.
        ray: address of a Ray cluster that plays the episodes; None: this machine.
        out: folder for report.json, report.html and actions.npz; None writes nothing.
        resume: go on with an unfinished run in ``out``.
        load: makes the policy of a name that is not "expert" or "random"; a function that can be pickled.
        env: "tabletop", or the name of another environment (`vla_agent.environments.names`); ``tasks`` are its tasks
            or groups, and ``suite`` and ``split`` stay as they are.
        env_options: arguments of its factory.
        perturbed: axis and severity of all its episodes.
    """

    policy: str
    tasks: str | Sequence[str] | None = None
    suite: str = "tabletop"
    split: str = "seen"
    episodes: int = 10
    seed: int = 0
    controls: str = "all"
    execution: Execution = Execution()
    workers: int | None = 1
    ray: str | None = None
    out: str | Path | None = None
    resume: bool = False
    load: Callable[[str], Policy] = load_learned
    env: str = NAME
    env_options: tuple[tuple[str, str], ...] = ()
    perturbed: tuple[str, int] | None = None


@dataclass(frozen=True)
class Plan:
    """Checked settings, with the world and the controls that they name."""

    settings: EvaluationSettings
    world: PlayedWorld
    controls: tuple[str, ...]

    def jobs(self) -> list[Job]:
        """Every episode, in the order of play: all controls of one scene together.

        On the tabletop seed after seed, so that all tasks have results early; elsewhere task after task, because
        another task may be another world that has to be built.
        """
        seeds = range(self.settings.seed, self.settings.seed + self.settings.episodes)
        tasks = self.world.choice.tasks
        scenes = [(t, s) for s in seeds for t in tasks] if self.world.facts is None else list(product(tasks, seeds))
        return [Job(control, task, seed) for task, seed in scenes for control in ("policy", *self.controls)]

    def recorded_settings(self) -> dict[str, Any]:
        """The report's ``summary.settings``; ``tasks`` gives the file of each family outside the suite."""
        settings, files = self.settings, dict(self.world.files or {})
        given = {"episodes": settings.episodes, "seed": settings.seed, "controls": list(self.controls), "tasks": files}
        return given | settings.execution.settings()


def make_plan(settings: EvaluationSettings) -> Plan:
    """Check the settings and make a plan.  A control that would repeat the policy itself is left out.

    Raises:
        TaskError: unknown suite or task.
        OptionError: another setting has an impossible value.
    """
    s, scripted = settings, settings.policy in SCRIPTED
    _require(s.workers is None or s.workers >= 1, "--workers", "at least 1", s.workers)
    _require(s.split in SPLITS, "--split", ", ".join(SPLITS), s.split)
    _require(s.controls in ("all", "none"), "--controls", "all, none", s.controls)
    _require(s.episodes >= 1, "--episodes", "at least 1", s.episodes)
    _require(s.seed >= 0, "--seed", "at least 0", s.seed)
    world = _tabletop(s) if is_tabletop(s.env) else _other(s)
    driven = ", ".join(f"{k} {v}" for k, v in s.execution.settings().items()) if scripted else ""
    _require(not driven, "--execution", "the default, for a scripted policy: it emits one action at a time", driven)
    controls = world.controls() if s.controls == "all" else ()
    _require(s.policy != "expert" or "expert" in world.controls(), "POLICY", "one that this environment has", "expert")
    if scripted:  # it does not read the instruction
        controls = tuple(c for c in controls if c not in ("shuffled", s.policy))
    return Plan(s, world, controls)


def _tabletop(s: EvaluationSettings) -> PlayedWorld:
    given = [*dict(s.env_options), *(s.perturbed or ())[:1]]
    _require(not given, "--env-option, --perturb", "none for the tabletop: vla-agent gate perturbs it", given)
    families = select(s.tasks if s.tasks is None or isinstance(s.tasks, str) else list(s.tasks), s.suite)
    for family in families.values():
        family.wordings_of(s.split)
    return tabletop_world(families, s.suite, s.split)


def _other(s: EvaluationSettings) -> PlayedWorld:
    _require(s.suite == "tabletop", "--suite", "none: it belongs to the tabletop", s.suite)
    _require(s.split == "seen", "--split", "none: it belongs to the tabletop", s.split)
    names = [t.strip() for t in s.tasks.split(",") if t.strip()] if isinstance(s.tasks, str) else s.tasks
    return other_world(s.env, list(names) if names else None, dict(s.env_options), s.perturbed)


def _require(good: bool, key: str, expected: object, found: object) -> None:
    if not good:
        raise OptionError(
            "an option has an impossible value",
            key=key,
            expected=expected,
            found=found,
            remedy="see vla-agent eval --help",
        )


def evaluate(
    settings: EvaluationSettings, progress: Callable[[PlayedEpisode, int, int], None] | None = None
) -> dict[str, Any]:
    """Evaluate a policy; the report as a dictionary.

    Args:
        progress: called after each episode with what was played, how many are done and how many there are.

    Raises:
        VlaAgentError: bad settings, a policy that does not fit, another run in ``out``.
    """
    plan = make_plan(settings)
    began = time.perf_counter()
    head, recorded = describe(plan), plan.recorded_settings()
    identity = identity_of(head | {"summary": {"settings": recorded}})
    store = None if settings.out is None else Store(Path(settings.out), identity, settings.resume)
    rows = dict(store.records) if store else {}
    seconds = store.seconds if store else 0.0
    jobs = [job for job in plan.jobs() if job.key not in rows]
    total = len(jobs) + len(rows)
    load = load_the_hashed(settings, head["hashes"]["policy"])
    player = PlayerSettings(settings.policy, plan.world.choice, load, settings.execution)
    needed = settings.workers and min(settings.workers, len(jobs) or settings.workers)
    with closing(store) if store else nullcontext(), open_workers(player, needed, settings.ray) as workers:
        for played in workers.map(play, jobs):
            rows[played.job.key] = played.record
            seconds += played.seconds
            if store:
                store.add(played)
            if progress:
                progress(played, len(rows), total)
        episodes = _in_report_order(rows.values(), list(plan.world.choice.tasks))
        wall = round(time.perf_counter() - began, 2)
        took = {"wall": wall, "episodes": round(seconds, 2), "workers": settings.workers or workers.count}
        groups = head.get("environment", {}).get("groups", {})
        summary = summarise(episodes, took) | summarise_groups(episodes, groups) | {"settings": recorded}
        report = head | {"episodes": episodes, "summary": summary}
        if store:
            clips = film(episodes, choose(episodes, clip_count(head)), store.actions, workers, film_one)
            store.finish(report, page(report, clips, store.out))
    return report


def load_the_hashed(settings: EvaluationSettings, files: dict[str, str]) -> Callable[[str], Policy]:
    """How the workers load the policy: files that were changed since they were hashed are refused."""
    if settings.load is not load_learned or is_remote(settings.policy) or not files:
        return settings.load
    return partial(load_learned, expected=digest(files))


def _in_report_order(rows: Iterable[dict[str, Any]], tasks: list[str]) -> list[dict[str, Any]]:
    """By control, then in the order of ``tasks`` (those of an earlier run after them), then by seed."""
    order = {task: i for i, task in enumerate(tasks)}
    return sorted(
        rows,
        key=lambda r: (CONTROLS.index(r["control"]), order.get(r["task"], len(order)), r["task"], r["seed"]),
    )


def describe(plan: Plan) -> dict[str, Any]:
    """The head of the report: policy, suite, split, versions, hashes."""
    policy = plan.settings.policy
    learned = policy not in SCRIPTED and plan.settings.load is load_learned
    remote = learned and is_remote(policy)
    folder = find_folder(policy) if learned and not remote else None
    world = plan.world
    return {
        "policy": policy,
        "suite": world.suite,
        "split": world.split,
        "versions": world.versions(learned and not remote),
        "hashes": {
            "policy": files_of(policy) if remote else provenance.hash_policy(folder),
            "tasks": dict(world.tasks),
            "simulator": world.simulator,
            "contract": world.contract,
        },
    } | world.head()
