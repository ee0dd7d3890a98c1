"""Checks of states and actions: not finite, constant, clipped, out of range, copied; and stale statistics."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from vla_agent.contract import Contract
from vla_agent.contract.state_units import first_in_other_units, other_units
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.dataset_reader import Dataset
from vla_agent.data.lerobot.dataset_tables import EpisodeInfo
from vla_agent.data.validate.findings import LEAVE_OUT, Finding
from vla_agent.errors import ContractError, DatasetError

RUN = 0.4  # seconds at the limit before a value counts as clipped
LEVELS = 12  # with fewer values in the dataset, a dimension is a switch, such as a gripper


def names_of(dataset: Dataset, key: str) -> list[str]:
    """A name for each dimension of a vector feature."""
    feature = dataset.info["features"][key]
    return dataset_schema.component_names(feature) or [str(i) for i in range(math.prod(feature["shape"]))]


def value_findings(dataset: Dataset, episode: EpisodeInfo, rows: slice) -> Iterator[Finding]:
    """NaN and infinity in any column; states and actions that never change."""
    for key, column in dataset.columns.items():
        values = column[rows].reshape(rows.stop - rows.start, -1)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            k, d = (int(i) for i in np.argwhere(~np.isfinite(values))[0])
            name = key if values.shape[1] == 1 else dict(enumerate(names_of(dataset, key))).get(d, str(d))
            what = "a value is not finite"
            yield Finding("not finite", what, episode.index, k, key, f"{values[k, d]} in {name}", LEAVE_OUT)
    for key in (dataset_schema.ACTION, dataset_schema.STATE):
        if key in dataset.columns and rows.stop - rows.start >= 2:
            values = dataset.columns[key][rows]
            if (values == values[0]).all():
                what = f"the {'action' if key == dataset_schema.ACTION else 'state'} never changes"
                found = f"the same {values[0].size} numbers in all {len(values)} frames"
                remedy = "check that the recorder received the topic; " + LEAVE_OUT
                yield Finding("constant", what, episode.index, 0, key, found, remedy)


def clipped_findings(dataset: Dataset, rows_of: dict[int, slice]) -> Iterator[Finding]:
    """Actions that stay at the dataset's largest or smallest value: limited by a driver or a teleoperation device.

    The contract's own low and high are no such limit: an action may be as large as it can be.
    """
    if dataset_schema.ACTION not in dataset.columns or not rows_of:
        return
    values = dataset.columns[dataset_schema.ACTION]
    values = values.reshape(len(values), -1)
    names = names_of(dataset, dataset_schema.ACTION)
    if len(names) != values.shape[1]:
        return  # `load` refuses the column's shape
    run = max(4, round(RUN * dataset.fps))
    own = _own_limits(dataset)
    for d, name in enumerate(names):
        column = values[:, d]
        finite = column[np.isfinite(column)]
        if len(np.unique(finite)) <= LEVELS:
            continue
        for limit, side in ((finite.max(), "upper"), (finite.min(), "lower")):
            if any(np.isclose(limit, value, rtol=1e-5, atol=1e-7) for value in own.get(d, ())):
                continue
            for index, rows in rows_of.items():
                start = first_run(column[rows] == limit, run)
                # a run up to the end is an arm that waits at its goal
                if start is not None and not (column[rows][start:] == limit).all():
                    length = int(np.argmin(np.append(column[rows][start:] == limit, False)))
                    what, found = "the action is clipped", f"{length} frames in a row at {limit:.4g}, the {side} limit"
                    remedy = "raise the recorder's or the controller's limit, and record the episode again"
                    yield Finding("clipped", what, index, start, f"{dataset_schema.ACTION}: {name}", found, remedy)


def _contract(dataset: Dataset) -> Contract | None:
    """The dataset's contract; None where there is none, or it cannot be read, which `contract_findings` reports."""
    try:
        return dataset.contract
    except (ContractError, DatasetError):
        return None


def _own_limits(dataset: Dataset) -> dict[int, tuple[float, ...]]:
    """Dimension of the action -> its low and high in the dataset's contract, where there is one."""
    contract = _contract(dataset)
    limits = [
        tuple(value for value in (field.low, field.high) if value is not None)
        for field in (contract.action if contract else ())
        for _ in range(field.size)
    ]
    return dict(enumerate(limits))


