"""An episode depends on its seed alone: not on a generator elsewhere, not on the episode before.

Two environments are opened.  Where their first episodes of one seed differ, the seed does not decide; where they agree
and the same seed differs later in one of them, an earlier episode has left something behind.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing, contextmanager

import numpy as np

from vla_agent.environments.check.probe import Finding, Probe, Trace, first_difference


def repeats(probe: Probe) -> Iterator[Finding]:
    """Same seed, same episode; another seed, another one."""
    seed, task = probe.settings.seed, probe.chosen[0]
    actions = probe.actions(seed)
    with closing(probe.open()) as first, closing(probe.open()) as second:
        one = _played(probe, task, seed, actions, first, 1)
        two = _played(probe, task, seed, actions, second, 2)
        if (step := first_difference(one, two)) is not None:
            yield _unrepeatable(probe, step, _with_global_seeds(probe, first, second))
            return
        longer = probe.actions(seed + 1, 3 * probe.settings.steps)
        for other in (probe.chosen[-1], task):
            probe.play(other, seed + 1, longer, first, images=False)
            again = _played(probe, task, seed, actions, first, 3)
            if (step := first_difference(one, again)) is not None:
                yield _leak(step, task)
                return
        for other in probe.chosen[1:]:
            once = _played(probe, other, seed, actions, second, 4)
            probe.play(other, seed + 1, longer, first, images=False)
            if (step := first_difference(once, _played(probe, other, seed, actions, first, 5))) is not None:
                yield _leak(step, other)
                return
        yield from _varies(probe, one, first)


def _played(probe: Probe, task: str, seed: int, actions: np.ndarray, environment: object, number: int) -> Trace:
    """A trace under global generators that are in another state each time."""
    with global_generators(number):
        return probe.play(task, seed, actions, environment)


@contextmanager
def global_generators(seed: int) -> Iterator[None]:
    """Python's and numpy's global generators, seeded inside and as they were outside."""
    before = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


def _with_global_seeds(probe: Probe, first: object, second: object) -> bool:
    """Whether two episodes of one seed agree where the global generators are seeded the same."""
    seed, task = probe.settings.seed, probe.chosen[0]
    traces = [_played(probe, task, seed, probe.actions(seed), env, 5) for env in (first, second)]
    return first_difference(*traces) is None


def _unrepeatable(probe: Probe, step: int, by_global: bool) -> Finding:
    if by_global:
        remedy = "draw from np.random.default_rng(seed); a library that draws globally: np.random.seed(seed) in reset()"
        return Finding("reset.generator", "episodes depend on the global generator of numpy or random", remedy)
    if step == 0:
        remedy = "use the seed in reset(): some simulators ignore reset(seed=...) and have a seed() of their own"
        return Finding("reset.repeatable", "two resets with one seed show different scenes", remedy)
    remedy = "seed the noise of the dynamics in reset(), and do not let the result depend on wall-clock time"
    return Finding("step.repeatable", f"the same actions lead elsewhere from step {step} on", remedy)


def _leak(step: int, task: str) -> Finding:
    remedy = "set back all that an episode changes: controllers, grippers, counters, cached images"
    where = "already after the reset" if step == 0 else f"from step {step} on"
    return Finding("reset.leak", f"an episode of {task} differs {where} when another was played before", remedy)


def _varies(probe: Probe, one: Trace, environment: object) -> Iterator[Finding]:
    seed, task = probe.settings.seed, probe.chosen[0]
    for other in range(seed + 1, seed + 5):
        trace = probe.play(task, other, [], environment)
        if first_difference(Trace("", one.observations[:1]), Trace("", trace.observations)) is not None:
            return
    remedy = "let the seed decide the scene, else every episode is the same one and intervals mean nothing"
    yield Finding("reset.varies", "five seeds show one scene", remedy)
