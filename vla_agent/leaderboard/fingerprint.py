"""What an episode is, in one short hash: task, instruction, scene, and the world before the first action."""

from __future__ import annotations

from dataclasses import asdict
from operator import attrgetter
from typing import Any

import numpy as np

from sim.perturbations.varied_env import VariedEnv
from sim.tasks.task import TaskInstance
from vla_agent.files.canonical_json import digest

LENGTH = 16  # hexadecimal digits
DECIMALS = 5  # of the model's numbers: another processor rounds otherwise
PLACE_DECIMALS = 3  # of positions after the world has settled: a millimetre
ARRAYS = (  # of the compiled model: all that a perturbation varies
    "geom_rgba",
    "geom_size",
    "geom_friction",
    "geom_matid",
    "geom_contype",
    "mat_texrepeat",
    "body_mass",
    "body_gravcomp",
    "light_dir",
    "light_diffuse",
    "vis.headlight.ambient",
    "vis.headlight.diffuse",
    "cam_pos",
    "cam_quat",
    "cam_fovy",
    "actuator_gainprm",
    "actuator_biasprm",
)


def instruction_of(env: Any, task: TaskInstance) -> str:
    """What a policy is told in the episode that ``env`` has begun."""
    return env.instruction(task) if isinstance(env, VariedEnv) else task.instruction


def fingerprint(env: Any, task: TaskInstance) -> str:
    """The hash of the episode that ``env`` (a `TabletopEnv` or `VariedEnv`) has begun.

    Sensor noise and late commands, which are functions, are in it by their kind and description.
    """
    model, data = env.world.model, env.world.data
    detail = env.effect.detail if isinstance(env, VariedEnv) and env.effect is not None else ""
    filters = [type(found).__name__ for found in (env.world.image_filter, env.world.action_filter)]
    told = [instruction_of(env, task), task.instruction, detail, *filters]
    goal = [[p.name, list(map(str, p.args))] for p in task.goal]
    used = (model.geom_rgba[:, 3] > 0) | (model.geom_contype != 0)  # a slot that is switched off keeps old sizes
    numbers = {name: _rounded(_of_used(name, attrgetter(name)(model), used), DECIMALS) for name in ARRAYS}
    places = _rounded(data.qpos, PLACE_DECIMALS)
    return digest([told, goal, task.steps_limit, asdict(task.scene), numbers, places])[:LENGTH]


def _of_used(name: str, values: Any, used: np.ndarray) -> np.ndarray:
    return np.asarray(values)[used] if name.startswith("geom_") else np.asarray(values)


def _rounded(values: Any, decimals: int) -> list[float]:
    return [float(v) + 0.0 for v in np.round(np.asarray(values, np.float64).ravel(), decimals)]  # + 0.0: no -0.0
