"""Instructions that cannot or must not be followed in a scene, with labels and reasons, beside ones that can.

==============  =====================================================================================
kind            what is wrong
==============  =====================================================================================
possible        nothing: the words of ``contradicting`` with a premise that is true
absent          the object that is named is not there; one that shares its colour or shape may be
contradicting   a relation, a fixture or a place that is named is not so in this scene
unsafe          people or things would be harmed, whatever the scene
==============  =====================================================================================

``sim/tasks/refusals.yaml`` holds the wordings, those for training and those that only measure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from sim.tasks.predicates import DIRECTIONS, in_direction
from sim.tasks.scene_layout import ALL_PAIRS
from sim.tasks.task import TaskInstance, describe
from sim.world.scene import COLOURS, Object, Scene

KINDS = ("possible", "absent", "contradicting", "unsafe")
FILE = Path(__file__).with_suffix(".yaml")
SPLITS = ("train", "held_out")
Wordings = dict[str, list[str]]  # what is wrong -> wordings


@dataclass(frozen=True)
class Labelled:
    """An instruction with its label.

    possible: whether a policy is to follow it.  reason: why not, in words; empty where it is possible.
    """

    kind: str
    instruction: str
    reason: str = ""

    @property
    def possible(self) -> bool:
        return self.kind == "possible"


def sample_labelled(
    task: TaskInstance, kind: str, rng: np.random.Generator, split: str = "train", file: Path = FILE
) -> Labelled | None:
    """An instruction of a kind in the task's scene; None where the scene has none.

    Args:
        split: "train" or "held_out" wordings.
        file: of the wordings.

    Raises:
        KeyError: another kind or split.
    """
    wordings = {what: splits[split] for what, splits in _read(file).get(kind, {}).items()}
    return _SAMPLERS[kind](task, rng, wordings)


def _absent(task: TaskInstance, rng: np.random.Generator, _wordings: Wordings) -> Labelled | None:
    named = [o for o in task.scene.objects if re.search(rf"\b{describe(o)}\b", task.instruction)]
    if not named:
        return None
    target = _choose(rng, named)
    present = {(o.colour, o.shape) for o in task.scene.objects}
    free = [pair for pair in ALL_PAIRS if pair not in present]
    near = [p for p in free if (p[0] == target.colour) != (p[1] == target.shape)]
    missing = " ".join(_choose(rng, near if rng.random() < 0.5 and near else free))
    instruction = re.sub(rf"\b{describe(target)}\b", missing, task.instruction)
    return Labelled("absent", instruction, f"I see no {missing}")


def _with_premise(task: TaskInstance, kind: str, rng: np.random.Generator, wordings: Wordings) -> Labelled | None:
    """A relation between two objects on the table that is so, or is not."""
    pairs = [(a, b) for a in _on_table(task.scene) for b in _on_table(task.scene) if a is not b]
    found = [(a, b, d) for a, b in pairs for d in DIRECTIONS if _is(a, b, d) == (kind == "possible")]
    if not found:
        return None
    a, b, direction = _choose(rng, found)
    words = _choose(rng, wordings["premise"])
    instruction = words.format(target=describe(a), other=describe(b), direction=direction)
    reason = "" if kind == "possible" else f"the {describe(a)} is not {direction} the {describe(b)}"
    return Labelled(kind, instruction, reason)


def _possible(task: TaskInstance, rng: np.random.Generator, wordings: Wordings) -> Labelled | None:
    return _with_premise(task, "possible", rng, wordings)


def _contradicting(task: TaskInstance, rng: np.random.Generator, wordings: Wordings) -> Labelled | None:
    what = _choose(rng, list(wordings))
    if what == "premise":
        return _with_premise(task, "contradicting", rng, wordings)
    scene, words = task.scene, _choose(rng, wordings[what])
    objects = _on_table(scene)
    if len(objects) < 2:
        return None
    order = rng.permutation(len(objects))
    target, other = describe(objects[order[0]]), describe(objects[order[1]])
    if what == "place":
        place = "drawer" if "drawer" in words else "tray"
        return Labelled(
            "contradicting", words.format(target=target, other=other), f"the {target} is not in the {place}"
        )
    fixture = "button" if "button" in words else "zone"
    taken = {f.colour for f in (scene.buttons if fixture == "button" else scene.zones)}
    colour = _choose(rng, [c for c in COLOURS if c not in taken])
    return Labelled("contradicting", words.format(target=target, colour=colour), f"I see no {colour} {fixture}")


def _unsafe(task: TaskInstance, rng: np.random.Generator, wordings: Wordings) -> Labelled | None:
    objects = _on_table(task.scene)
    if len(objects) < 2:
        return None
    order, what = rng.permutation(len(objects)), _choose(rng, list(wordings))
    words = _choose(rng, wordings[what])
    instruction = words.format(target=describe(objects[order[0]]), other=describe(objects[order[1]]))
    return Labelled(
        "unsafe", instruction, "that would hurt someone" if what == "harm" else "that would break something"
    )


def _on_table(scene: Scene) -> list[Object]:
    return [o for o in scene.objects if o.on == "table"]


def _is(a: Object, b: Object, direction: str) -> bool:
    return in_direction(a.xy[0] - b.xy[0], a.xy[1] - b.xy[1], direction)


def _choose(rng: np.random.Generator, options: Any) -> Any:
    return options[int(rng.integers(len(options)))]


@cache
def _read(file: Path) -> dict[str, dict[str, dict[str, list[str]]]]:
    """Kind -> what is wrong -> split -> wordings."""
    return YAML(typ="safe").load(file.read_text(encoding="utf-8"))


_SAMPLERS = {"possible": _possible, "absent": _absent, "contradicting": _contradicting, "unsafe": _unsafe}
