"""Records one demonstration: the scripted expert from the start, or from a state that a learned policy reached."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from sim.chunk_execution import delayed, open_loop
from sim.env import TabletopEnv
from sim.experts.expert import Decision, Expert
from sim.perturbations.appearance import domain_randomisation
from sim.tasks.task import TaskFamily, TaskInstance
from sim.world.world import World
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.episode import Episode
from vla_agent.policy.execution_settings import Execution

AFTER_SUCCESS = 3  # frames kept after the goal is reached, so that the policy learns to release and stay
TAKEOVER_STEPS = (10, 150)  # the policy acts for this many control periods, drawn uniformly
_EXPERT, _TAKEOVER, _APPEARANCE = 201, 202, 203  # random streams of an episode besides that of the scene


@dataclass(frozen=True)
class Recording:
    """How demonstrations are recorded.

    Args:
        noise: strength of the injected disturbances: 0 for none, 1 for the usual ones.
        policy: acts first, then the expert takes over; it offers ``execute``, ``reset(instruction)`` and
            ``act(observation) -> (T, A)``.
        executions: execution modes and inference latencies of the policy; each episode draws one.
        appearance: axes of domain randomisation, of `sim.perturbations.appearance.APPEARANCE_AXES`.
        split: instruction wordings and objects, one of `sim.tasks.task.SPLITS`.
    """

    noise: float = 1.0
    policy: Any = None
    executions: Sequence[Execution] = (Execution(),)
    appearance: Sequence[str] = ()
    split: str = "seen"


@dataclass(frozen=True)
class Attempt:
    """The result of one seed: ``recorded`` (with an episode), ``failed`` (the expert ran out of time), or ``solved``
    (the policy reached the goal before the expert took over)."""

    outcome: str
    episode: Episode | None = None


def record(env: TabletopEnv, family: TaskFamily, seed: int, recording: Recording) -> Attempt:
    """Attempt one demonstration.

    The observation is taken *before* the action.  The recorded action is the expert's label; the simulation is stepped
    with the disturbed action, so that the data shows recoveries and not mistakes (DART: Laskey et al. 2017).

    With a ``policy``, the policy acts first, for a random number of control periods, and only the expert's part is
    recorded: demonstrations from the states that the policy itself reaches (HG-DAgger: Kelly et al. 2019, with the
    scripted expert in place of the human).

    Args:
        env: any environment; it is set to the family and reset.
        family: the task.
        seed: decides the scene, the instruction, the disturbances and the takeover.
        recording: how it is recorded.

    Raises:
        TaskError: the family has nothing in this split.
    """
    env.set_task(family, recording.split)
    task = _begin(env, seed, recording.appearance)
    if recording.policy is not None and not _run_policy(env, seed, recording):
        return Attempt("solved")
    expert = Expert(env.world, task, rng=np.random.default_rng([seed, _EXPERT]), noise=recording.noise)
    frames = _Frames()
    remaining = task.steps_limit
    succeeded = False
    while remaining > 0:
        decision = expert.decide()
        frames.append(env.world, decision)
        env.world.step(decision.executed)
        remaining -= 1
        if not succeeded and task.success(env.world):
            succeeded, remaining = True, AFTER_SUCCESS
    if not succeeded:
        return Attempt("failed")
    return Attempt("recorded", frames.episode(task.instruction, {"family": family.name, "seed": seed}))


@dataclass
class _Frames:
    """The frames recorded so far: feature -> rows, camera -> images."""

    rows: dict[str, list[np.ndarray]] = field(default_factory=dict)
    images: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def append(self, world: World, decision: Decision) -> None:
        """Add the observation of ``world`` and the expert's decision in it."""
        images = world.render()
        frame = {
            dataset_schema.STATE: world.state(),
            dataset_schema.ACTION: decision.label,
            dataset_schema.SUBGOAL: decision.subgoal.ravel(),
            dataset_schema.POINTS: np.concatenate([world.project(name, decision.subgoal).ravel() for name in images]),
            dataset_schema.CLEAN: [decision.clean],
        }
        for name, values in frame.items():
            self.rows.setdefault(name, []).append(np.asarray(values, dtype=np.float32))
        for name, image in images.items():
            self.images.setdefault(name, []).append(image)

    def episode(self, instruction: str, origin: dict[str, Any]) -> Episode:
        """All frames as an episode."""
        columns = {name: np.stack(values) for name, values in self.rows.items()}
        images = {name: np.stack(frames) for name, frames in self.images.items()}
        return Episode(instruction, columns, images, origin)


def _begin(env: TabletopEnv, seed: int, appearance: Sequence[str]) -> TaskInstance:
    """Reset to the episode of a seed; the same seed and axes give the same one."""
    if not appearance:
        return env.begin(seed)
    task = env.family.episode(seed, env.split)
    return env.begin(seed, domain_randomisation(task, appearance, np.random.default_rng([seed, _APPEARANCE])))


def _run_policy(env: TabletopEnv, seed: int, recording: Recording) -> bool:
    """Let the policy act for a random number of periods; False where it solves the task each time before that.

    After an early success the episode starts again, with fewer periods, which end before the success.
    """
    policy, executions = recording.policy, recording.executions
    rng = np.random.default_rng([seed, _TAKEOVER])
    takes_seed = "seed" in inspect.signature(policy.reset).parameters
    most = TAKEOVER_STEPS[1]
    execution = executions[int(rng.integers(len(executions)))] if len(executions) > 1 else executions[0]
    for _ in range(2):
        if most < TAKEOVER_STEPS[0]:
            return False
        steps = int(rng.integers(TAKEOVER_STEPS[0], most + 1))
        task = _begin(env, seed, recording.appearance)
        policy.reset(task.instruction, **({"seed": seed} if takes_seed else {}))
        solved = _solved_after(env, policy, steps, execution)
        if solved is None:
            return True
        most = solved - TAKEOVER_STEPS[0]
    return False


def _solved_after(env: TabletopEnv, policy: Any, steps: int, execution: Execution) -> int | None:
    """Run the policy for ``steps`` periods: the period in which the goal was reached, or None."""
    world, task = env.world, env.task

    def observe() -> dict[str, Any]:
        return {"images": world.render(), "state": world.state()}

    if execution.plain:
        actions = open_loop(policy, observe, env.contract)
    else:
        actions = delayed(policy, observe, world.state, env.contract, *execution.executor(policy, env.contract))
    for done, action in enumerate(islice(actions, steps), 1):
        world.step(action)
        if task.success(world):
            return done
    return None
