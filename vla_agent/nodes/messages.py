"""Between ROS 2 messages and numpy.  A message that is not what it should be raises `ObservationError`."""

from __future__ import annotations

import array
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Duration, Time
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from vla_agent.contract import Contract
from vla_agent.errors import ObservationError

CHANNELS = {"rgb8": slice(None), "bgr8": slice(None, None, -1)}


def decode(data: bytes, type_name: str) -> JointState | JointTrajectory:
    """A message of its wire bytes; ``type_name`` such as ``sensor_msgs/msg/JointState``.

    Raises:
        ValueError: another type.
    """
    types = {"sensor_msgs/msg/JointState": JointState, "trajectory_msgs/msg/JointTrajectory": JointTrajectory}
    if type_name not in types:
        raise ValueError(f"{type_name} is none of {', '.join(types)}")
    return deserialize_message(data, types[type_name])


def seconds(stamp: Time) -> float:
    """Seconds of a stamp."""
    return stamp.sec + 1e-9 * stamp.nanosec


def stamp_of(time: float) -> Time:
    """A stamp from seconds, to the nanosecond."""
    nanoseconds = round(time * 1e9)
    return Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)


def image_message(pixels: np.ndarray, time: float, frame: str) -> Image:
    """(H, W, 3) uint8 RGB -> Image."""
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding="rgb8", step=3 * pixels.shape[1])
    message.header.stamp, message.header.frame_id = stamp_of(time), frame
    data = array.array("B")  # any other way to fill it is a hundred times slower
    data.frombytes(np.ascontiguousarray(pixels).data)
    message.data = data
    return message


def image_pixels(message: Image) -> np.ndarray:
    """Image -> (H, W, 3) uint8 RGB.

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


def trajectory(
    names: Sequence[str], positions: np.ndarray, time: float, period: float, frame: str = ""
) -> JointTrajectory:
    """Rows of ``positions`` (N, len(names)), one a period, the first at ``time`` (s).  N = 0 ends a stream."""
    message = JointTrajectory(joint_names=list(names))
    message.header.stamp, message.header.frame_id = stamp_of(time), frame
    for k, row in enumerate(np.asarray(positions, dtype=np.float64)):
        nanoseconds = round((k + 1) * period * 1e9)
        after = Duration(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)
        message.points.append(JointTrajectoryPoint(positions=array.array("d", row), time_from_start=after))
    return message


def trajectory_rows(message: JointTrajectory, names: Sequence[str]) -> np.ndarray:
    """(N, len(names)): the points of a trajectory, in the order of ``names``.

    Raises:
        ObservationError: a name is missing or unknown, or a point has another number of positions.
    """
    if sorted(message.joint_names) != sorted(names) or any(len(p.positions) != len(names) for p in message.points):
        raise ObservationError(
            "a trajectory is for other joints",
            key="joint_names",
            expected=", ".join(names),
            found=f"{', '.join(message.joint_names)}; points of {[len(p.positions) for p in message.points]}",
            remedy="use the same robot file and policy in every node",
        )
    order = [list(message.joint_names).index(name) for name in names]
    return np.array([p.positions for p in message.points], dtype=np.float64).reshape(-1, len(names))[:, order]


def joint_positions(message: JointState, names: Sequence[str]) -> np.ndarray:
    """(len(names),) positions in the order of ``names``, whatever else the message holds.

    Raises:
        ObservationError: a name is missing, or there are fewer positions than names.
    """
    places = {name: k for k, name in enumerate(message.name)}
    missing = [name for name in names if places.get(name, len(message.position)) >= len(message.position)]
    if missing:
        raise ObservationError(
            "a joint state lacks joints",
            key=", ".join(missing),
            expected=", ".join(names),
            found=", ".join(message.name),
            remedy="have the joint state broadcaster publish them, or mend the names in the robot's file",
        )
    return np.array([message.position[places[name]] for name in names])


def joint_state_message(names: Sequence[str], positions: np.ndarray, time: float, frame: str) -> JointState:
    """JointState of positions alone."""
    message = JointState(name=list(names), position=array.array("d", np.asarray(positions, dtype=np.float64)))
    message.header.stamp, message.header.frame_id = stamp_of(time), frame
    return message


def numbers(values: np.ndarray) -> Float64MultiArray:
    """A Float64MultiArray without layout, as forward controllers take it."""
    return Float64MultiArray(data=array.array("d", np.asarray(values, dtype=np.float64)))


def action_names(contract: Contract) -> list[str]:
    """One name a component of the action: ``ee_translation.0`` ... ``gripper``."""
    return [f.name if f.size == 1 else f"{f.name}.{k}" for f in contract.action for k in range(f.size)]
