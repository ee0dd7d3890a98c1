"""A lower rate: every k-th observation, and actions that do in one control period what k actions did before.

A field of the action whose unit is "... per period" is a change: the k changes are added, rotation vectors composed as
rotations.  Every other field is a target: the last of the k.  A period is k times as long, so a change's low and high
become k times as large: the same speed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from vla_agent.contract import Contract, Field
from vla_agent.contract.state_units import FIXED, VECTOR
from vla_agent.contract.units import known_unit
from vla_agent.data.lerobot import dataset_schema
from vla_agent.errors import DatasetError, OptionError

PER_PERIOD = re.compile(r"(.*\S) per (?:control )?period", re.IGNORECASE)
OTHER_RATE = re.compile(r"/|\bper\b")  # a speed: neither a change in a period nor a target
CHANGES = re.compile(r"translation|delta|twist|velocit", re.IGNORECASE)  # names that contradict a target's unit
HALF_TURN = {"rad": np.pi, "deg": 180.0}
BEYOND = 1e-4  # as `data validate` allows
ALL_OF = (dataset_schema.CLEAN, dataset_schema.INTERVENTION)  # 1 only where all k frames are 1


def stride(fps: float, wanted: int, file: Path) -> int:
    """Every how many-th frame is kept for a rate of ``wanted`` Hz.

    Raises:
        OptionError: the rate is no whole part of the dataset's; names those that are.
    """
    valid = [round(fps) // k for k in range(2, round(fps) + 1) if fps == round(fps) and round(fps) % k == 0]
    if wanted not in valid:
        raise OptionError(
            "the dataset cannot have this rate",
            file=file,
            key="--fps",
            expected=f"{', '.join(map(str, valid)) or 'none'}: whole parts of its {fps:g} Hz",
            found=wanted,
            remedy="name one of these: frames are left out, never made",
        )
    return round(fps) // wanted


def slower_contract(contract: Contract, every: int, file: Path) -> Contract:
    """The contract with 1 / ``every`` of the rate; changes per period have ``every`` times their low and high.

    Raises:
        DatasetError: a field of the action that is neither a change nor a target, or changes that cannot be combined.
    """
    fields = []
    for field in contract.action:
        longer = every if _is_change(field, file) else 1
        fields.append(replace(field, low=_times(field.low, longer), high=_times(field.high, longer)))
    return replace(contract, action=tuple(fields), control_hz=contract.control_hz / every)


def _times(limit: float | None, periods: int) -> float | None:
    return limit if limit is None or periods == 1 else round(limit * periods, 12)


def slower_columns(
    columns: Mapping[str, np.ndarray], contract: Contract, every: int, where: tuple[Path, int, int]
) -> dict[str, np.ndarray]:
    """The columns (n * every, d) of an episode as (n, d).

    State, subgoal and points are those of the frames that are kept.  ``clean`` and ``intervention`` are 1 where they
    are in all frames whose actions are combined.

    Args:
        contract: of the columns, with the rate from before.
        where: file, number of the episode and of its first frame, for the error.

    Raises:
        DatasetError: a combined change beyond its limits or half a turn, or an action that is not finite.
    """
    kept = {name: values[::every] for name, values in columns.items()}
    for name in ALL_OF:
        if name in columns:
            kept[name] = columns[name].reshape(-1, every, 1).min(axis=1)
    actions = columns[dataset_schema.ACTION]
    steps = actions.reshape(-1, every, actions.shape[1]).astype(np.float64)
    made = steps[:, -1].copy()
    unusable = np.array(~np.isfinite(steps).all(axis=(1, 2)))
    _refuse_first(unusable, steps[:, 0], "action", "finite numbers", every, where)
    slower = {field.name: field for field in slower_contract(contract, every, where[0]).action}
    for name, place in contract.slices(contract.action).items():
        field = slower[name]
        if not _is_change(field, where[0]):
            continue
        made[:, place] = change = _combined(field, steps[:, :, place])
        if field.rotation == VECTOR:
            turns = np.linalg.norm(steps[:, :, place], axis=2).sum(axis=1)
            most = HALF_TURN[_unit(field)]
            _refuse_first(turns > most, change, name, "less than half a turn in a period", every, where)
        low = -np.inf if field.low is None else field.low
        high = np.inf if field.high is None else field.high
        outside = np.array(((change < low - BEYOND) | (change > high + BEYOND)).any(axis=1))
        _refuse_first(outside, change, name, f"{low:g} to {high:g} {field.unit}", every, where)
    kept[dataset_schema.ACTION] = made.astype(np.float32)
    return kept


def _combined(field: Field, steps: np.ndarray) -> np.ndarray:
    """The changes (n, k, d) of k periods as one (n, d), in a frame that stands still."""
    if field.rotation != VECTOR:
        return np.asarray(steps.sum(axis=1))
    degrees = _unit(field) == "deg"
    total = Rotation.from_rotvec(steps[:, 0], degrees=degrees)
    for k in range(1, steps.shape[1]):
        total = Rotation.from_rotvec(steps[:, k], degrees=degrees) * total
    return np.asarray(total.as_rotvec(degrees=degrees))


def _unit(field: Field) -> str:
    """The unit of a change without "per period"."""
    found = PER_PERIOD.fullmatch(field.unit.strip())
    return known_unit(found[1]) if found else ""


def _is_change(field: Field, file: Path) -> bool:
    """Whether a field is a change in a period, and no target.

    Raises:
        DatasetError: it is neither, by its unit and its name, or its changes cannot be combined.
    """
    if not _unit(field):
        gripper = "grip" in field.name.casefold()
        bare = field.unit.strip() in ("", "1") and not field.rotation and not gripper
        if bare or OTHER_RATE.search(field.unit) or CHANGES.search(field.name):
            _refuse(field, file, "the unit of a change ('m per period') or of a target ('m', 'rad')")
        return False
    turns = bool(field.rotation)
    if field.frame not in FIXED or (turns and field.frame == ""):
        _refuse(field, file, "changes in a frame that stands still (base, world)")
    if turns and (field.rotation != VECTOR or _unit(field) not in HALF_TURN):
        _refuse(field, file, f"{VECTOR} in rad or deg")
    return True


def _refuse(field: Field, file: Path, expected: str) -> None:
    raise DatasetError(
        "the actions of several periods cannot be combined",
        file=file,
        key=f"action.{field.name}",
        expected=expected,
        found=f"{field.unit or 'no unit'}, frame {field.frame or 'not said'}, {field.rotation or 'no rotation'}",
        remedy="state unit and frame with vla-agent data convert and a mapping file, or keep the rate",
    )


def _refuse_first(
    wrong: np.ndarray, values: np.ndarray, name: str, expected: str, every: int, where: tuple[Path, int, int]
) -> None:
    """Raise for the first of the combined actions (n, d) that is ``wrong`` (n,)."""
    if wrong.any():
        file, episode, first = where
        k = int(np.argmax(wrong))
        raise DatasetError(
            "an action of the new rate cannot be used",
            file=file,
            key=f"episode {episode}, frame {first + k * every}: action.{name}",
            expected=expected,
            found=f"{np.round(values[k], 4).tolist()} in {every} periods",
            remedy=f"choose a higher rate, or leave the episode out: --leave-out {episode}",
        )
