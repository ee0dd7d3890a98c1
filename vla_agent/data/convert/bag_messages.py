"""Reads one ROS 2 message by a mapping: numbers by joint or path, images, times."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from vla_agent.data.convert.mapping import FieldSource
from vla_agent.errors import ObservationError
from vla_agent.files.bounded_pictures import PictureError, require_deep
from vla_agent.robot.cameras.encodings import COLOUR, DEEP
from vla_agent.robot.cameras.image_messages import compressed_pixels, image_pixels
from vla_agent.robot.sensor_messages import joint_positions

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
JOINTS, TRAJECTORY = "sensor_msgs/msg/JointState", "trajectory_msgs/msg/JointTrajectory"
JOINT_MESSAGES = (JOINTS, TRAJECTORY)  # name joints; several publishers may share a topic of them
TEXT, SWITCH = "std_msgs/msg/String", "std_msgs/msg/Bool"
_STEP = re.compile(r"^(\w+)((?:\[\d+\])*)$")


def stamp_of(message: Any, received: float, use_header: bool) -> float:
    """Time of a message in seconds: of its header where there is one and ``use_header``, else when the bag received it.

    Raises:
        ObservationError: the header has no time.
    """
    header = getattr(message, "header", None)
    if header is None or not use_header:
        return received
    if header.stamp.sec == 0 and header.stamp.nanosec == 0:
        if hasattr(message, "joint_names"):  # a trajectory that starts at once
            return received
        raise ObservationError(
            "a message's header has no time",
            key="header.stamp",
            expected="the time at which it was measured",
            found="0",
            remedy="set stamps: received in the mapping file",
        )
    return float(header.stamp.sec) + 1e-9 * float(header.stamp.nanosec)


def is_empty(message: Any, kind: str) -> bool:
    """Whether a joint state names no joints, as some drivers publish before the first measurement."""
    return kind == JOINTS and not len(message.name)


def numbers(message: Any, kind: str, field: FieldSource) -> np.ma.MaskedArray | None:
    """The numbers (P,) that a field picks from a message of type ``kind``; joints that it does not name are masked.

    None for a message without any of the joints: several publishers may share a topic, each with joints of its own;
    and for a trajectory without points, which ends a stream.

    Raises:
        ObservationError: a path does not exist, a joint has no value, or what is there is not a number.
    """
    names = [str(p) for p in field.pick]
    if kind == TRAJECTORY and not len(message.points):
        return None
    if kind not in JOINT_MESSAGES:
        return np.ma.array([_number_at(message, path, kind) for path in names], dtype=np.float64)
    message, of = (message, field.of) if kind == JOINTS else (_FirstPoint(message), "position")
    named = set(message.name)
    present = [name in named for name in names]
    if not any(present):
        return None
    values = np.ma.masked_all(len(names))
    try:
        values[present] = joint_positions(message, [name for name in names if name in named], of)
    except ObservationError as error:  # its remedy is that of a live robot
        remedy = f"correct pick or of in the mapping file: the message has {len(getattr(message, of))} values of {of}"
        what, key, expected, found = error.what, error.key, error.expected, error.found
        raise ObservationError(what, key=key, expected=expected, found=found, remedy=remedy) from error
    return values


def joints_of(message: Any, kind: str) -> list[str]:
    """The joints that a message names; none for one without joint names."""
    return list(getattr(message, {JOINTS: "name", TRAJECTORY: "joint_names"}.get(kind, ""), ()))


class _FirstPoint:
    """A trajectory's first point in the form of a joint state."""

    def __init__(self, trajectory: Any) -> None:
        self.name, self.position = trajectory.joint_names, trajectory.points[0].positions


def _number_at(message: Any, path: str, kind: str) -> float:
    """The number at a path such as ``pose.position.x`` or ``data[0]``."""
    value = message
    for step in path.split("."):
        parts = _STEP.match(step)
        try:
            if parts is None:
                raise AttributeError(step)
            if parts[1] not in getattr(value, "__dataclass_fields__", {}):  # an attribute of Python is no field
                raise AttributeError(step)
            value = getattr(value, parts[1])
            for index in re.findall(r"\d+", parts[2]):
                value = value[int(index)]
        except (AttributeError, IndexError, TypeError) as error:
            names = [n for n in getattr(value, "__dataclass_fields__", {}) if not n.startswith("_")]
            length = f"{len(value)} values" if hasattr(value, "__len__") else type(value).__name__
            raise ObservationError(
                "a message has nothing at this path",
                key=path,
                expected=f"a number in {kind}",
                found=", ".join(names) or length,
                remedy="correct pick in the mapping file, such as pose.position.x or data[0]",
            ) from error
    if isinstance(value, (bool, int, float, np.number, np.bool_)):
        return float(value)
    raise ObservationError(
        "the value at a path is no number",
        key=path,
        expected=f"a number in {kind}",
        found=type(value).__name__,
        remedy="extend the path in pick, such as pose.position.x or data[0]",
    )


def _is_deep(message: Any) -> bool:
    try:
        require_deep(memoryview(message.data))
    except PictureError:
        return False
    return True


def image(message: Any, kind: str, span: tuple[float, float] | None = None) -> np.ndarray:
    """The RGB image (H, W, 3) uint8 of a raw or compressed (JPEG, PNG) image message.

    Args:
        message: the image.
        kind: its type.
        span: of a picture of 16 bits: the values that become 0 and 255.

    Raises:
        ObservationError: an unknown encoding, or a damaged image.
    """
    read = image_pixels if kind == IMAGE else compressed_pixels
    deep = span is None or (_is_deep(message) if kind == COMPRESSED else message.encoding not in COLOUR)
    if not deep:
        raise ObservationError(
            "an image has no depth",
            key="encoding",
            expected=f"{' or '.join(DEEP)}, as the camera's range in the mapping file says",
            found=message.encoding if kind == IMAGE else f"{message.format}: 8 bits a channel",
            remedy="leave range out in the mapping file, or name the depth image's topic",
        )
    return read(message, span, recorded=True)
