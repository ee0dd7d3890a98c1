"""The policy's view of a camera: rectified, cropped, in the contract's size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vla_agent.errors import ObservationError, RobotError
from vla_agent.robot.cameras.calibration import PLUMB_BOB, read_calibration
from vla_agent.robot.cameras.crop import crop_and_resize, crop_window, distorted
from vla_agent.robot.cameras.rectification import make_rectifier
from vla_agent.robot.description import CameraSpec, resolve


class CameraView:
    """Turns camera images into policy images (height, width, 3).

    ``calibration``: of the policy images; None where the camera has none.

    Args:
        camera: of the robot's file.
        size: (height, width).

    Raises:
        RobotError: the calibration cannot be read or used, or the crop exceeds the calibrated image.
    """

    def __init__(self, camera: CameraSpec, size: tuple[int, int]) -> None:
        self._crop, self._size = camera.crop, size
        self._shape: tuple[int, int] | None = None  # of the calibrated image
        self._rectify: Callable[[np.ndarray], np.ndarray] | None = None
        self.calibration = None
        if camera.calibration is None:
            return
        file = resolve(camera.calibration)
        source = read_calibration(file)
        self._shape = source.height, source.width
        if wrong := self._outside(self._shape):
            raise RobotError(
                f"the crop of camera {camera.name} exceeds the calibrated image",
                file=file,
                key="crop",
                expected=f"left, top, width, height within {source.width} x {source.height}",
                found=wrong,
                remedy="fix crop in the robot's file",
            )
        part = crop_window(self._shape, size, self._crop)
        self.calibration = source.cropped(part, size)
        if camera.rectify:
            if source.model != PLUMB_BOB:
                raise RobotError(
                    f"the images of camera {camera.name} cannot be rectified",
                    file=file,
                    key="distortion_model",
                    expected=PLUMB_BOB,
                    found=source.model,
                    remedy="calibrate with this model, or remove rectify from the robot's file",
                )
            self.calibration = self.calibration.rectified()
            self._rectify = make_rectifier(source, part, size)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (height, width, 3) uint8.

        Raises:
            ObservationError: the image does not have the calibration's size, the crop exceeds it, or what is left is
                too small to keep the aspect ratio.
        """
        shape = pixels.shape[0], pixels.shape[1]
        if self._shape is not None and shape != self._shape:
            raise _wrong(f"gives {_size(shape)}, its calibration is for {_size(self._shape)}", "calibration")
        if wrong := self._outside(shape):
            raise _wrong(f"gives {_size(shape)}, which the crop {wrong} exceeds", "crop")
        if self._rectify is not None:
            return self._rectify(pixels)
        part = crop_window(shape, self._size, self._crop)
        if distorted(part, self._size):
            raise _wrong(f"gives {_size(shape)}, of which {part[2]} x {part[3]} would be distorted", "crop")
        return crop_and_resize(pixels, part, self._size)

    def _outside(self, shape: tuple[int, int]) -> str:
        """The crop in words where it exceeds the image; else empty."""
        if self._crop is None:
            return ""
        left, top, wide, high = self._crop
        inside = left + wide <= shape[1] and top + high <= shape[0]
        return "" if inside else ", ".join(map(str, self._crop))


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[1]} x {shape[0]}"


def _wrong(what: str, key: str) -> ObservationError:
    return ObservationError(what, key=key, remedy=f"fix {key} in the robot's file, or the camera's resolution")
