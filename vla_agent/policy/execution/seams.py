"""The seam between two chunks: the first motions of the new one fade in, without a change of the final position.

Between chunks positions are continuous, velocities are not.  The first rows are blended with the present chunk's rows,
and the displacement that this removes is returned over the rows after them::

    row       0    1    2    3    4    5    6
    weight   2/3  1/3   0    0    0    0    0    of the present chunk
    returned           1/4  1/4  1/4  1/4        of the displacement that was removed

Otherwise the rest of the chunk starts from a wrong position, and the arm grasps beside objects.

Also here: a delay in control steps, and the command while there is no action.
"""

from __future__ import annotations

import math

import numpy as np

from vla_agent.contract import Contract
from vla_agent.policy.execution.realtime import Committed

PER_PERIOD = "per period"  # suffix of a relative action's unit
FADE, RETURN = 2, 4  # rows
MOTIONS = ("m", "rad")  # units of motions; other fields, such as the gripper's, are not blended


def fade_in(contract: Contract, committed: Committed, rows: np.ndarray) -> np.ndarray:
    """The whole chunk (T, A): the frozen rows, then ``rows`` (T, A), computed for the state after them, faded in.

    Where the present chunk has no rows after the frozen ones, ``rows`` stay as they are.
    """
    old = committed.left[:FADE]
    left = len(old)
    weight = 1 - np.arange(1, left + 1, dtype=np.float32)[:, None] / (left + 1)
    faded = np.array(rows, np.float32)
    for field, place in zip(contract.action, contract.slices(contract.action).values(), strict=True):
        if field.unit.split()[0] not in MOTIONS:
            continue
        removed = weight * (rows[:left, place] - old[:, place])
        faded[:left, place] -= removed
        if field.unit.endswith(PER_PERIOD):
            faded[left : left + RETURN, place] += removed.sum(axis=0) / RETURN
    return np.concatenate([committed.frozen, faded])[: len(rows)]


def delay_steps(delay_ms: float, control_hz: float) -> int:
    """Control steps that start during an inference: ``delay_ms`` rounded up to whole control periods.

    50 ms at 20 Hz are one step, 51 ms are two: a chunk that arrives within a period is used from the next one on.
    """
    return math.ceil(delay_ms * control_hz / 1000 - 1e-9)


def hold(contract: Contract, state: np.ndarray, previous: np.ndarray | None) -> np.ndarray:
    """The action (A,) that holds the arm still.

    A field whose unit is per period (a delta) is zero.  Any other is absolute: it keeps the previous action's value or,
    without one, takes the state's field of the same name.

    Args:
        contract: the layout of state and action.
        state: (D,) now.
        previous: (A,) the action of the control step before, or None.
    """
    action = np.zeros(contract.action_dim, np.float32)
    places = contract.slices(contract.state)
    for name, place in contract.slices(contract.action).items():
        field = next(f for f in contract.action if f.name == name)
        if field.unit.endswith(PER_PERIOD):
            continue
        if previous is not None:
            action[place] = previous[place]
        elif name in places:
            action[place] = state[places[name]]
    return action
