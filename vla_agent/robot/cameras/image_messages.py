"""Pixels of ROS 2's image messages, decoded by rclpy or by `rosbags`: the same for live topics and for recordings."""

from __future__ import annotations

from typing import Any

import numpy as np

from vla_agent.errors import ObservationError
from vla_agent.files.bounded_pictures import PictureError, decode_picture, scaled
from vla_agent.files.input_limits import CAMERA_PIXELS, NAME
from vla_agent.robot.cameras.encodings import COLOUR, DEEP, DEPTH, decode, row_bytes, row_count, whole_size

LIVE = "let the camera's driver publish one of these, or convert there (image_proc, image_transport)"
RECORDED = "leave this camera out of the mapping file, or convert the recording's images first"
RANGE = "this is depth: name the colour image's topic; to read depth as grey, give range: [low, high]"
LIVE_DEPTH = "this is depth: name the topic of the camera's colour image in the robot file"


def image_pixels(message: Any, span: tuple[float, float] | None = None, recorded: bool = False) -> np.ndarray:
    """sensor_msgs/Image -> (H, W, 3) uint8 RGB: grey is repeated, transparency dropped, rows' padding, too.

    Args:
        message: the image.
        span: of an image of 16 bits (`DEEP`): the values that become 0 and 255.
        recorded: the image is of a recording; the remedy of an error is for its user.

    Raises:
        ObservationError: depth, an encoding that is not in `COLOUR`, or fewer bytes than the size says.
    """
    height, width, step, encoding = message.height, message.width, message.step, message.encoding
    if height * width > CAMERA_PIXELS:
        raise ObservationError(
            "an image is too large",
            key="height, width",
            expected=f"at most {CAMERA_PIXELS:,} pixels",
            found=f"{width} x {height}",
            remedy="leave this camera out" if recorded else "use a smaller resolution of the camera",
        )
    deep = span is not None and encoding in DEEP
    if encoding not in COLOUR and not deep:
        raise _unsupported(encoding, recorded)
    size = row_bytes(encoding, width)
    if not height or not width or step < size or len(message.data) != row_count(encoding, height) * step:
        raise ObservationError(
            "an image is incomplete",
            key="data",
            expected=f"{row_count(encoding, height)} rows of {step} bytes, at least {size} each",
            found=f"{len(message.data)} bytes",
            remedy="leave the episode out" if recorded else "check the camera's driver",
        )
    if not whole_size(encoding, height, width):
        raise ObservationError(
            "an image has an odd size",
            key="width" if width % 2 else "height",
            expected=f"an even number: in {encoding} two pixels share a colour",
            found=f"{width} x {height}",
            remedy=RECORDED if recorded else "use another resolution or encoding of the camera",
        )
    rows = np.frombuffer(message.data, np.uint8).reshape(-1, step)[:, :size]
    if deep and span is not None:
        kind = ">u2" if message.is_bigendian else "<u2"
        return scaled(np.ascontiguousarray(rows).view(kind).reshape(height, width), span)
    return decode(np.ascontiguousarray(rows), encoding)


def compressed_pixels(message: Any, span: tuple[float, float] | None = None, recorded: bool = False) -> np.ndarray:
    """sensor_msgs/CompressedImage -> (H, W, 3) uint8 RGB; the bytes say whether they are JPEG or PNG.

    Args:
        message: the image.
        span: of a grey PNG of 16 bits: the values that become 0 and 255.
        recorded: the image is of a recording; the remedy of an error is for its user.

    Raises:
        ObservationError: the bytes are neither, damaged, depth, of 16 bits a channel, a Bayer mosaic, or more pixels
            than any camera has.
    """
    kind = message.format[:NAME]
    original = kind.partition(";")[0].strip()
    if "compressedDepth" in kind or original in DEPTH and span is None:
        raise _unsupported(f"{kind}: depth", recorded)
    if original.startswith("bayer_") and not kind.endswith(("bgr8", "rgb8")):  # grey, of which JPEG mixes the colours
        raise _unsupported(f"{kind}: a Bayer mosaic, compressed", recorded)
    try:
        return decode_picture(memoryview(message.data), CAMERA_PIXELS, span=span)
    except PictureError as error:
        deep = "bits" in error.what
        raise ObservationError(
            "a compressed image cannot be decoded",
            key="data",
            expected=error.expected,
            found=f"{kind or 'no format'}, {error.found}",
            remedy=(RANGE if recorded else LIVE_DEPTH) if deep else error.remedy,
        ) from error


def _unsupported(found: str, recorded: bool) -> ObservationError:
    depth = found in DEPTH or found.endswith(": depth")
    remedies = {False: (LIVE, LIVE_DEPTH), True: (RECORDED, RANGE)}
    return ObservationError(
        "an image has no colours" if depth else "an image has an unsupported encoding",
        key="encoding",
        expected=f"a colour image: {', '.join(COLOUR)}; compressed: jpeg, png",
        found=f"{found[:NAME]}{'' if found.endswith('depth') or not depth else ': depth'}",
        remedy=remedies[recorded][depth],
    )
