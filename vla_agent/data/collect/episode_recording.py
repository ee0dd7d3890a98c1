"""Records one demonstration: the scripted expert from the start, or from where a learned policy has led."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from sim.chunk_execution import delayed, open_loop
from sim.env import TabletopEnv
from sim.experts.expert import Expert
from sim.perturbations.appearance import domain_randomisation
from sim.tasks.task import TaskFamily, TaskInstance
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.episode import Episode
from vla_agent.policy.execution_settings import Execution

AFTER_SUCCESS = 3  # frames kept after the goal is reached, so that the policy learns to let go and stay
TAKEOVER_STEPS = (10, 150)  # the policy drives for this many control periods, uniformly drawn
_EXPERT, _TAKEOVER, _LOOKS = 201, 202, 203  # streams of the episode's randomness beside the scene's own


@dataclass(frozen=True)
class Attempt:
    """What came of one seed: ``recorded`` (with an episode), ``failed`` (the expert ran out of time), or ``solved``
    (the policy reached the goal before the expert took over)."""

    outcome: str
    episode: Episode | None = None


def record(
    env: TabletopEnv,
    family: TaskFamily,
    seed: int,
    noise: float,
    policy: Any = None,
    executions: Sequence[Execution] = (Execution(),),
    looks: Sequence[str] = (),
    split: str = "seen",
) -> Attempt:
    """Attempt one demonstration.

    The observation is taken *before* the action; the action recorded is the expert's label, while the world is stepped
    with the disturbed one, so that the data shows recoveries and not mistakes (DART: Laskey et al. 2017).

    With a ``policy``, that policy drives first, for a random number of control periods, and only the expert's part is
    recorded: demonstrations from the states that the policy itself reaches (HG-DAgger: Kelly et al. 2019, with the
    script in the human's place).

    Args:
        env: any environment; it is set to the family and laid out anew.
        family: what to show.
        seed: decides the scene, the instruction, the disturbances and the take-over.
        noise: 0 for none, 1 for the usual disturbances.
        policy: offers ``execute``, ``reset(instruction)`` and ``act(observation) -> (T, A)``.
        executions: how its chunks are executed and how long it thinks; each episode draws one.
        looks: what is varied of the pictures (`sim.perturbations.appearance.domain_randomisation`).
        split: wordings and objects, of `sim.tasks.task.SPLITS`.

    Raises:
        TaskError: the family has nothing of this split.
    """
    env.set_task(family, split)
    task, world = _begin(env, seed, looks), env.world
    if policy is not None and not _drive(env, seed, policy, executions, looks):
        return Attempt("solved")
    expert = Expert(world, task, rng=np.random.default_rng([seed, _EXPERT]), noise=noise)
    rows: dict[str, list[np.ndarray]] = {}
    images: dict[str, list[np.ndarray]] = {}
    remaining = task.steps_limit
    succeeded = False
    while remaining > 0:
        decision = expert.decide()
        pictures = world.render()
        frame = {
            dataset_schema.STATE: world.state(),
            dataset_schema.ACTION: decision.label,
            dataset_schema.SUBGOAL: decision.subgoal.ravel(),
            dataset_schema.POINTS: np.concatenate([world.project(name, decision.subgoal).ravel() for name in pictures]),
            dataset_schema.CLEAN: [decision.clean],
        }
        for name, values in frame.items():
            rows.setdefault(name, []).append(np.asarray(values, dtype=np.float32))
        for name, picture in pictures.items():
            images.setdefault(name, []).append(picture)
        world.step(decision.executed)
        remaining -= 1
        if not succeeded and task.success(world):
            succeeded, remaining = True, AFTER_SUCCESS
    if not succeeded:
        return Attempt("failed")
    columns = {name: np.stack(values) for name, values in rows.items()}
    stacked = {name: np.stack(pictures) for name, pictures in images.items()}
    return Attempt("recorded", Episode(task.instruction, columns, stacked, {"family": family.name, "seed": seed}))


def _begin(env: TabletopEnv, seed: int, looks: Sequence[str]) -> TaskInstance:
    """Lay out the episode; the same seed and looks give the same one."""
    if not looks:
        return env.begin(seed)
    task = env.family.episode(seed, env.split)
    return env.begin(seed, domain_randomisation(task, looks, np.random.default_rng([seed, _LOOKS])))


def _drive(env: TabletopEnv, seed: int, policy: Any, executions: Sequence[Execution], looks: Sequence[str]) -> bool:
    """Let the policy drive for a random number of periods; False where it solves the task each time before that.

    Solved early, the episode starts anew, with a drive that ends before the success.
    """
    rng = np.random.default_rng([seed, _TAKEOVER])
    takes_seed = "seed" in inspect.signature(policy.reset).parameters
    most = TAKEOVER_STEPS[1]
    execution = executions[int(rng.integers(len(executions)))] if len(executions) > 1 else executions[0]
    for _ in range(2):
        if most < TAKEOVER_STEPS[0]:
            return False
        steps = int(rng.integers(TAKEOVER_STEPS[0], most + 1))
        task = _begin(env, seed, looks)
        policy.reset(task.instruction, **({"seed": seed} if takes_seed else {}))
        solved = _solved_after(env, policy, steps, execution)
        if solved is None:
            return True
        most = solved - TAKEOVER_STEPS[0]
    return False


def _solved_after(env: TabletopEnv, policy: Any, steps: int, execution: Execution) -> int | None:
    """Drive for ``steps`` periods: the period in which the goal was reached, or None."""
    world, task = env.world, env.task

    def look() -> dict[str, Any]:
        return {"images": world.render(), "state": world.state()}

    if execution.plain:
        source = open_loop(policy, look, env.contract)
    else:
        source = delayed(policy, look, world.state, env.contract, *execution.executor(policy, env.contract))
    for done, action in enumerate(islice(source, steps), 1):
        world.step(action)
        if task.success(world):
            return done
    return None