def first_run(mask: np.ndarray, length: int) -> int | None:
    """Start of the first run of at least ``length`` true values in ``mask`` (n,); None where there is none."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    runs = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= length]
    return int(runs[0][0]) if runs else None


def range_findings(dataset: Dataset, rows_of: dict[int, slice]) -> Iterator[Finding]:
    """Values outside the range of the dataset's contract."""
    contract = _contract(dataset)
    if contract is None:
        return
    for key, layout in ((dataset_schema.STATE, contract.state), (dataset_schema.ACTION, contract.action)):
        whole = _numbers(dataset, key, sum(field.size for field in layout))
        if whole is None:
            continue  # `load` refuses it
        for field in layout:
            columns = contract.slices(layout)[field.name]
            low = -np.inf if field.low is None else field.low
            high = np.inf if field.high is None else field.high
            values = whole[:, columns]
            for index, rows in rows_of.items():
                out = np.flatnonzero(((values[rows] < low - 1e-4) | (values[rows] > high + 1e-4)).any(axis=1))
                if len(out):
                    k = int(out[0])
                    what = f"{field.name} is outside the contract's range"
                    found = f"{np.round(values[rows][k], 4).tolist()}, range {low:g} to {high:g} {field.unit}"
                    remedy = "check unit and sign of what was recorded"
                    yield Finding("range", what, index, k, f"{key}: {field.name}", found, remedy)


def _numbers(dataset: Dataset, key: str, size: int) -> np.ndarray | None:
    """A column as (N, size) numbers; None where it is missing, of another size, or of true and false."""
    column = dataset.columns.get(key)
    if column is None or column.dtype.kind not in "iuf" or column.size != size * len(column):
        return None
    return column.reshape(len(column), size)


def unit_findings(dataset: Dataset, rows_of: dict[int, slice]) -> Iterator[Finding]:
    """States and actions that cannot be in the contract's units, as `Contract.check_observation` judges a state."""
    contract = _contract(dataset)
    if contract is None:
        return
    parts = (("state", dataset_schema.STATE, contract.state), ("action", dataset_schema.ACTION, contract.action))
    for part, key, layout in parts:
        whole = _numbers(dataset, key, sum(field.size for field in layout))
        if whole is None:
            continue
        for index, rows in rows_of.items():
            values = whole[rows]
            k = first_in_other_units(layout, values)
            if k is not None:
                what, remedy = f"the {part} cannot be in the contract's units", "convert it, or " + LEAVE_OUT
                said = other_units(layout, values[k]).items()
                found = "; ".join(f"{name.replace('state', part, 1)}: {text}" for name, text in said)
                yield Finding("units", what, index, k, key, found, remedy)


def repeated_findings(dataset: Dataset, rows_of: dict[int, slice]) -> Iterator[Finding]:
    """Episodes with exactly the same actions as an earlier one."""
    if dataset_schema.ACTION not in dataset.columns:
        return
    first_with: dict[bytes, int] = {}  # bytes of the actions -> episode
    for index, rows in rows_of.items():
        actions = dataset.columns[dataset_schema.ACTION][rows]
        first = first_with.setdefault(actions.tobytes(), index)
        if first != index and not (actions == actions[:1]).all():
            what, remedy = "the episode is a copy of another one", "leave one of the two out"
            yield Finding("copies", what, index, 0, dataset_schema.ACTION, f"the actions of episode {first}", remedy)


def stats_findings(dataset: Dataset) -> Iterator[Finding]:
    """Means in ``meta/stats.json`` that are not those of the values: a normaliser made from them would be wrong."""
    try:
        stats = dataset.stats
    except DatasetError as error:
        found, remedy = f"{error.found}; expected {error.expected}", error.remedy or "compute the statistics again"
        yield Finding("unreadable", error.what, None, None, dataset_schema.STATS, found, remedy)
        return
    for key in (dataset_schema.STATE, dataset_schema.ACTION):
        if key not in stats or key not in dataset.columns:
            continue
        values = dataset.columns[key].reshape(len(dataset.columns[key]), -1)
        if not np.isfinite(values).all():
            continue
        mean, spread = values.mean(0), np.maximum(values.std(0), 1e-3)
        stated = stats[key].get("mean", np.empty(0)).ravel()
        if stated.shape != mean.shape or (np.abs(stated - mean) > 0.1 * spread).any():
            what = "meta/stats.json belongs to other values"
            found = f"mean {stated.round(3).tolist()}, actual mean {mean.round(3).tolist()}"
            yield Finding("statistics", what, None, None, key, found, "compute the statistics again")
