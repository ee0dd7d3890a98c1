"""Perturbation axes and counterfactual probes: by name, at a severity, drawn from the episode's seed alone.

The draw of a seed is the same at every severity and is scaled by it, so that severities can be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

import numpy as np

from sim.perturbations import appearance, counterfactuals, dynamics, instruction_changes, scene_changes
from sim.perturbations.variation import Effect, Variation
from sim.tasks.task import TaskInstance
from vla_agent.errors import OptionError

# A function returns None where the variation cannot be applied to the episode.
Function = Callable[[TaskInstance, int, np.random.Generator], Effect | None]
_AXES: dict[str, Function] = {
    "lighting": appearance.lighting,
    "camera": appearance.camera,
    "background": appearance.background,
    "object_look": appearance.object_look,
    "sensor": appearance.sensor,
    "distractors": scene_changes.distractors,
    "object_pose": scene_changes.object_pose,
    "layout": scene_changes.layout,
    "unseen_objects": scene_changes.unseen_objects,
    "paraphrase": instruction_changes.paraphrase,
    "typo": instruction_changes.typo,
    "language": instruction_changes.language,
    "physics": dynamics.physics,
    "actuation": dynamics.actuation,
}
_PROBES: dict[str, Function] = {
    "swap": counterfactuals.swap,
    "blank": counterfactuals.blank,
    "blind": counterfactuals.blind,
    "frozen": counterfactuals.frozen,
    "removed": counterfactuals.removed,
    "absent": counterfactuals.absent,
    "contradict": counterfactuals.contradict,
}
AXES, PROBES = tuple(_AXES), tuple(_PROBES)


def find_effect(variation: Variation, task: TaskInstance, seed: int) -> Effect | None:
    """What the variation does to this episode; None where it cannot be applied.

    Raises:
        OptionError: there is no such variation.
    """
    functions = _AXES | _PROBES
    if variation.name not in functions:
        raise OptionError(
            "there is no such variation",
            key="variation",
            expected=", ".join(functions),
            found=variation.name,
            remedy="use one of these",
        )
    rng = np.random.default_rng([seed, 104, crc32(variation.name.encode()), crc32(task.family.encode())])
    return functions[variation.name](task, variation.severity, rng)


def require_effect(variation: Variation, task: TaskInstance, seed: int) -> Effect:
    """As `find_effect`, where the variation must be applicable.

    Raises:
        OptionError: it is not, or there is no such variation.
    """
    found = find_effect(variation, task, seed)
    if found is None:
        raise OptionError(
            "the variation cannot be applied to this episode",
            key=variation.name,
            expected="a scene that allows it, such as one with another target for `swap`",
            found=f"{task.family}, seed {seed}: {task.instruction}",
            remedy="take another seed",
        )
    return found
