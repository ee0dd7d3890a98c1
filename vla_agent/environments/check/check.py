"""All checks, in the order in which their faults are best mended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

from vla_agent.environments.check import actions, observations, offers, pictures, repeatability, tasks
from vla_agent.environments.check.probe import Finding, Probe, Settings, guarded
from vla_agent.environments.protocol import NEEDED, Environment

Check = Callable[[Probe], Iterator[Finding]]
CHECKS: dict[str, Check] = {
    "contract": tasks.contract_values,
    "tasks": tasks.names_and_limits,
    "instruction": tasks.instructions,
    "observation": observations.fits_the_contract,
    "observe": observations.pure_and_kept,
    "step": actions.truth_value,
    "action": actions.within_the_limits,
    "reset": repeatability.repeats,
    "image": pictures.show_the_present,
    "optional": offers.do_what_they_say,
    "close": offers.closes_twice,
}


def check(
    open_environment: Callable[[], Environment],
    settings: Settings = Settings(),  # noqa: B008 - frozen
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> list[Finding]:
    """Try an environment; what is wrong with it, in the order in which it is best mended.

    After faults of tasks, instructions or observations the later checks are still run: each stands alone.

    Args:
        open_environment: opens it; it is called more than once.

    Raises:
        VlaAgentError: it cannot be opened at all.
    """
    environment = open_environment()
    missing = [name for name in NEEDED if not hasattr(environment, name)]
    if missing:
        return [Finding("protocol", f"no {', '.join(missing)}", "write them: docs/environments.md")]
    found: list[Finding] = []
    try:
        probe = Probe(environment, open_environment, settings)
        if not probe.chosen:
            return [Finding("tasks", "tasks() is empty", "return the name of at least one task")]
        for number, (name, one) in enumerate(CHECKS.items()):
            progress(name, number, len(CHECKS))
            found += guarded(name, lambda one=one: one(probe))  # type: ignore[misc]  # a bound default
    finally:
        with suppress(Exception):
            environment.close()
    return list(dict.fromkeys(found))
