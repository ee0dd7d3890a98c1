"""A camera's calibration from the YAML file of ROS's camera_calibration, and the calibration of its cropped images.

Pixel coordinates are those of sensor_msgs/CameraInfo: the first pixel has its centre at (0, 0).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml.error import YAMLError

from vla_agent.errors import RobotError, wrong_keys
from vla_agent.files.bounded_yaml import read_yaml
from vla_agent.files.input_limits import SIDE
from vla_agent.robot.cameras.crop import Window

PLUMB_BOB = "plumb_bob"  # k1, k2, p1, p2, k3


@dataclass(frozen=True)
class Calibration:
    """``camera`` K (3, 3), ``rotation`` R (3, 3) and ``projection`` P (3, 4) of images of ``width`` x ``height``, and
    the ``coefficients`` (N,) of the distortion ``model``, as in sensor_msgs/CameraInfo."""

    width: int
    height: int
    camera: np.ndarray
    model: str
    coefficients: np.ndarray
    rotation: np.ndarray
    projection: np.ndarray

    def cropped(self, window: Window, size: tuple[int, int]) -> Calibration:
        """The calibration of the crop ``window`` (left, top, width, height), resized to ``size`` (height, width).

        A resize keeps corners, not pixel centres: pixel u of the crop becomes (u + 0.5) * scale - 0.5.
        """
        left, top, wide, high = window
        height, width = size
        x, y = width / wide, height / high
        change = np.array([[x, 0.0, (0.5 - left) * x - 0.5], [0.0, y, (0.5 - top) * y - 0.5], [0.0, 0.0, 1.0]])
        return replace(
            self, width=width, height=height, camera=change @ self.camera, projection=change @ self.projection
        )

    def rectified(self) -> Calibration:
        """The calibration of the rectified image: K is the projection, without distortion."""
        undistorted = np.zeros_like(self.coefficients)
        return replace(self, camera=self.projection[:, :3], coefficients=undistorted, rotation=np.eye(3))


class _Numbers(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)
    data: tuple[float, ...]


class _File(BaseModel):
    """The file's keys; others, such as the camera's name, are ignored."""

    image_width: int = Field(ge=1, le=SIDE)
    image_height: int = Field(ge=1, le=SIDE)
    camera_matrix: _Numbers
    distortion_model: str
    distortion_coefficients: _Numbers
    rectification_matrix: _Numbers
    projection_matrix: _Numbers

    @model_validator(mode="after")
    def _check_shapes(self) -> _File:
        lengths = {"camera_matrix": 9, "rectification_matrix": 9, "projection_matrix": 12}
        if self.distortion_model == PLUMB_BOB:
            lengths["distortion_coefficients"] = 5
        for name, length in lengths.items():
            if len(getattr(self, name).data) != length:
                raise ValueError(f"{name} has {len(getattr(self, name).data)} numbers, not {length}")
        if abs(np.linalg.det(np.array(self.rectification_matrix.data).reshape(3, 3)) - 1.0) > 0.01:
            raise ValueError("rectification_matrix is not a rotation")
        for name, row in (("camera_matrix", 3), ("projection_matrix", 4)):
            matrix = np.array(getattr(self, name).data).reshape(3, row)
            if min(matrix[0, 0], matrix[1, 1]) <= 0 or matrix[2, :3].tolist() != [0, 0, 1]:
                raise ValueError(f"{name} needs two focal lengths over 0, and 0, 0, 1 in the last row")
        return self


def read_calibration(path: str | PathLike[str]) -> Calibration:
    """Read a camera_info YAML file.

    Raises:
        RobotError: it cannot be read, or keys are missing or impossible; all of them at once.
    """
    expected = "a YAML file as camera_calibration writes it: image_width, image_height, camera_matrix, ..."
    try:
        data: Any = read_yaml(path, RobotError)
        file = _File.model_validate(data)
    except (OSError, YAMLError) as error:
        raise RobotError(
            "a camera's calibration cannot be read",
            file=path,
            key="calibration",
            expected=expected,
            found=" ".join(str(error).split()),
            remedy="fix the path in the robot's file, or remove calibration",
        ) from error
    except ValidationError as error:
        raise RobotError(
            "a camera's calibration is wrong",
            file=path,
            expected=expected,
            **wrong_keys(error),
            remedy="calibrate the camera again, or fix the file",
        ) from error
    return Calibration(
        file.image_width,
        file.image_height,
        np.array(file.camera_matrix.data).reshape(3, 3),
        file.distortion_model,
        np.array(file.distortion_coefficients.data),
        np.array(file.rectification_matrix.data).reshape(3, 3),
        np.array(file.projection_matrix.data).reshape(3, 4),
    )
