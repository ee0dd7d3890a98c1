"""The world that a report's episodes are played in: the tabletop or another environment, with its versions and hashes.

Two reports can be compared, and an episode replayed, where these are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.tasks.task import TaskFamily, load_suite, select
from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.environments.choice import Choice, Facts, choose
from vla_agent.environments.names import SHIPPED
from vla_agent.environments.protocol import left_out
from vla_agent.environments.tabletop import NAME, TabletopChoice
from vla_agent.errors import ReportError
from vla_agent.evaluation import provenance
from vla_agent.files.canonical_json import digest

WHOLE = "whole"  # the split of an environment that has none
CONTROLS = ("shuffled", "random", "expert")


@dataclass(frozen=True)
class PlayedWorld:
    """What is played, and what identifies it.

    Attributes:
        choice: opens it in every worker.
        suite, split: its name, and what part of it, in the report.
        tasks: chosen task -> SHA-256 of what describes it.
        simulator: SHA-256 of what an episode runs through.
        contract: SHA-256.
        facts: of an environment other than the tabletop.
        files: task -> its file, where it lies outside the suite.
    """

    choice: Choice | TabletopChoice
    suite: str
    split: str
    tasks: dict[str, str]
    simulator: str
    contract: str
    facts: Facts | None = None
    files: Mapping[str, str | None] | None = None

    def versions(self, learned: bool) -> dict[str, Any]:
        """As `provenance.versions`, with the MuJoCo that the environment runs on."""
        found = provenance.versions(learned)
        return found if self.facts is None else found | {"mujoco": self.facts.versions.get("mujoco", "absent")}

    def controls(self) -> tuple[str, ...]:
        """The controls that it can play."""
        if self.facts is None:
            return CONTROLS
        offers = self.facts.offers
        others = {"other_instructions", "foreign_instructions"} & set(offers)
        limits = all(f.low is not None and f.high is not None for f in self.facts.contract.action)
        possible = {"shuffled": bool(others), "random": limits, "expert": "expert" in offers}
        return tuple(name for name in CONTROLS if possible[name])

    def head(self) -> dict[str, Any]:
        """What the report says beyond the tabletop's: how to open it again, and what is left out."""
        if self.facts is None or isinstance(self.choice, TabletopChoice):
            return {}
        facts, choice = self.facts, self.choice
        lacking = left_out(facts.offers)
        if "random" not in self.controls():
            lacking["limits"] = "the control of random actions: the contract's actions have no limits"
        return {
            "environment": {
                "name": choice.name,
                "options": dict(choice.options),
                "perturbed": list(choice.perturbed) if choice.perturbed else None,
                "source": dict(facts.source),
                "versions": dict(facts.versions),
                "control_hz": facts.contract.control_hz,
                "groups": {group: list(tasks) for group, tasks in facts.groups.items()},
                "left_out": lacking,
            }
        }


def tabletop_world(families: Mapping[str, TaskFamily], suite: str, split: str) -> PlayedWorld:
    """The simulated arm with these families."""
    shipped = load_suite(suite)
    return PlayedWorld(
        TabletopChoice(families, split),
        suite,
        split,
        {name: provenance.hash_file(Path(family.file)) for name, family in families.items()},
        provenance.hash_simulator(),
        tabletop_contract().hash,
        files={n: None if n in shipped and f is shipped[n] else str(f.file) for n, f in families.items()},
    )


def other_world(
    name: str,
    tasks: Sequence[str] | None,
    options: Mapping[str, str],
    perturbed: tuple[str, int] | None = None,
) -> PlayedWorld:
    """Another environment, opened once to read its facts.

    Raises:
        OptionError: no such environment, task or perturbation.
        EnvironmentFault: it cannot be opened.
    """
    choice, facts = choose(name, tasks, options, perturbed)
    identity = {
        "source": dict(facts.source),
        "versions": dict(facts.versions),
        "options": dict(choice.options),
        "perturbed": list(perturbed) if perturbed else None,
    }
    hashes = {task: digest({"task": task, "limit": facts.limits[task]}) for task in choice.tasks}
    contract = facts.contract.hash
    return PlayedWorld(choice, name, WHOLE, hashes, digest(identity), contract, facts, dict.fromkeys(choice.tasks))


def world_of_choice(choice: Choice) -> PlayedWorld:
    """The same of a choice, as this machine has it."""
    return other_world(choice.name, choice.tasks, dict(choice.options), choice.perturbed)


def world_of(report: Mapping[str, Any], task: str, trusted: str | None = None) -> PlayedWorld:
    """The world of a report, with one of its tasks.

    To open an environment that is not shipped runs code that the report names: only ``trusted``, which the user names,
    is opened.

    Raises:
        ReportError: the report names code that the user does not.
        TaskError, OptionError: it has no such task any more.
        EnvironmentFault: the environment cannot be opened.
    """
    environment = report.get("environment")
    if environment is None:
        file = report["summary"].get("settings", {}).get("tasks", {}).get(task)
        return tabletop_world(select([file or task], report["suite"]), report["suite"], report["split"])
    if environment["name"] not in SHIPPED and environment["name"] != trusted:
        raise ReportError(
            "the report names an environment that is code of its own",
            key="environment.name",
            expected=f"one of {', '.join(SHIPPED)}, or the same name with --env",
            found=environment["name"],
            remedy=f"if you trust it: --env {environment['name']}",
        )
    perturbed = tuple(environment["perturbed"]) if environment["perturbed"] else None
    return other_world(environment["name"], [task], environment["options"], perturbed)


def is_tabletop(name: str) -> bool:
    """Whether ``--env`` names the simulated arm."""
    return name == NAME
