"""What a mapping picks out of one ROS 2 message: numbers by joint or path, pictures, times."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from vla_agent.data.convert.mapping import FieldSource
from vla_agent.errors import ObservationError
from vla_agent.robot.sensor_messages import compressed_pixels, image_pixels, joint_positions

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
JOINTS, TRAJECTORY = "sensor_msgs/msg/JointState", "trajectory_msgs/msg/JointTrajectory"
TEXT, SWITCH = "std_msgs/msg/String", "std_msgs/msg/Bool"
_STEP = re.compile(r"^(\w+)((?:\[\d+\])*)$")


def stamp_of(message: Any, received: float, use_header: bool) -> float:
    """Seconds of a message: of its header where it has one and that is wanted, else when the bag received it.

    Raises:
        ObservationError: the header was never stamped.
    """
    header = getattr(message, "header", None)
    if header is None or not use_header:
        return received
    if header.stamp.sec == 0 and header.stamp.nanosec == 0:
        if hasattr(message, "joint_names"):  # a trajectory that is to begin at once
            return received
        raise ObservationError(
            "a message's header has no time",
            key="header.stamp",
            expected="the time at which it was measured",
            found="0",
            remedy="say stamps: received in the mapping file",
        )
    return float(header.stamp.sec) + 1e-9 * float(header.stamp.nanosec)


def numbers(message: Any, kind: str, field: FieldSource) -> np.ndarray | None:
    """(P,) numbers of a message of type ``kind``; None where a trajectory has no points (it ends a stream).

    Raises:
        ObservationError: a joint or a path that is not there, or no number at it.
    """
    names = [str(p) for p in field.pick]
    if kind == JOINTS:
        return joint_positions(message, names, field.of)
    if kind == TRAJECTORY:
        if not len(message.points):
            return None
        return joint_positions(_FirstPoint(message), names)
    return np.array([_at(message, path, kind) for path in names], dtype=np.float64)


class _FirstPoint:
    """A trajectory's first point, read like a joint state."""

    def __init__(self, trajectory: Any) -> None:
        self.name, self.position = trajectory.joint_names, trajectory.points[0].positions


def _at(message: Any, path: str, kind: str) -> float:
    value = message
    for step in path.split("."):
        parts = _STEP.match(step)
        try:
            if parts is None:
                raise AttributeError(step)
            value = getattr(value, parts[1])
            for place in re.findall(r"\d+", parts[2]):
                value = value[int(place)]
        except (AttributeError, IndexError, TypeError) as error:
            there = [n for n in getattr(value, "__dataclass_fields__", {}) if not n.startswith("_")]
            length = f"{len(value)} values" if hasattr(value, "__len__") else type(value).__name__
            raise ObservationError(
                "a message has nothing at this path",
                key=path,
                expected=f"a number in {kind}",
                found=", ".join(there) or length,
                remedy="mend pick in the mapping file, such as pose.position.x or data[0]",
            ) from error
    if isinstance(value, (bool, int, float, np.number, np.bool_)):
        return float(value)
    raise ObservationError(
        "a path leads to no number",
        key=path,
        expected=f"a number in {kind}",
        found=type(value).__name__,
        remedy="go one step further in pick, such as pose.position.x or data[0]",
    )


def picture(message: Any, kind: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an image, raw or compressed (JPEG, PNG).

    Raises:
        ObservationError: an encoding that is not read, or a damaged picture.
    """
    return image_pixels(message) if kind == IMAGE else compressed_pixels(message)
