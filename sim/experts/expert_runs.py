"""Runs of the scripted expert in physics alone: does it reach a family's goal?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sim.experts.expert import Expert
from sim.tasks.events import Events, EventTracker
from sim.tasks.task import TaskFamily
from sim.world.world import World


@dataclass(frozen=True)
class ExpertRun:
    """The outcome of one episode."""

    seed: int
    success: bool
    steps: int  # control periods
    events: Events


def run_expert(family: TaskFamily, seeds: Iterable[int], split: str = "seen") -> Iterator[ExpertRun]:
    """One episode per seed, until success or the time limit; nothing is rendered.

    Raises:
        TaskError: unknown split, or the family has no scenes in it.
    """
    world = World()
    for seed in seeds:
        task = family.episode(seed, split)
        world.reset(task.scene)
        expert, tracker = Expert(world, task), EventTracker(world, task)
        steps, success = 0, False
        while not success and steps < task.steps_limit:
            world.step(expert.action())
            tracker.update()
            steps, success = steps + 1, task.success(world)
        yield ExpertRun(seed, success, steps, tracker.events())
