"""Episodes of a policy whose instruction or scene is changed by a named change, on the seeds of the unchanged ones.

A change is a function of a task and a random generator in `benchmarks.nano.changes`; it gives an `Effect`, or None
where it does not apply.  Nothing here is ever trained on.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

HELD_OUT = 7_000_000  # seeds of the records; developers use those below
WORKERS = 2
POLICY = "policies/tabletop-nano"
EPISODES = int(os.environ.get("NANO_EPISODES", "30"))  # of each family
LOOK_FOR = 60  # control periods after which a policy that is to refuse is judged


@dataclass(frozen=True)
class Setting:
    """How much is measured, on what."""

    policy: str = POLICY
    episodes: int = EPISODES
    seed: int = HELD_OUT
    workers: int = WORKERS

    @property
    def seeds(self) -> str:
        return f"{self.seed} to {self.seed + self.episodes - 1} of each family"


@dataclass(frozen=True)
class Case:
    """One episode: family, seed, and the change of `benchmarks.nano.changes`; "" for none.

    number: which of the change's wordings, where it has several.
    steps: control periods after which the episode is ended; 0 for the task's own limit.
    """

    family: str
    seed: int
    change: str = ""
    number: int = 0
    steps: int = 0


@dataclass(frozen=True)
class Played:
    """What came of a case.

    moved: metres that the farthest object moved.  refused: the policy held still at the end.  reason: its words.
    doubts: probability at each look, None where it says nothing.
    """

    case: Case
    instruction: str
    success: bool
    moved: float = 0.0
    refused: bool = False
    reason: str = ""
    doubts: list[float | None] = field(default_factory=list)
    detail: str = ""


def play_all(cases: Sequence[Case], setting: Setting) -> Iterator[Played]:
    """Play the cases in their order; those to which the change does not apply are left out."""
    if setting.workers == 1:
        yield from filter(None, (_play(case, setting.policy) for case in cases))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(setting.workers, mp_context=context, initializer=_start) as pool:
        jobs = [pool.submit(_play, case, setting.policy) for case in cases]
        yield from filter(None, (job.result() for job in jobs))


def _start() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


_made: dict[str, Any] = {}  # of this process: the environment, and policies by name


def close() -> None:
    """Free this process's environment."""
    if "env" in _made:
        _made.pop("env").close()


def _play(case: Case, policy_name: str) -> Played | None:
    from sim.tasks.task import select
    from sim.world.world import World

    env, policy = _environment(), _policy(policy_name)
    (family,) = select([case.family]).values()
    env.set_task(family, "seen")
    task = family.episode(case.seed)
    effect = _effect(case, task)
    if effect is None:
        return None
    instruction = effect.instruction if effect.instruction is not None else effect.task.instruction
    world: World = env.world
    world.reset(effect.task.scene, effect.vary)
    before = _places(world)
    success, doubts = _drive(world, effect.task, policy, instruction, case)
    refusal = policy.refusal
    moved = max((float(abs(a - b).max()) for a, b in zip(before, _places(world), strict=True)), default=0.0)
    return Played(case, instruction, success, moved, refusal is not None, refusal or "", doubts, effect.detail)


def _drive(world: Any, task: Any, policy: Any, instruction: str, case: Case) -> tuple[bool, list[float | None]]:
    """Act until success or the time's end; whether it succeeded, and the doubt at each look."""
    policy.reset(instruction, seed=case.seed)
    doubts: list[float | None] = []
    limit, done = case.steps or task.steps_limit, 0
    while done < limit:
        chunk = policy.act({"images": world.render(), "state": world.state()})
        doubts.append(policy.doubt.probability if policy.doubt else None)
        for action in chunk[: policy.execute]:
            world.step(action)
            done += 1
            if task.success(world):
                return True, doubts
    return False, doubts


def _effect(case: Case, task: Any) -> Any:
    from zlib import crc32

    import numpy as np

    from benchmarks.nano.changes import CHANGES
    from sim.perturbations.variation import Effect

    if not case.change:
        return Effect(task)
    key = [case.seed, 301, crc32(case.change.encode()), crc32(case.family.encode()), case.number]
    return CHANGES[case.change](task, case.number, np.random.default_rng(key))


def _places(world: Any) -> list[Any]:
    return [world.object_position(o.name) for o in world.scene.objects]


def _environment() -> Any:
    if "env" not in _made:
        from sim.env import TabletopEnv

        _made["env"] = TabletopEnv()
    return _made["env"]


def _policy(name: str) -> Any:
    if name not in _made:
        import torch

        from vla_agent.policy.loading import load_policy

        torch.set_num_threads(1)
        _made[name] = load_policy(name)
    return _made[name]


def families() -> list[str]:
    """Names of the families of the tabletop suite."""
    from sim.tasks.task import load_suite

    return list(load_suite("tabletop"))


def lost(change: str, setting: Setting, wordings: int = 1) -> dict[str, Any]:
    """Success lost by a change on the same scenes: the record of a benchmark.

    Args:
        wordings: episode k takes wording k modulo this number.
    """
    from vla_agent.evaluation.success_statistics import paired_difference, rate

    places = [(family, setting.seed + k, k) for k in range(setting.episodes) for family in families()]
    plain = {(p.case.family, p.case.seed): p.success for p in play_all([Case(f, s) for f, s, _ in places], setting)}
    changed = list(play_all([Case(f, s, change, k % wordings) for f, s, k in places], setting))
    keys = [(p.case.family, p.case.seed) for p in changed]
    difference = paired_difference([plain[key] for key in keys], [p.success for p in changed])
    rows = []
    for family in families():
        mine = [p for p in changed if p.case.family == family]
        before = rate(plain[p.case.family, p.case.seed] for p in mine)
        after = rate(p.success for p in mine)
        rows.append({"family": family, "n": after["n"], "as trained": before["k"], "changed": after["k"]})
    return {
        "value": difference["difference"],
        "n": difference["n"],
        "interval": difference["interval"],
        "seeds": setting.seeds,
        "rows": rows,
    }
