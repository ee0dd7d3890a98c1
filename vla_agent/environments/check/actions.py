"""Steps: what they return, what they do to the action, and whether the contract's limits are true."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from vla_agent.environments.check.probe import Finding, Probe, same
from vla_agent.environments.protocol import action_limits


def truth_value(probe: Probe) -> Iterator[Finding]:
    """`step` returns True or False, and leaves the caller's action as it is."""
    action = probe.actions(probe.settings.seed, 1)[0]
    given = action.copy()
    probe.environment.reset(probe.chosen[0], probe.settings.seed)
    returned = probe.environment.step(given)
    if not isinstance(returned, (bool, np.bool_)):
        text = f"step() returns {type(returned).__name__}: {str(returned)[:60]}"
        yield Finding("step.success", text, "return whether the task is done, as bool")
    if not np.array_equal(action, given):
        yield Finding("action.changed", "step() changes the array that it is given", "work on a copy: np.array(action)")
    early = [_done_at_once(probe, task, seed) for task in probe.chosen for seed in _seeds(probe)]
    if all(early):
        remedy = "is the success of the last episode left over, or is the goal reached at the start?"
        yield Finding("step.early", "the first step succeeds in every episode that was tried", remedy)


def _seeds(probe: Probe) -> range:
    return range(probe.settings.seed, probe.settings.seed + 3)


def _done_at_once(probe: Probe, task: str, seed: int) -> bool:
    low, high = probe.limits()
    probe.environment.reset(task, seed)
    return probe.environment.step((low + high) / 2) is True


def within_the_limits(probe: Probe) -> Iterator[Finding]:
    """The contract has limits, actions at them are executed, and they are where the effect ends."""
    if action_limits(probe.contract) is None:
        names = ", ".join(f.name for f in probe.contract.action if f.low is None or f.high is None)
        remedy = "write low and high into the contract: random actions and noise need them"
        yield Finding("action.limits", f"no limits: {names}", remedy, error=False)
    low, high = probe.limits()
    middle = (low + high) / 2
    ends = {"low": low, "high": high, "half of high": (high + middle) / 2, "middle": middle}
    played: dict[str, list[dict[str, Any]]] = {}
    for name, action in ends.items():
        try:
            trace = probe.play(probe.chosen[0], probe.settings.seed, [action] * 6, images=False)
        except Exception as error:
            remedy = "execute every action within the contract's limits, or state the true ones"
            text = f"an action at {name} ({action.round(3).tolist()}) raises {type(error).__name__}: {str(error)[:100]}"
            yield Finding("action.range", text, remedy)
            return
        played[name] = trace.observations
    if _equal(played["low"], played["high"]):
        remedy = "is the action passed on? and does the state show what it moves?"
        yield Finding("action.dead", "actions at low and at high leave the same states", remedy)
    elif _equal(played["high"], played["half of high"]) and not _equal(played["high"], played["middle"]):
        remedy = "state the limits at which the effect ends; else random actions and normalisation are wrong"
        yield Finding("action.range", "actions at half of high do the same as at high: they saturate before", remedy)


def _equal(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> bool:
    return len(first) == len(second) and all(same(a, b) for a, b in zip(first, second, strict=True))
