"""ROS 2 bags of given messages, and the messages that robots publish."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs.makers.pictures import coded, raw

EPOCH = 1000.0  # s, of the first message
HZ = 10.0
CAMERA, JOINTS = "/cam", "/joint_states"


@dataclass(frozen=True)
class Said:
    """A message, and when the bag received it, seconds."""

    topic: str
    at: float
    message: Any


@cache
def store() -> Any:
    """Message types of ROS 2 Jazzy."""
    from rosbags.typesys import Stores, get_typestore

    return get_typestore(Stores.ROS2_JAZZY)


def write_bag(path: Path, said: Iterable[Said], storage: str = "mcap", custom: dict[str, str] | None = None) -> Path:
    """Write the messages in this order; ``storage``: mcap, sqlite3, or one of them with ``+zstd`` (each message)."""
    from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

    kind, _, packed = storage.partition("+")
    plugin = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}[kind]
    writer = Writer(path, version=9, storage_plugin=plugin)
    if packed:
        mode = CompressionMode.STORAGE if kind == "mcap" else CompressionMode.MESSAGE
        writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer as bag:
        connections: dict[str, Any] = {}
        for one in said:
            kind = one.message.__msgtype__
            if one.topic not in connections:
                connections[one.topic] = bag.add_connection(one.topic, kind, typestore=store())
            data = store().serialize_cdr(one.message, kind)
            bag.write(connections[one.topic], round(one.at * 1e9), data)
        for key, value in (custom or {}).items():
            bag.set_custom_data(key, value)
    return path


def header(stamp: float, frame: str = "") -> Any:
    types = store().types
    seconds = math.floor(stamp)
    time = types["builtin_interfaces/msg/Time"](seconds, round((stamp - seconds) * 1e9))
    return types["std_msgs/msg/Header"](time, frame)


def joint_state(stamp: float, names: Sequence[str], position: Any, velocity: Any = (), effort: Any = ()) -> Any:
    """sensor_msgs/JointState."""
    arrays = [np.array(values, np.float64) for values in (position, velocity, effort)]
    return store().types["sensor_msgs/msg/JointState"](header(stamp), list(names), *arrays)


def image(stamp: float, rows: np.ndarray, encoding: str, height: int, width: int, bigendian: int = 0) -> Any:
    """sensor_msgs/Image of rows (rows, step) uint8."""
    data = np.ascontiguousarray(rows).ravel()
    kind = store().types["sensor_msgs/msg/Image"]
    return kind(header(stamp), height, width, encoding, bigendian, rows.shape[1], data)


def coloured(stamp: float, number: int, encoding: str = "rgb8", height: int = 8, width: int = 8) -> Any:
    """sensor_msgs/Image of `coded` picture ``number``."""
    return image(stamp, raw(coded(number, height, width), encoding), encoding, height, width)


def compressed(stamp: float, form: str, data: bytes) -> Any:
    """sensor_msgs/CompressedImage."""
    kind = store().types["sensor_msgs/msg/CompressedImage"]
    return kind(header(stamp), form, np.frombuffer(data, np.uint8))


def pose(stamp: float, position: Sequence[float], xyzw: Sequence[float]) -> Any:
    """geometry_msgs/PoseStamped."""
    types = store().types
    made = types["geometry_msgs/msg/Pose"](
        types["geometry_msgs/msg/Point"](*map(float, position)),
        types["geometry_msgs/msg/Quaternion"](*map(float, xyzw)),
    )
    return types["geometry_msgs/msg/PoseStamped"](header(stamp), made)


def numbers(values: Sequence[float]) -> Any:
    """std_msgs/Float64MultiArray."""
    types = store().types
    layout = types["std_msgs/msg/MultiArrayLayout"]([], 0)
    return types["std_msgs/msg/Float64MultiArray"](layout, np.array(values, np.float64))


def text(words: str) -> Any:
    """std_msgs/String."""
    return store().types["std_msgs/msg/String"](words)


def switch(on: bool) -> Any:
    """std_msgs/Bool."""
    return store().types["std_msgs/msg/Bool"](on)


def trajectory(stamp: float, names: Sequence[str], points: Sequence[Sequence[float]]) -> Any:
    """trajectory_msgs/JointTrajectory of positions."""
    types = store().types
    none = np.empty(0)
    duration = types["builtin_interfaces/msg/Duration"](0, 0)
    point = types["trajectory_msgs/msg/JointTrajectoryPoint"]
    made = [point(np.array(values, np.float64), none, none, none, duration) for values in points]
    return types["trajectory_msgs/msg/JointTrajectory"](header(stamp), list(names), made)


def ordinary(frames: int = 20, encoding: str = "rgb8", joints: Sequence[str] = ("q", "gripper")) -> list[Said]:
    """A camera, and joints that count 0.01 a frame, at 10 Hz on one clock."""
    said = []
    for k in range(frames):
        t = EPOCH + k / HZ
        said.append(Said(JOINTS, t, joint_state(t, joints, [0.01 * k] * len(joints))))
        said.append(Said(CAMERA, t, coloured(t, k, encoding)))
    return said
