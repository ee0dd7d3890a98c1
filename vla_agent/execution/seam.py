"""The seam where a new chunk takes over: its first motions fade in, and lead to the same place as before.

Positions do not jump where one chunk follows another, velocities do.  The first rows are drawn towards what the present
chunk would have done there, and the way that this takes from them is given back by the rows behind::

    row       0    1    2    3    4    5    6
    weight   2/3  1/3   0    0    0    0    0    of the present chunk
    given              1/4  1/4  1/4  1/4        of the way that was taken

Without giving it back the arm is elsewhere than the rest of the chunk takes it to be, and grasps beside things.
"""

from __future__ import annotations

import numpy as np

from vla_agent.contract import Contract
from vla_agent.execution.hold import PER_PERIOD
from vla_agent.execution.realtime import Committed

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
