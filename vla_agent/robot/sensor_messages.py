"""Numbers and pictures out of ROS 2 messages, whoever decoded them: rclpy's classes and those of `rosbags` alike."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from vla_agent.errors import ObservationError

CHANNELS = {"rgb8": slice(None), "bgr8": slice(None, None, -1)}


def image_pixels(message: Any) -> np.ndarray:
    """sensor_msgs/Image -> (H, W, 3) uint8 RGB.

    Raises:
        ObservationError: another encoding than rgb8 or bgr8, or fewer bytes than the size says.
    """
    height, width, step = message.height, message.width, message.step
    if message.encoding not in CHANNELS:
        raise ObservationError(
            "an image has an encoding that is not read",
            key="encoding",
            expected=" or ".join(CHANNELS),
            found=message.encoding,
            remedy="have the camera publish one of these",
        )
    if step < 3 * width or len(message.data) != height * step or not height or not width:
        raise ObservationError(
            "an image is not whole",
            key="data",
            expected=f"{height} rows of {step} bytes, at least {3 * width} each",
            found=f"{len(message.data)} bytes",
            remedy="check the camera's driver",
        )
    rows = np.frombuffer(message.data, np.uint8).reshape(height, step)[:, : 3 * width]
    return np.ascontiguousarray(rows.reshape(height, width, 3)[:, :, CHANNELS[message.encoding]])


def compressed_pixels(message: Any) -> np.ndarray:
    """sensor_msgs/CompressedImage -> (H, W, 3) uint8 RGB; the bytes say whether they are JPEG or PNG.

    Raises:
        ObservationError: the bytes are neither, or damaged.
    """
    try:
        return np.array(Image.open(io.BytesIO(message.data), formats=("JPEG", "PNG")).convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ObservationError(
            "a compressed picture cannot be decoded",
            key="data",
            expected="JPEG or PNG",
            found=f"{message.format or 'no format'}, {len(message.data)} bytes: {type(error).__name__}",
            remedy="check the camera's driver",
        ) from error


def joint_positions(message: Any, names: Sequence[str], of: str = "position") -> np.ndarray:
    """(len(names),) of a sensor_msgs/JointState in the order of ``names``, whatever else the message holds.

    Args:
        of: ``position``, ``velocity`` or ``effort``.

    Raises:
        ObservationError: a name is missing, or there are fewer values than names.
    """
    values = getattr(message, of)
    places = {name: k for k, name in enumerate(message.name)}
    missing = [name for name in names if places.get(name, len(values)) >= len(values)]
    if missing:
        raise ObservationError(
            "a joint state lacks joints",
            key=", ".join(missing),
            expected=", ".join(names),
            found=", ".join(message.name),
            remedy="have the joint state broadcaster publish them, or mend the names in the robot's file",
        )
    return np.array([values[places[name]] for name in names])
