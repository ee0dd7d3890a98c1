"""Conversions between ROS 2 messages and numpy arrays.  An unusable message raises `ObservationError`."""

from __future__ import annotations

import array
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration, Time
from PIL import Image as PILImage
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from vla_agent.contract import Contract
from vla_agent.errors import ObservationError
from vla_agent.files.input_limits import NAME, POINTS
from vla_agent.robot.cameras.calibration import Calibration
from vla_agent.robot.cameras.image_messages import compressed_pixels as compressed_pixels
from vla_agent.robot.cameras.image_messages import image_pixels as image_pixels
from vla_agent.robot.sensor_messages import joint_positions as joint_positions

QUALITY = 95  # of JPEG, without chroma subsampling: most training images were never compressed


def deserialize(data: bytes, type_name: str) -> JointState | JointTrajectory:
    """Serialized bytes -> message; ``type_name`` such as ``sensor_msgs/msg/JointState``.

    Raises:
        ValueError: the type is not supported.
    """
    types = {"sensor_msgs/msg/JointState": JointState, "trajectory_msgs/msg/JointTrajectory": JointTrajectory}
    if type_name not in types:
        raise ValueError(f"{type_name} is not one of {', '.join(types)}")
    return deserialize_message(data, types[type_name])


def to_seconds(stamp: Time) -> float:
    """Seconds of a stamp."""
    return stamp.sec + 1e-9 * stamp.nanosec


def to_stamp(time: float) -> Time:
    """A stamp from seconds, to the nanosecond."""
    nanoseconds = round(time * 1e9)
    return Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)


def image_message(pixels: np.ndarray, time: float, frame: str) -> Image:
    """(H, W, 3) uint8 RGB -> Image."""
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding="rgb8", step=3 * pixels.shape[1])
    message.header.stamp, message.header.frame_id = to_stamp(time), frame
    data = array.array("B")  # other ways to fill the field are a hundred times slower
    data.frombytes(np.ascontiguousarray(pixels).data)
    message.data = data
    return message


def compressed_message(pixels: np.ndarray, time: float, frame: str) -> CompressedImage:
    """(H, W, 3) uint8 RGB -> CompressedImage, JPEG."""
    file = io.BytesIO()
    PILImage.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=QUALITY, subsampling=0)
    message = CompressedImage(format="jpeg", data=array.array("B", file.getvalue()))
    message.header.stamp, message.header.frame_id = to_stamp(time), frame
    return message


@dataclass(frozen=True)
class Transport:
    """An image transport: message type; ``write`` (H, W, 3) uint8 RGB, stamp (s) and frame; ``read`` the pixels."""

    message: type
    write: Callable[[np.ndarray, float, str], Any]
    read: Callable[[Any], np.ndarray]


TRANSPORTS = {  # by `robot.CameraSpec.transport`
    "raw": Transport(Image, image_message, image_pixels),
    "compressed": Transport(CompressedImage, compressed_message, compressed_pixels),
}


def info_message(calibration: Calibration, time: float, frame: str) -> CameraInfo:
    """The calibration of the image with this stamp (s) and frame."""
    message = CameraInfo(
        width=calibration.width,
        height=calibration.height,
        distortion_model=calibration.model,
        d=array.array("d", calibration.coefficients),
        k=calibration.camera.ravel(),
        r=calibration.rotation.ravel(),
        p=calibration.projection.ravel(),
    )
    message.header.stamp, message.header.frame_id = to_stamp(time), frame
    return message


def trajectory_message(
    names: Sequence[str], positions: np.ndarray, time: float, period: float, frame: str = ""
) -> JointTrajectory:
    """Rows of ``positions`` (N, len(names)), one a period, the first at ``time`` (s).  N = 0 ends a stream."""
    message = JointTrajectory(joint_names=list(names))
    message.header.stamp, message.header.frame_id = to_stamp(time), frame
    for k, row in enumerate(np.asarray(positions, dtype=np.float64)):
        nanoseconds = round((k + 1) * period * 1e9)
        after = Duration(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)
        message.points.append(JointTrajectoryPoint(positions=array.array("d", row), time_from_start=after))
    return message


def trajectory_points(message: JointTrajectory, names: Sequence[str]) -> np.ndarray:
    """(N, len(names)): the points of a trajectory, in the order of ``names``.

    Raises:
        ObservationError: a name is missing or unknown, or a point has another number of positions.
    """
    if max(len(message.points), len(message.joint_names)) > POINTS:
        raise ObservationError(
            "a trajectory is too large",
            key="points",
            expected=f"at most {POINTS} points and joints",
            found=f"{len(message.points)} points, {len(message.joint_names)} joints",
            remedy="check what publishes it",
        )
    if sorted(message.joint_names) != sorted(names) or any(len(p.positions) != len(names) for p in message.points):
        found = f"{', '.join(message.joint_names)}; points of {[len(p.positions) for p in message.points]}"
        raise ObservationError(
            "a trajectory has other joints",
            key="joint_names",
            expected=", ".join(names),
            found=found[: 10 * NAME],
            remedy="use the same robot file and policy in every node",
        )
    order = [list(message.joint_names).index(name) for name in names]
    return np.array([p.positions for p in message.points], dtype=np.float64).reshape(-1, len(names))[:, order]


def joint_state_message(
    names: Sequence[str], positions: np.ndarray, time: float, frame: str, efforts: np.ndarray | None = None
) -> JointState:
    """JointState of positions, and efforts where they are given."""
    message = JointState(name=list(names), position=array.array("d", np.asarray(positions, dtype=np.float64)))
    message.header.stamp, message.header.frame_id = to_stamp(time), frame
    if efforts is not None:
        message.effort = array.array("d", np.asarray(efforts, dtype=np.float64))
    return message


def float_array(values: np.ndarray) -> Float64MultiArray:
    """A Float64MultiArray without layout, as forward command controllers take it."""
    return Float64MultiArray(data=array.array("d", np.asarray(values, dtype=np.float64)))


def action_names(contract: Contract) -> list[str]:
    """One name for each component of the action: ``ee_translation.0`` ... ``gripper``."""
    return [f.name if f.size == 1 else f"{f.name}.{k}" for f in contract.action for k in range(f.size)]
