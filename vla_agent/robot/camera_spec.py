"""Cameras in a robot file, and what all its parts share: unknown keys are refused, paths lie beside the file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    NonNegativeInt,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

Vector3 = tuple[float, float, float]


class Part(BaseModel):
    """A part of a robot file."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def beside(path: str, info: ValidationInfo) -> str:
    """A path of the robot file, which is below the file's folder or in a package; the context gives that folder."""
    if path.startswith("package://") or not info.context:
        return path
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise ValueError(f"{path} is not below the robot file's folder, and not package://PACKAGE/PATH")
    return str(info.context["folder"] / path)


class Mount(Part):
    """Where a camera is: its optical frame (z into the picture, x right, y down) in ``parent``, a frame of the robot.

    ``position``: metres.  ``rotation``: roll, pitch, yaw, rad, about the fixed axes x, y, z of ``parent``, as in URDF.
    """

    parent: str
    position: Vector3
    rotation: Vector3

    def quaternion(self) -> np.ndarray:
        """(4,) wxyz."""
        (cr, cp, cy), (sr, sp, sy) = np.cos(np.array(self.rotation) / 2), np.sin(np.array(self.rotation) / 2)
        w, x = cr * cp * cy + sr * sp * sy, sr * cp * cy - cr * sp * sy
        return np.array([w, x, cr * sp * cy + sr * cp * sy, cr * cp * sy - sr * sp * cy])


class CameraSpec(Part):
    """A camera by the contract's name, its image topic and its frame.

    ``transport``: Image on ``topic``, or CompressedImage on ``topic``/compressed.  The rest is for whatever makes the
    policy's images of the camera's, the camera_node, or the policy node where another driver publishes (see
    `robot.cameras.topic_view`): ``calibration`` is a camera_info file (`robot.cameras.calibration`), its path relative
    to the robot file; ``rectify`` removes the lens distortion; ``crop`` is (left, top, width, height) in pixels of the
    source, or of its rectified image.  ``mount``: where it is, for the frames_node; left out: as the model says.
    """

    name: str
    topic: str
    frame: str
    transport: Literal["raw", "compressed"] = "raw"
    calibration: str | None = None
    rectify: bool = False
    crop: tuple[NonNegativeInt, NonNegativeInt, PositiveInt, PositiveInt] | None = None
    mount: Mount | None = None

    @field_validator("calibration")
    @classmethod
    def _resolve_calibration(cls, path: str | None, info: ValidationInfo) -> str | None:
        return path if path is None else beside(path, info)

    @model_validator(mode="after")
    def _check_rectify(self) -> CameraSpec:
        if self.rectify and self.calibration is None:
            raise ValueError(f"{self.name} cannot be rectified without a calibration")
        return self

    @property
    def image_topic(self) -> str:
        """Topic of the images, by the transport."""
        return f"{self.topic}/compressed" if self.transport == "compressed" else self.topic

    @property
    def info_topic(self) -> str:
        """Topic of its calibration: ``camera_info`` beside the image topic."""
        return "/".join([*self.topic.split("/")[:-1], "camera_info"])
