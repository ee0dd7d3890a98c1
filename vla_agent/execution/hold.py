"""What to command while there is no action: stay where you are."""

from __future__ import annotations

import numpy as np

from vla_agent.contract import Contract

PER_PERIOD = "per period"  # how the unit of a relative action ends


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
