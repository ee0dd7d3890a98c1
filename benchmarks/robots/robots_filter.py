"""Planted collision courses with the stop alone, and with the filter before it; and what the filter costs a policy.

Each course (`benchmarks.robots.collision_courses`) is driven three times on the robot's model with physics: without any
guard, which shows that it is one; with the supervisor's stop alone; with filter and stop.  A contact is a body of the
arm from the first guarded one outwards (fingers too) that touches the table, the obstacle or the robot's own body, a
joint at the end of its range, or an end effector outside its workspace.  The look-ahead lets fingers touch things (a
gripper takes objects from a table): how many contacts are theirs alone is said in the notes.

Then the shipped policy plays the same seeds of every family through the robot's controller and supervisor, with the
filter and without it: nothing is planted there, so that nothing should be lost.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

NAME = "robots-filter"
TITLE = "contacts on planted collision courses with filter and stop, fewer than with the stop alone"
TARGET = 70.0
UNIT = "%"
BETTER = "higher"
FIRST = 7_000_000
COURSES, EPISODES = 200, 20  # courses; episodes of each family
LOST = 0.05  # of the success: the interval of the difference may not reach farther down
GUARDS = ("nothing", "stop", "filter")
WENT_ON = 0.04  # metres from where the course began: the way back was driven
RESAMPLES = 2000


@dataclass(frozen=True)
class Outcome:
    """What happened on a course: what was touched, why the robot was stopped, whether it came back."""

    touched: tuple[str, ...]
    stopped: str
    went_on: bool
    seconds: tuple[float, ...]  # that the controller took for each command and its plan


def run() -> dict[str, Any]:
    """``VLA_AGENT_FILTER=COURSES,EPISODES`` shortens it."""
    courses, episodes = (int(n) for n in os.environ.get("VLA_AGENT_FILTER", f"{COURSES},{EPISODES}").split(","))
    return measure(range(FIRST, FIRST + courses), range(FIRST, FIRST + episodes))


def measure(courses: Sequence[int], episodes: Sequence[int]) -> dict[str, Any]:
    from benchmarks.robots.collision_courses import make_course
    from vla_agent.robot.description import load_robot

    base = load_robot("panda")
    made = [make_course(base, seed) for seed in courses]
    outcomes = {guard: [drive(course, guard) for course in made] for guard in GUARDS}
    real = [k for k, outcome in enumerate(outcomes["nothing"]) if outcome.touched]
    touched = {guard: np.array([bool(outcomes[guard][k].touched) for k in real], dtype=float) for guard in GUARDS}
    fewer = reduction(touched["stop"], touched["filter"])
    played = play(episodes)
    rows = [course_row(kind, [k for k in real if made[k].kind == kind], outcomes) for kind in kinds(made)]
    rows.append(course_row("all", real, outcomes))
    rows += [time_row(guard, outcomes[guard]) for guard in ("stop", "filter")]
    alone = [sum(fingers_alone(outcomes[guard][k].touched, base.lookahead.guarded) for k in real) for guard in GUARDS]
    return {
        "value": fewer,
        "n": len(real),
        "interval": interval(touched["stop"], touched["filter"]),
        "seeds": f"{courses[0]} to {courses[-1]}; of the policy {episodes[0]} to {episodes[-1]} of each family",
        "rows": [*rows, played["row"]],
        "passed": fewer is not None and fewer >= TARGET and played["kept"],
        "notes": f"{len(real)} of {len(made)} courses touch something without a guard, and count; of the contacts "
        f"{alone[1]} with the stop and {alone[2]} with the filter are of fingers alone, which the stop lets touch; "
        f"success of the shipped policy with the filter minus without it, in points: {played['points']}; "
        f"episodes in which the filter changed a command: {played['acted']} of {played['n']}",
    }


def drive(course: Any, guard: str) -> Outcome:
    """Drive a course with ``nothing``, ``stop`` or ``filter`` (and the stop behind it)."""
    from benchmarks.robots.collision_courses import BACK, EXECUTE, PERIODS
    from benchmarks.robots.physical_arm import PhysicalArm
    from vla_agent.evaluation.robot_chain import RobotChain
    from vla_agent.robot.control.arm_controller import ArmController

    robot = with_filter(course.robot, guard == "filter")
    arm, chain = PhysicalArm(robot, course.start), RobotChain(robot, course.mode)
    bare = ArmController(robot, course.mode)
    bare.rest(course.start, 0.0)
    touched: set[str] = set()
    target, stopped, chunk = course.start, "", np.empty((0, 0))
    for step in range(PERIODS + BACK):
        if step % EXECUTE == 0:
            chunk = course.chunk(step, arm.joints, arm.place)
        rows = chunk[step % EXECUTE :]
        if guard == "nothing":
            target = bare.command(rows, arm.joints)
        elif sent := chain.step(rows, arm.joints, 0.0, 0.0):
            target = sent.joints
        stopped = stopped or chain.stopped
        touched |= arm.step(target)
    went_on = not stopped and bool(np.linalg.norm(arm.place - course.place) < WENT_ON)
    return Outcome(tuple(sorted(touched)), stopped, went_on, tuple(chain.seconds))


def with_filter(robot: Any, enabled: bool) -> Any:
    """The robot with its filter on or off."""
    changed = robot.safety.filter.model_copy(update={"enabled": enabled})
    return robot.model_copy(update={"safety": robot.safety.model_copy(update={"filter": changed})})


def fingers_alone(touched: Sequence[str], guarded: Sequence[str]) -> bool:
    """Whether something was touched, and only by bodies that the look-ahead does not guard."""
    pairs = [what.removeprefix("contact: ").split(" and ") for what in touched if what.startswith("contact: ")]
    return 0 < len(touched) == len(pairs) and not any(body in guarded for pair in pairs for body in pair)


def reduction(before: np.ndarray, after: np.ndarray) -> float | None:
    """Percent fewer in ``after`` (N,) than in ``before`` (N,); None where there was nothing to reduce."""
    return None if before.sum() == 0 else float(100 * (1 - after.sum() / before.sum()))


def interval(before: np.ndarray, after: np.ndarray) -> list[float] | None:
    """95 % bootstrap interval of the reduction, courses drawn in pairs."""
    rng, found = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        drawn = rng.integers(len(before), size=len(before))
        value = reduction(before[drawn], after[drawn])
        found += [] if value is None else [value]
    return [float(q) for q in np.quantile(found, [0.025, 0.975])] if found else None


def kinds(courses: Sequence[Any]) -> list[str]:
    """Kinds of the courses, each once."""
    return list(dict.fromkeys(course.kind for course in courses))


def course_row(kind: str, chosen: Sequence[int], outcomes: dict[str, list[Outcome]]) -> dict[str, Any]:
    """A row of the table: contacts, stops and runs that went on, of some courses."""
    row: dict[str, Any] = {"what": f"courses: {kind}", "n": len(chosen)}
    for guard in ("stop", "filter"):
        ends = [outcomes[guard][k] for k in chosen]
        row |= {f"contacts, {guard}": sum(bool(end.touched) for end in ends)}
        row |= {f"stops, {guard}": sum(bool(end.stopped) for end in ends)}
        row |= {f"went on, {guard}": sum(end.went_on for end in ends)}
    return row


def time_row(guard: str, ends: Sequence[Outcome]) -> dict[str, Any]:
    """A row of the table: what a command and its plan take in the controller."""
    milliseconds = 1e3 * np.concatenate([end.seconds for end in ends])
    median, most = np.quantile(milliseconds, [0.5, 0.99])
    return {"what": f"controller, {guard}: ms a command with its plan", "n": len(milliseconds)} | {
        "median": float(median),
        "p99": float(most),
    }


def play(seeds: Sequence[int]) -> dict[str, Any]:
    """The shipped policy through the robot's chain on unobstructed tasks, with and without the filter."""
    from benchmarks.shared.evaluations import POLICY
    from sim.env import TabletopEnv
    from sim.rollout import run_episode
    from sim.tasks.task import load_suite
    from vla_agent.evaluation.robot_chain import RobotChain, drive_by_chain
    from vla_agent.evaluation.success_statistics import paired_difference
    from vla_agent.policy.loading import load_policy
    from vla_agent.robot.description import load_robot

    families, policy = load_suite("tabletop"), load_policy(POLICY)
    env = TabletopEnv(task=next(iter(families)))
    success: dict[bool, list[bool]] = {True: [], False: []}
    own, stops, acted = env.world.controller, {True: 0, False: 0}, 0
    for family in families.values():
        env.set_task(family)
        for seed in seeds:
            for enabled in (True, False):
                chain = RobotChain(with_filter(load_robot("panda"), enabled), "ee_delta")
                env.world.controller = own
                result = run_episode(env, drive_by_chain(env.world, chain, policy), seed)
                success[enabled].append(result.success)
                stops[enabled] += bool(chain.stopped)
                acted += bool(chain.filtered)
    env.close()
    found = paired_difference(success[True], success[False])
    low, high = found["interval"]
    row: dict[str, Any] = {"what": "shipped policy, unobstructed", "n": len(success[True])}
    for enabled, guard in ((False, "stop"), (True, "filter")):
        row |= {f"success, {guard}": sum(success[enabled]), f"stops, {guard}": stops[enabled]}
    return {
        "row": row,
        "kept": high >= 0 and low >= -LOST,
        "points": f"{100 * found['difference']:.1f} ({100 * low:.1f} to {100 * high:.1f})",
        "acted": acted,
        "n": len(success[True]),
    }
