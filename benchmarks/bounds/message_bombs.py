"""Bombs in messages: what a ROS node's callbacks read, and what a server may send to a policy's client."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.bounds.bounded_child import Case

EMPTY_MAPS = b"\xdc\x0f\xff" + (b"\xdc\x0f\xff" + b"\x80" * 4095) * 4000  # 16 MB of msgpack


def _nothing(folder: Path) -> None:
    """The message is made where it is read."""


def _raw(height: int, width: int, step: int, size: int, encoding: str = "rgb8") -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        import array

        from sensor_msgs.msg import Image

        from vla_agent.ros.messages.conversions import image_pixels

        message = Image(height=height, width=width, step=step, encoding=encoding, data=array.array("B", bytes(size)))
        return image_pixels(message)

    return read


def _joints(names: int, values: int) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        import array

        from sensor_msgs.msg import JointState

        from vla_agent.ros.messages.conversions import joint_positions

        message = JointState(name=[f"j{k}" for k in range(names)], position=array.array("d", bytes(8 * values)))
        return joint_positions(message, ["q"])

    return read


def _trajectory(points: int, joints: int) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

        from vla_agent.ros.messages.conversions import trajectory_points

        message = JointTrajectory(joint_names=["q"] * joints)
        message.points = [JointTrajectoryPoint()] * points
        return trajectory_points(message, ["q"])

    return read


def _unpack(message: bytes) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from vla_agent.serving.wire import unpack

        return unpack(message)

    return read


def _client(first: bytes, reply: bytes = b"\x80") -> Callable[[Path], Any]:
    """A client of a server that sends this metadata, and this reply."""

    def read(folder: Path) -> Any:
        from websockets.sync.server import serve

        from vla_agent.serving.connection import Connection

        def attend(socket: Any) -> None:
            socket.send(first)
            for _ in socket:
                socket.send(reply)

        with serve(attend, "127.0.0.1", 0, compression=None, max_size=None) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            connection = Connection(f"ws://127.0.0.1:{server.socket.getsockname()[1]}", None, 10.0)
            answer = connection.ask({"a": 1})
            connection.close()
            return answer

    return read


def cases() -> Iterator[Case]:
    """Raw images, joint states and trajectories; messages of msgpack; replies of a server."""
    ros: dict[str, Callable[[Path], Any]] = {
        "an image that states 2^62 pixels": _raw(2**31, 2**31, 3 * 2**31 % 2**32, 0),
        "an image of fewer bytes than it states": _raw(4000, 4000, 12_000, 1000),
        "rows that are shorter than the image": _raw(1000, 1000, 1, 1000),
        "an image of 36 million pixels": _raw(6_000, 6_000, 18_000, 108_000_000),
        "an encoding of 50 MB": _raw(8, 8, 24, 192, "x" * 50_000_000),
    }
    for name, read in ros.items():
        yield Case("ROS Image", name, _nothing, read)
    yield Case("ROS JointState", "a million joints", _nothing, _joints(1_000_000, 1_000_000))
    yield Case("ROS JointState", "ten million values", _nothing, _joints(1, 10_000_000))
    yield Case("ROS JointTrajectory", "a million points", _nothing, _trajectory(1_000_000, 1))
    yield Case("ROS JointTrajectory", "a million joints", _nothing, _trajectory(1, 1_000_000))
    messages = {
        "16 MB of empty maps": EMPTY_MAPS,
        "a list of four billion": b"\xdd\xff\xff\xff\xff" + b"\xc0" * 10_000_000,
        "a million nested lists": b"\x91" * 1_000_000,
        "4 million short texts": b"\xdd\x00\x3d\x09\x00" + b"\xa2ab" * 4_000_000,
        "an array of 2^60 numbers": b"\x84\xc4\x0b__ndarray__\xc3\xc4\x04data\xc4\x00\xc4\x05dtype\xa3<f4\xc4\x05shape"
        b"\x91\xcf\x10\x00\x00\x00\x00\x00\x00\x00",
        "an extension": b"\xc9\xff\xff\xff\xff\x05" + bytes(1000),
    }
    for name, message in messages.items():
        yield Case("msgpack", name, _nothing, _unpack(message))
    yield Case("policy client", "metadata of 16 MB of empty maps", _nothing, _client(EMPTY_MAPS))
    yield Case("policy client", "a reply of 16 MB of empty maps", _nothing, _client(b"\x80", EMPTY_MAPS))
    yield Case("policy client", "a reply of 200 MB", _nothing, _client(b"\x80", bytes(200_000_000)))
