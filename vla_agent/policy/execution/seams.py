"""The seam where a new chunk takes over: its first motions fade in, and lead to the same place as before.

Positions do not jump where one chunk follows another, velocities do.  The first rows are drawn towards what the present
chunk would have done there, and the way that this takes from them is given back by the rows behind::

    row       0    1    2    3    4    5    6
    weight   2/3  1/3   0    0    0    0    0    of the present chunk
    given              1/4  1/4  1/4  1/4        of the way that was taken

Without giving it back the arm is elsewhere than the rest of the chunk takes it to be, and grasps beside things.

Also here: how long a delay is in control steps, and what is commanded while there is no action.
"""

from __future__ import annotations

import math

import numpy as np

from vla_agent.contract import Contract
from vla_agent.policy.execution.realtime import Committed

PER_PERIOD = "per period"  # how the unit of a relative action ends
FADE, GIVE_BACK = 2, 4  # rows
MOTIONS = ("m", "rad")  # units; what is not a motion, such as a gripper's closing, is left as it is


def fade_in(contract: Contract, committed: Committed, rows: np.ndarray) -> np.ndarray:
    """The whole chunk (T, A): what is frozen, and ``rows`` (T, A), computed for the state after it, faded in.

    Where nothing of the present chunk is left behind the frozen rows, ``rows`` stay as they are.
    """
    old = committed.left[:FADE]
    left = len(old)
    weight = 1 - np.arange(1, left + 1, dtype=np.float32)[:, None] / (left + 1)
    faded = np.array(rows, np.float32)
    for field, place in zip(contract.action, contract.slices(contract.action).values(), strict=True):
        if field.unit.split()[0] not in MOTIONS:
            continue
        taken = weight * (rows[:left, place] - old[:, place])
        faded[:left, place] -= taken
        if field.unit.endswith(PER_PERIOD):
            faded[left : left + GIVE_BACK, place] += taken.sum(axis=0) / GIVE_BACK
    return np.concatenate([committed.frozen, faded])[: len(rows)]


def delay_steps(delay_ms: float, control_hz: float) -> int:
    """Control steps that begin while the policy thinks: ``delay_ms`` rounded up to whole control periods.

    50 ms at 20 Hz are one step, 51 ms are two: a chunk that comes in the middle of a period is used from the next on.
    """
    return math.ceil(delay_ms * control_hz / 1000 - 1e-9)


def hold(contract: Contract, state: np.ndarray, previous: np.ndarray | None) -> np.ndarray:
    """The action (A,) that moves nothing.

    A field whose unit is per period (a delta) is zero.  Any other is absolute: it keeps the value of the action before,
    and takes the state's field of the same name where there was none.

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
