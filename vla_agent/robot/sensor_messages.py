"""Arrays from ROS 2 messages, decoded by rclpy or by `rosbags`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vla_agent.errors import ObservationError
from vla_agent.files.bounded_pictures import PictureError, decode_picture, scaled
from vla_agent.files.input_limits import CAMERA_PIXELS, JOINTS, NAME

# Encoding -> bytes a pixel, and which of them are red, green and blue.  8UC3 has the order of OpenCV.
CHANNELS = {
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "8UC3": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
    "8UC1": (1, (0, 0, 0)),
}
DEEP = ("16UC1", "mono16")


def image_pixels(message: Any, span: tuple[float, float] | None = None) -> np.ndarray:
    """sensor_msgs/Image -> (H, W, 3) uint8 RGB: grey is repeated, transparency dropped.

    Args:
        message: the image.
        span: of an image of 16 bits (`DEEP`): the values that become 0 and 255.

    Raises:
        ObservationError: an encoding that is not in `CHANNELS`, or fewer bytes than the size says.
    """
    height, width, step = message.height, message.width, message.step
    if height * width > CAMERA_PIXELS:
        raise ObservationError(
            "an image is too large",
            key="height, width",
            expected=f"at most {CAMERA_PIXELS:,} pixels",
            found=f"{width} x {height}",
            remedy="use a smaller resolution of the camera",
        )
    deep = span is not None and message.encoding in DEEP
    if message.encoding not in CHANNELS and not deep:
        raise ObservationError(
            "an image has an unsupported encoding",
            key="encoding",
            expected=" or ".join(CHANNELS),
            found=message.encoding[:NAME],
            remedy="publish one of these; for a recording of 16 bits, give range: [low, high] in the mapping file",
        )
    size, order = CHANNELS["mono8"] if deep else CHANNELS[message.encoding]
    size *= 2 if deep else 1
    if step < size * width or len(message.data) != height * step or not height or not width:
        raise ObservationError(
            "an image is incomplete",
            key="data",
            expected=f"{height} rows of {step} bytes, at least {size * width} each",
            found=f"{len(message.data)} bytes",
            remedy="check the camera's driver",
        )
    rows = np.frombuffer(message.data, np.uint8).reshape(height, step)[:, : size * width]
    if deep and span is not None:
        kind = ">u2" if message.is_bigendian else "<u2"
        return scaled(np.ascontiguousarray(rows).view(kind).reshape(height, width), span)
    return np.ascontiguousarray(rows.reshape(height, width, size)[:, :, order])


def compressed_pixels(message: Any, span: tuple[float, float] | None = None) -> np.ndarray:
    """sensor_msgs/CompressedImage -> (H, W, 3) uint8 RGB; the bytes say whether they are JPEG or PNG.

    Args:
        message: the image.
        span: of a grey PNG of 16 bits: the values that become 0 and 255.

    Raises:
        ObservationError: the bytes are neither, damaged, of 16 bits a channel, or more pixels than any camera has.
    """
    try:
        return decode_picture(memoryview(message.data), CAMERA_PIXELS, span=span)
    except PictureError as error:
        raise ObservationError(
            "a compressed image cannot be decoded",
            key="data",
            expected=error.expected,
            found=f"{message.format[:NAME] or 'no format'}, {error.found}",
            remedy=error.remedy,
        ) from error


def joint_positions(message: Any, names: Sequence[str], of: str = "position") -> np.ndarray:
    """(len(names),) values of a sensor_msgs/JointState in the order of ``names``; other joints are ignored.

    Args:
        of: the quantity, ``position``, ``velocity`` or ``effort``.

    Raises:
        ObservationError: a name is missing, or there are fewer values than names.
    """
    values = getattr(message, of)
    if max(len(values), len(message.name)) > JOINTS:
        raise ObservationError(
            "a joint state is too large",
            key="name",
            expected=f"at most {JOINTS} joints",
            found=f"{len(message.name)} names, {len(values)} values",
            remedy="check what publishes it",
        )
    places = {name: k for k, name in enumerate(message.name)}
    missing = [name for name in names if places.get(name, len(values)) >= len(values)]
    if missing:
        raise ObservationError(
            "joints are missing in a joint state",
            key=", ".join(missing),
            expected=", ".join(names),
            found=", ".join(message.name)[: 10 * NAME],
            remedy="configure the joint state broadcaster to publish them, or fix the names in the robot file",
        )
    return np.array([values[places[name]] for name in names])
