"""Which environment is played, and which of its tasks: plain data, which every worker process opens for itself."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from vla_agent.contract import Contract
from vla_agent.environments.opening import open_environment
from vla_agent.environments.protocol import Environment, offered, offers, plain_versions
from vla_agent.errors import OptionError

Perturbation = tuple[str, int]  # axis, severity


@dataclass(frozen=True)
class Choice:
    """An environment by its name.

    Attributes:
        name: as `vla_agent.environments.names` reads it.
        tasks: names of tasks.
        options: keyword arguments of its factory.
        perturbed: axis and severity of all episodes; None: as the environment is.
    """

    name: str
    tasks: tuple[str, ...]
    options: tuple[tuple[str, str], ...] = ()
    perturbed: Perturbation | None = None

    def open(self) -> Environment:
        """The environment, in this process or its own.

        Raises:
            VlaAgentError: it cannot be opened.
        """
        environment = open_environment(self.name, dict(self.options)).environment
        if self.perturbed is not None:
            environment.perturb(*self.perturbed)  # type: ignore[attr-defined]  # optional; `choose` has checked it
        return environment


@dataclass(frozen=True)
class Facts:
    """What a plan and a report must know of an environment."""

    contract: Contract
    limits: Mapping[str, int]  # chosen task -> control periods
    groups: Mapping[str, tuple[str, ...]]  # group -> chosen tasks in it
    versions: Mapping[str, str]
    offers: tuple[str, ...]
    source: Mapping[str, str]


def choose(
    name: str,
    wanted: Sequence[str] | None,
    options: Mapping[str, str] | None = None,
    perturbed: Perturbation | None = None,
) -> tuple[Choice, Facts]:
    """Open an environment, and check and record what is chosen of it.

    Args:
        wanted: tasks, or groups of tasks; None: all tasks.

    Raises:
        OptionError: no such environment, task, group or perturbation.
        EnvironmentFault: it cannot be opened.
    """
    opened = open_environment(name, options or {})
    environment: Any = opened.environment
    with closing(environment):
        tasks = [str(task) for task in environment.tasks()]
        groups = {str(k): tuple(map(str, v)) for k, v in environment.groups().items()} if offers(
            environment, "groups"
        ) else {}  # fmt: skip
        chosen = _chosen(tasks, groups, wanted)
        _require_axis(environment, perturbed)
        facts = Facts(
            contract=environment.contract,
            limits={task: environment.limit(task) for task in chosen},
            groups={g: kept for g, of in groups.items() if (kept := tuple(t for t in of if t in chosen))},
            versions=plain_versions(environment),
            offers=offered(environment),
            source=opened.source,
        )
    return Choice(name, chosen, tuple(sorted((options or {}).items())), perturbed), facts


def _chosen(tasks: Sequence[str], groups: Mapping[str, Sequence[str]], wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The wanted tasks in the order given, without repeats."""
    if wanted is None:
        return tuple(tasks)
    chosen: dict[str, None] = {}
    for name in wanted:
        if name not in tasks and name not in groups:
            near = difflib.get_close_matches(name, [*tasks, *groups], 3, 0.4)
            raise OptionError(
                "the environment has no such task",
                key="--tasks",
                expected=_some([*groups, *tasks]),
                found=name,
                remedy=f"did you mean {', '.join(near)}?" if near else "vla-agent env show lists its tasks",
            )
        chosen |= dict.fromkeys([name] if name in tasks else groups[name])
    return tuple(chosen)


def _require_axis(environment: Any, perturbed: Perturbation | None) -> None:
    if perturbed is None:
        return
    axes = list(environment.axes()) if offers(environment, "axes") and offers(environment, "perturb") else []
    if perturbed[0] not in axes:
        raise OptionError(
            "the environment has no such perturbation",
            key="--perturb",
            expected=", ".join(axes) or "none: it offers no perturbations",
            found=perturbed[0],
            remedy="leave --perturb out, or name one of these",
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
