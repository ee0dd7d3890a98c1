"""Observations: they fit the contract, looking changes nothing, and what was returned stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from vla_agent.environments.check.probe import Finding, Probe, copied, same
from vla_agent.errors import ObservationError

SHAPED = "return images (H, W, 3) uint8 RGB by the contract's names, and the state (D,) in its order and units"


def fits_the_contract(probe: Probe) -> Iterator[Finding]:
    """Every name, size, type, unit and range of the contract, at the reset and while something moves."""
    for task in probe.chosen:
        trace = probe.play(task, probe.settings.seed, probe.actions(probe.settings.seed))
        for observation in (trace.observations[0], trace.observations[-1]):
            found = list(_faults(probe, observation))
            yield from found
            if found:
                return


def _faults(probe: Probe, observation: dict[str, Any]) -> Iterator[Finding]:
    try:
        probe.contract.check_observation(observation)
    except ObservationError as error:
        yield Finding("observation.contract", f"{error.key}: {error.found}; expected {error.expected}", SHAPED)
        return
    more = sorted(set(observation["images"]) - set(probe.contract.camera_names))
    if more:
        remedy = "leave them out, or name them in the contract"
        yield Finding("observation.more", f"cameras that the contract does not have: {', '.join(more)}", remedy)
    state, places = np.asarray(observation["state"]), probe.contract.slices(probe.contract.state)
    for field in probe.contract.state:
        values = state[places[field.name]]
        low, high = (-np.inf if field.low is None else field.low), (np.inf if field.high is None else field.high)
        slack = 1e-3 * max(1.0, high - low) if np.isfinite(high - low) else 1e-3
        if (values < low - slack).any() or (values > high + slack).any():
            remedy = f"return it in {field.unit or 'its unit'}, or correct low and high in the contract"
            text = f"{field.name} is {values.round(4).tolist()}, outside {field.low} to {field.high}"
            yield Finding("observation.range", text, remedy)


def pure_and_kept(probe: Probe) -> Iterator[Finding]:
    """Two looks show the same; ``images=False`` gives no image and the same state; old observations do not change."""
    env, task = probe.environment, probe.chosen[0]
    actions = probe.actions(probe.settings.seed, 8)
    env.reset(task, probe.settings.seed)
    env.step(actions[0].copy())
    first = env.observe()
    kept, again = copied(first), copied(env.observe())
    if not same(kept, again):
        remedy = "observe() must neither step the simulation nor draw random numbers"
        yield Finding("observe.changes", "two calls of observe() without a step between differ", remedy)
    blind = env.observe(images=False)
    if isinstance(blind, dict) and blind.get("images"):
        remedy = "return the state alone, and render nothing: experts and random actions do not look"
        yield Finding("observe.images", "observe(images=False) returns images", remedy, error=False)
    elif not same(copied({"state": blind["state"]}), {"state": kept["state"]}):
        yield Finding("observe.state", "observe(images=False) has another state", "return the same state")
    for action in actions[1:]:
        env.step(action.copy())
        env.observe()
    if not same(kept, copied(first)):
        remedy = "return copies: np.array(buffer); recorded episodes would hold the last frame everywhere"
        yield Finding("observation.alias", "an earlier observation changed with later steps", remedy)
