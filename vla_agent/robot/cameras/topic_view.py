"""The policy's images of a camera's topic, whoever publishes there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from vla_agent.errors import ObservationError
from vla_agent.robot.cameras.camera_view import CameraView
from vla_agent.robot.description import CameraSpec


class TopicView:
    """Reads the messages of one camera's topic as policy images (height, width, 3).

    Images that have the policy's size already, as the camera_node publishes them, are taken as they are.  All others
    are rectified, cropped and resized as the robot file says (`CameraView`); without ``crop`` the largest centred part
    with the policy's aspect ratio is taken.  The first image decides on size and encoding of the topic.

    Args:
        camera: of the robot's file.
        size: (height, width) of the policy's images.
        read: message -> pixels (H, W, 3) uint8 RGB, by the camera's transport.

    Raises:
        RobotError: see `CameraView`.
    """

    def __init__(self, camera: CameraSpec, size: tuple[int, int], read: Callable[[Any], np.ndarray]) -> None:
        self._camera, self._size, self._read = camera, size, read
        self._view = CameraView(camera, size)
        self._first: tuple[str, tuple[int, int]] | None = None  # encoding and (H, W) of the first image

    def __call__(self, message: Any) -> np.ndarray:
        """The message's image for the policy.

        Raises:
            ObservationError: it cannot be read, another size or encoding than before, or the crop exceeds it.
        """
        pixels = self._read(message)
        shape = pixels.shape[0], pixels.shape[1]
        found = getattr(message, "encoding", ""), shape
        if self._first is not None and found != self._first:
            raise ObservationError(
                "a camera's images have changed",
                key="size, encoding",
                expected=_described(*self._first),
                found=_described(*found),
                remedy="set the camera back; after a change on purpose, configure the policy node again",
            )
        view = np.ascontiguousarray(pixels) if shape == self._size else self._view(pixels)
        self._first = found
        return view


def _described(encoding: str, shape: tuple[int, int]) -> str:
    return f"{shape[1]} x {shape[0]} {encoding}".strip()
