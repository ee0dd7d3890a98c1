"""The contract of the tabletop that ships with the project: what `sim.env.TabletopEnv` shows and takes."""

from __future__ import annotations

from vla_agent.contract.contract import Contract
from vla_agent.contract.layout import Camera, Field

CAMERAS = ("front", "wrist")
CONTROL_HZ = 20.0
CHUNK_LENGTH = 16
STATE = (
    Field("ee_position", 3, "m", "base"),
    Field("ee_rotation", 6, "1", "base", -1.0, 1.0, "matrix columns 1, 2"),
    Field("gripper", 1, "0 open to 1 closed", low=0.0, high=1.0),
    Field("joint_position", 7, "rad"),
)
ACTIONS = {
    "ee_delta": (
        Field("ee_translation", 3, "m per period", "base", -0.025, 0.025),
        Field("ee_rotation", 3, "rad per period", "base", -0.15, 0.15, "rotation vector"),
        Field("gripper", 1, "0 open to 1 closed", low=0.0, high=1.0),
    ),
    "joint_position": (
        Field("joint_position", 7, "rad"),
        Field("gripper", 1, "0 open to 1 closed", low=0.0, high=1.0),
    ),
}


def tabletop_contract(image_size: tuple[int, int] = (96, 96), control: str = "ee_delta") -> Contract:
    """What the simulator shows at this image size (height, width) and takes in this control mode."""
    cameras = tuple(Camera(name, int(image_size[0]), int(image_size[1])) for name in CAMERAS)
    return Contract(cameras, STATE, ACTIONS[control], CONTROL_HZ, CHUNK_LENGTH)
