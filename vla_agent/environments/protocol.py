"""The protocol of an environment: what evaluation, collection and replay ask of a simulator.  Read this first.

Seven things every environment has::

    contract                        what it shows and takes (`vla_agent.contract.Contract`)
    tasks()                         names of its tasks
    limit(task)                     control periods after which an episode has failed
    reset(task, seed)               lays out the episode of a seed; returns the instruction
    observe(images=True)            {"images": {camera: (H, W, 3) uint8, RGB}, "state": (D,) float32}
    step(action)                    one control period; True where the task is done
    close()                         frees windows, processes, GPU contexts; may be called twice

Everything else is optional (`OPTIONAL`).  What an environment does not offer is left out of a report, and the report
names it: nothing is guessed.

Three rules.  An episode depends on its seed alone, whatever was played before.  `observe` shows the present state, and
with ``images=False`` renders nothing.  What `observe` returned is never changed later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from vla_agent.contract import Contract

# Optional method -> what a report lacks without it.
OPTIONAL = {
    "expert": "the control of the scripted expert, and collection",  # () -> (A,): its action in the present state
    "other_instructions": "the control with another instruction of the scene",  # () -> [text]: others valid here
    "foreign_instructions": "the control with an instruction of another scene",  # () -> [text]: of other scenes
    "state_hash": "the comparison of the whole final state in a replay",  # () -> text; without: of the observed state
    "versions": "the versions of the simulator",  # () -> {package: version}
    "groups": "means over groups of tasks",  # () -> {group: [task]}
    "perturb": "perturbed episodes",  # (axis, severity): of the episodes from the next reset on; severity 0: none
    "axes": "the names of the perturbations",  # () -> [axis]
    "events": "the failure modes",  # () -> `sim.tasks.events.Events` of the episode so far
    "film": "videos in another size than the cameras'",  # (size, views) -> function: () -> {view: (size, size, 3)}
    "annotations": "the points of demonstrations",  # () -> {"points", "located"}: see `ANNOTATED`
    "render": "the check of colours, directions and age of images",  # () -> (H, W, 3): the first camera, now, upright
    "bind": "policies that read the simulator's state",  # (policy): passes it what it reads
}

# What `annotations()` returns, of the present state: what an expert acts on (target), and where it is to go (goal).
# Collection keeps them, and training learns to point at them; no policy is given them.  Finite.
ANNOTATED = {
    "points": "{camera: (2, 3) float32}: u to the right, v down, both in [0, 1], and 1 where inside the image",
    "located": "(2, 3) float32: metres, in the frame of the state's ee_position",
}


@runtime_checkable
class Environment(Protocol):
    """An environment; see the module."""

    contract: Contract

    def tasks(self) -> Sequence[str]: ...

    def limit(self, task: str) -> int: ...

    def reset(self, task: str, seed: int) -> str: ...

    def observe(self, images: bool = True) -> dict[str, Any]: ...

    def step(self, action: np.ndarray) -> bool: ...

    def close(self) -> None: ...


NEEDED = ("contract", "tasks", "limit", "reset", "observe", "step", "close")


def offers(environment: Any, name: str) -> bool:
    """Whether an environment has this method of `OPTIONAL`."""
    return callable(getattr(environment, name, None))


def offered(environment: Any) -> tuple[str, ...]:
    """The methods of `OPTIONAL` that it has."""
    return tuple(name for name in OPTIONAL if offers(environment, name))


def left_out(names: Sequence[str]) -> dict[str, str]:
    """What reports lack: optional method that is not in ``names`` -> what is missing without it.

    ``render`` is of use to the checker alone, ``bind`` to planted policies, ``annotations`` to collection; reports say
    nothing of them.
    """
    silent = {"render", "bind", "axes", "annotations"} | (
        {"foreign_instructions"} if "other_instructions" in names else set()
    )
    return {name: text for name, text in OPTIONAL.items() if name not in names and name not in silent}


def action_limits(contract: Contract) -> tuple[np.ndarray, np.ndarray] | None:
    """Lowest and highest action (A,) float32; None where a field has no limits."""
    fields = contract.action
    if any(f.low is None or f.high is None for f in fields):
        return None
    low, high = ([getattr(f, side) for f in fields for _ in range(f.size)] for side in ("low", "high"))
    return np.array(low, np.float32), np.array(high, np.float32)


def annotation_fault(given: Any, cameras: Sequence[str]) -> str:
    """What is wrong with what `annotations()` returned, in words; empty where it is `ANNOTATED`."""
    if not isinstance(given, Mapping) or not isinstance(given.get("points"), Mapping):
        return "it holds no points and located"
    found: dict[str, Any] = {"located": given.get("located")} | {n: given["points"].get(n) for n in cameras}
    for name, values in found.items():
        if np.shape(values) != (2, 3) or not np.isfinite(values).all():
            return f"{name} is not (2, 3) finite numbers"
    for name in cameras:
        points = np.asarray(found[name], float)
        seen = points[points[:, 2] > 0.5, :2]
        if not np.isin(points[:, 2], (0, 1)).all() or not ((seen >= 0) & (seen <= 1)).all():
            return f"the points of {name} are {np.round(points, 2).tolist()}"
    return ""


def plain_versions(environment: Any) -> Mapping[str, str]:
    """Its versions; {} where it says none."""
    return dict(environment.versions()) if offers(environment, "versions") else {}
