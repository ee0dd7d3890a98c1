"""The optional methods: they do what they say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from vla_agent.environments.check.probe import Finding, Probe, first_difference
from vla_agent.environments.protocol import ANNOTATED, annotation_fault, offers


def do_what_they_say(probe: Probe) -> Iterator[Finding]:
    """Other instructions are others, groups name tasks, versions are texts, points lie in images, experts succeed."""
    env: Any = probe.environment
    own = env.reset(probe.chosen[0], probe.settings.seed)
    for name in ("other_instructions", "foreign_instructions"):
        texts = list(getattr(env, name)()) if offers(env, name) else []
        if own in texts:
            yield Finding(name, f"{name}() holds the instruction itself: {own!r}", "leave it out")
        if any(not isinstance(text, str) or not text.strip() for text in texts):
            yield Finding(name, f"{name}() holds {texts[:3]}", "return texts")
    if offers(env, "groups"):
        strange = [t for names in env.groups().values() for t in names if t not in list(env.tasks())]
        if strange:
            yield Finding("groups", f"groups() names {strange[:3]}, which tasks() does not", "name tasks alone")
    if offers(env, "versions") and any(not isinstance(v, str) for v in env.versions().values()):
        yield Finding("versions", f"versions() is {env.versions()}", "return package: version, as texts")
    if offers(env, "annotations"):
        yield from _annotations(probe)
    if offers(env, "expert"):
        yield from _expert(probe)
    if offers(env, "perturb"):
        yield from _perturbations(probe)


def _annotations(probe: Probe) -> Iterator[Finding]:
    env: Any = probe.environment
    for task in probe.chosen:
        env.reset(task, probe.settings.seed)
        wrong = annotation_fault(env.annotations(), env.contract.camera_names)
        if wrong:
            remedy = f"return {' and '.join(f'{key} {form}' for key, form in ANNOTATED.items())}"
            yield Finding("annotations", f"annotations() in {task}: {wrong}", remedy)
            return


def _expert(probe: Probe) -> Iterator[Finding]:
    env: Any = probe.environment
    low, high = probe.limits()
    outcomes = []
    for task in probe.chosen:
        env.reset(task, probe.settings.seed)
        success, outside = False, False
        for _ in range(max(1, int(env.limit(task) or 0))):
            action = np.asarray(env.expert())
            if action.shape != low.shape or not np.isfinite(action).all():
                remedy = f"return {low.shape} finite numbers in the contract's layout"
                yield Finding("expert.action", f"expert() returns {action.shape} {action.dtype}", remedy)
                return
            outside |= bool((action < low - 1e-4).any() or (action > high + 1e-4).any())
            success = bool(env.step(action.astype(np.float32)))
            if success:
                break
        outcomes.append(success)
        if outside:
            remedy = "clip its actions: demonstrations would hold actions that no policy may emit"
            yield Finding("expert.limits", f"expert() leaves the contract's limits in {task}", remedy)
            return
    if not any(outcomes):
        text = f"the expert fails in all of {len(outcomes)} tasks"
        yield Finding("expert.success", text, "watch it: vla-agent eval expert --env ENV, then open report.html")


def _perturbations(probe: Probe) -> Iterator[Finding]:
    env: Any = probe.environment
    axes = list(env.axes()) if offers(env, "axes") else []
    if not axes:
        yield Finding("axes", "perturb() is offered, and no axes()", "return the names of the axes")
        return
    seed, task = probe.settings.seed, probe.chosen[0]
    before = probe.play(task, seed, probe.actions(seed))
    for axis in axes:
        env.perturb(axis, 1)
        probe.play(task, seed, probe.actions(seed), images=False)
        env.perturb(axis, 0)
        if first_difference(before, probe.play(task, seed, probe.actions(seed))) is not None:
            remedy = "perturb(axis, 0) must give back what every earlier call has changed"
            yield Finding("perturb.undone", f"{axis} stays after perturb({axis!r}, 0)", remedy)


def closes_twice(probe: Probe) -> Iterator[Finding]:
    """`close` may be called twice."""
    env = probe.open()
    env.close()
    try:
        env.close()
    except Exception as error:
        remedy = "do nothing the second time: interrupted runs close twice"
        yield Finding("close", f"the second close() raises {type(error).__name__}: {str(error)[:80]}", remedy)
