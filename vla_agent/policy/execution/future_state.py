"""The state that the next chunk begins in: the present one, moved on by the actions that run before the chunk comes.

After Tang et al. 2025, "VLASH: Real-Time VLAs via Future-State-Aware Asynchronous Inference".  A chunk that is computed
for the arm as it was seen, and carried out by an arm that has moved on, aims beside what it aims at.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from vla_agent.contract import Contract, Field

# (unit, frame, rotation) of a state's field and of the action's field that moves it
POSITION, TRANSLATION = ("m", "base", ""), ("m per period", "base", "")
COLUMNS, VECTOR = ("1", "base", "matrix columns 1, 2"), ("rad per period", "base", "rotation vector")


def future_state(contract: Contract, state: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """The state (..., D) after ``actions`` (..., K, A), as far as the contract's fields tell; the rest stays as it is.

    Translations and rotations per period are added up in the base frame; absolute joint positions become the last
    commanded.  The gripper stays as measured: around an object it never reaches what it is told.
    """
    later = np.array(state, np.float32)
    periods = actions.shape[-2]
    if not periods:
        return later
    there, told = contract.slices(contract.state), contract.slices(contract.action)
    seen, moves = _kinds(contract.state), _kinds(contract.action)
    if (seen.get("ee_position"), moves.get("ee_translation")) == (POSITION, TRANSLATION):
        later[..., there["ee_position"]] += actions[..., told["ee_translation"]].sum(axis=-2)
    if (seen.get("ee_rotation"), moves.get("ee_rotation")) == (COLUMNS, VECTOR):
        columns = later[..., there["ee_rotation"]]
        turned = columns.reshape(-1, 2, 3)
        for k in range(periods):
            vectors = actions[..., k, told["ee_rotation"]].reshape(-1, 3)
            turned = turned @ Rotation.from_rotvec(vectors).as_matrix().swapaxes(-1, -2)
        later[..., there["ee_rotation"]] = turned.reshape(columns.shape)
    if "joint_position" in moves and seen.get("joint_position") == moves["joint_position"]:
        later[..., there["joint_position"]] = actions[..., -1, told["joint_position"]]
    return later


def _kinds(layout: tuple[Field, ...]) -> dict[str, tuple[str, str, str]]:
    return {f.name: (f.unit, f.frame, f.rotation) for f in layout}
