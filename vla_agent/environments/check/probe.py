"""What the checks work with: an environment, short played traces of it, and findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vla_agent.contract import Contract
from vla_agent.environments.protocol import Environment, action_limits, offers


@dataclass(frozen=True)
class Finding:
    """One fault.  ``check``: its name; ``found``: what was seen; ``remedy``; ``error``: False for a remark."""

    check: str
    found: str
    remedy: str
    error: bool = True


@dataclass(frozen=True)
class Settings:
    """How much is tried: the first tasks, or these; steps of each trace; the first seed."""

    tasks: int | tuple[str, ...] = 3
    steps: int = 20
    seed: int = 1000


@dataclass
class Trace:
    """A played trace: ``observations`` before each step and after the last (copies), and what each step returned."""

    instruction: Any
    observations: list[dict[str, Any]] = field(default_factory=list)
    returned: list[Any] = field(default_factory=list)
    renders: list[np.ndarray] = field(default_factory=list)
    state_hash: str | None = None


@dataclass
class Probe:
    """An open environment under test; ``open`` makes another one."""

    environment: Any
    open: Callable[[], Environment]
    settings: Settings
    chosen: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        tasks = list(self.environment.tasks())
        wanted = self.settings.tasks
        self.chosen = [str(task) for task in (tasks[: max(1, wanted)] if isinstance(wanted, int) else wanted)]

    @property
    def contract(self) -> Contract:
        contract: Contract = self.environment.contract
        return contract

    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """The contract's limits; -1 and 1 where it has none."""
        ones = np.ones(self.contract.action_dim, np.float32)
        return action_limits(self.contract) or (-ones, ones)

    def actions(self, seed: int, steps: int | None = None) -> np.ndarray:
        """(N, A) random actions, each held for four periods, so that something moves."""
        low, high = self.limits()
        count = steps or self.settings.steps
        drawn = np.random.default_rng([seed, 7]).uniform(low, high, (count // 4 + 1, len(low)))
        return drawn.repeat(4, 0)[:count].astype(np.float32)

    def play(
        self,
        task: str,
        seed: int,
        actions: Iterable[np.ndarray],
        environment: Any = None,
        images: bool = True,
        render: bool = False,
    ) -> Trace:
        """Reset and play; stops after a success.  ``images``: looks at every step; ``render``: renders beside it."""
        env = environment or self.environment
        trace = Trace(env.reset(task, seed))
        _see(env, trace, images, render)
        for action in actions:
            trace.returned.append(env.step(np.array(action, np.float32)))
            _see(env, trace, images, render)
            if isinstance(trace.returned[-1], (bool, np.bool_)) and trace.returned[-1]:
                break
        if offers(env, "state_hash"):
            trace.state_hash = str(env.state_hash())
        return trace


def _see(env: Any, trace: Trace, images: bool, render: bool) -> None:
    trace.observations.append(copied(env.observe() if images else env.observe(images=False)))
    if render and offers(env, "render"):
        trace.renders.append(np.array(env.render()))


def copied(observation: Any) -> dict[str, Any]:
    """A deep copy of an observation, whatever it holds."""
    if not isinstance(observation, dict):
        return {"": observation}
    return {key: copied(value) if isinstance(value, dict) else np.array(value) for key, value in observation.items()}


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether two observations have the same bits."""
    if first.keys() != second.keys():
        return False
    for key, value in first.items():
        other = second[key]
        if isinstance(value, dict) != isinstance(other, dict):
            return False
        if isinstance(value, dict):
            if not same(value, other):
                return False
        elif not np.array_equal(value, other, equal_nan=value.dtype.kind == "f"):
            return False
    return True


def first_difference(first: Trace, second: Trace) -> int | None:
    """The first step before which two traces differ; None: they are equal, in their final state, too."""
    pairs = zip(first.observations, second.observations, strict=False)
    for step, (a, b) in enumerate(pairs):
        if not same(a, b):
            return step
    if len(first.observations) != len(second.observations) or first.state_hash != second.state_hash:
        return min(len(first.observations), len(second.observations))
    return None


def guarded(name: str, check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """The findings of a check; an error that it runs into is one."""
    found: list[Finding] = []
    try:
        found.extend(check())
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        found.append(Finding(name, f"{type(error).__name__}: {text}", "call the method that raises it alone"))
    return found
