"""Demonstrations of another environment's own expert: images, state, action, and annotations where it has them."""

from __future__ import annotations

import importlib.metadata
from functools import cache
from typing import Any

import numpy as np

from vla_agent import __version__
from vla_agent.data.collect.episode_recording import Attempt
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.episode import Episode
from vla_agent.environments.choice import Choice, Facts, choose
from vla_agent.environments.protocol import ANNOTATED, Environment, action_limits, annotation_fault, offers
from vla_agent.errors import EnvironmentFault, OptionError

DISTURBANCE = 0.1  # standard deviation at noise 1, as a fraction of half the action's range
HELD = 4  # control periods that a disturbance lasts
_NOISE = 201  # random stream of an episode besides that of the scene

Options = tuple[tuple[str, str], ...]


@cache
def chosen_environment(name: str, tasks: tuple[str, ...], options: Options) -> tuple[Choice, Facts]:
    """The environment and its facts, opened once.

    Args:
        tasks: names of tasks or groups; empty: all.

    Raises:
        OptionError: no such environment or task, it offers no expert, or a task's name cannot be a file's.
    """
    choice, facts = choose(name, tasks or None, dict(options))
    strange = [task for task in choice.tasks if "/" in task]
    if "expert" not in facts.offers or strange:
        raise OptionError(
            "demonstrations cannot be collected in this environment",
            key="--tasks" if strange else "--env",
            expected="names without /" if strange else "an environment that offers expert()",
            found=", ".join(strange) or f"{name} offers {', '.join(facts.offers)}",
            remedy="rename the tasks" if strange else "write expert(), or convert recordings: vla-agent data convert",
        )
    return choice, facts


def versions_of(facts: Facts) -> dict[str, str]:
    """What the episodes depend on: another version may give different bits."""
    found = {name: importlib.metadata.version(name) for name in ("numpy", "av")}
    environment = {f"environment.{name}": version for name, version in facts.versions.items()}
    return found | {"vla_agent": __version__, "environment": facts.source["sha256"][:16]} | environment


def record_other(environment: Environment, task: str, seed: int, noise: float) -> Attempt:
    """Attempt one demonstration, until the first success.

    The recorded action is the expert's; with ``noise`` a disturbed one is executed, so that the data shows recoveries
    (DART: Laskey et al., 2017): Gaussian, `DISTURBANCE` of half the range, held for `HELD` control periods.

    Raises:
        OptionError: noise, and the contract's actions have no limits.
    """
    spread = _spread(environment, noise)
    random = np.random.default_rng([seed, _NOISE])
    instruction = environment.reset(task, seed)
    rows: dict[str, list[np.ndarray]] = {}
    images: dict[str, list[np.ndarray]] = {name: [] for name in environment.contract.camera_names}
    success, pushed = False, np.zeros_like(spread)
    for step in range(environment.limit(task)):
        observation = environment.observe()
        label = np.asarray(environment.expert(), np.float32)  # type: ignore[attr-defined]  # optional, and offered
        if step % HELD == 0:
            pushed = spread * random.standard_normal(len(spread)).astype(np.float32)
        frame = {dataset_schema.STATE: observation["state"], dataset_schema.ACTION: label} | _annotations(environment)
        for name, values in frame.items():
            rows.setdefault(name, []).append(np.array(values, np.float32))
        for name, frames in images.items():
            frames.append(np.array(observation["images"][name]))
        success = bool(environment.step(_within(environment, label + pushed) if noise else label))
        if success:
            break
    if not success:
        return Attempt("failed")
    columns = {name: np.stack(values) for name, values in rows.items()}
    origin: dict[str, Any] = {"family": task, "seed": seed}
    return Attempt("recorded", Episode(instruction, columns, {n: np.stack(f) for n, f in images.items()}, origin))


def _annotations(environment: Environment) -> dict[str, np.ndarray]:
    """What the expert acts on in the present state, as columns; empty where the environment does not offer it.

    Raises:
        EnvironmentFault: they are not of the form `vla_agent.environments.protocol.ANNOTATED`.
    """
    if not offers(environment, "annotations"):
        return {}
    given = environment.annotations()  # type: ignore[attr-defined]  # optional
    cameras = environment.contract.camera_names
    if wrong := annotation_fault(given, cameras):
        raise EnvironmentFault(
            "annotations() is not what the protocol asks for",
            key="annotations()",
            expected="; ".join(f"{key} {form}" for key, form in ANNOTATED.items()),
            found=wrong,
            remedy="vla-agent env check names all faults",
        )
    return {
        dataset_schema.SUBGOAL: np.ravel(given["located"]),
        dataset_schema.POINTS: np.concatenate([np.ravel(given["points"][name]) for name in cameras]),
        dataset_schema.CLEAN: np.ones(1),
    }


def _spread(environment: Environment, noise: float) -> np.ndarray:
    """Standard deviation of the disturbance (A,)."""
    limits = action_limits(environment.contract)
    if limits is None and noise:
        raise OptionError(
            "disturbances need limits of the actions",
            key="--noise",
            expected="low and high for every action in the environment's contract",
            found="none",
            remedy="write them into the contract, or collect with --noise 0",
        )
    if limits is None:
        return np.zeros(environment.contract.action_dim, np.float32)
    return np.asarray(noise * DISTURBANCE * (limits[1] - limits[0]) / 2, np.float32)


def _within(environment: Environment, action: np.ndarray) -> np.ndarray:
    limits = action_limits(environment.contract)
    return action if limits is None else np.clip(action, *limits).astype(np.float32)
