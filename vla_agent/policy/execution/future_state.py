"""The state in which the next chunk starts: the present one, advanced by the actions that run before it arrives.

After Tang et al. 2025, "VLASH: Real-Time VLAs via Future-State-Aware Asynchronous Inference".  A chunk that is computed
for an outdated state of the arm misses its target by the motion since then.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from vla_agent.contract import Contract, Field

# (unit, frame, rotation) of a state's field and of the action's field that moves it
POSITION, TRANSLATION = ("m", "base", ""), ("m per period", "base", "")
COLUMNS, VECTOR = ("1", "base", "matrix columns 1, 2"), ("rad per period", "base", "rotation vector")


def future_state(contract: Contract, state: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """The state (..., D) after ``actions`` (..., K, A), for the fields below; the others stay as they are.

    Translations and rotations per period are accumulated in the base frame; absolute joint positions become the last
    commanded.  The gripper stays as measured: closed on an object it never reaches its command.
    """
    later = np.array(state, np.float32)
    periods = actions.shape[-2]
    if not periods:
        return later
    of_state, of_action = contract.slices(contract.state), contract.slices(contract.action)
    states, moves = _kinds(contract.state), _kinds(contract.action)
    if (states.get("ee_position"), moves.get("ee_translation")) == (POSITION, TRANSLATION):
        later[..., of_state["ee_position"]] += actions[..., of_action["ee_translation"]].sum(axis=-2)
    if (states.get("ee_rotation"), moves.get("ee_rotation")) == (COLUMNS, VECTOR):
        columns = later[..., of_state["ee_rotation"]]
        rotated = columns.reshape(-1, 2, 3)
        for k in range(periods):
            vectors = actions[..., k, of_action["ee_rotation"]].reshape(-1, 3)
            rotated = rotated @ Rotation.from_rotvec(vectors).as_matrix().swapaxes(-1, -2)
        later[..., of_state["ee_rotation"]] = rotated.reshape(columns.shape)
    if "joint_position" in moves and states.get("joint_position") == moves["joint_position"]:
        later[..., of_state["joint_position"]] = actions[..., -1, of_action["joint_position"]]
    return later


def _kinds(layout: tuple[Field, ...]) -> dict[str, tuple[str, str, str]]:
    return {f.name: (f.unit, f.frame, f.rotation) for f in layout}
