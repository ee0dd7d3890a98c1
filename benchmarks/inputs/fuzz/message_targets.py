"""Messages: of a policy server's clients, of a server, and of ROS 2 as the converter and the nodes see them."""

from __future__ import annotations

import logging
import socket
import struct
import traceback
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from benchmarks.bounds.server_bombs import HELLO, frames_of, still_policy
from benchmarks.inputs.fuzz.mutations import Rng, changed_bytes, changed_tree
from benchmarks.inputs.fuzz.target import Target, nothing
from benchmarks.inputs.makers import bags
from benchmarks.inputs.makers.mappings import field

ENCODINGS = (
    "rgb8",
    "bgr8",
    "rgba8",
    "mono8",
    "16UC1",
    "32FC1",
    "yuv422",
    "nv12",
    "bayer_rggb8",
    "8UC3",
    "",
    "é",
    "x" * 99,
)


@cache
def _contract() -> Any:
    from vla_agent.contract.tabletop import tabletop_contract

    return tabletop_contract()


def _request() -> dict[str, Any]:
    from vla_agent.contract.blank_observation import blank_observation

    return blank_observation(_contract()) | {"prompt": "go", "seed": 3, "reset": True, "id": 5}


def _asked(rng: Rng) -> bytes:
    """A request whose bytes or whose content is changed."""
    from vla_agent.serving.wire import pack

    data = pack(_request())
    if rng.random() < 0.5:
        return changed_bytes(data, rng)
    return _packed(changed_tree(msgpack.unpackb(data), rng))


def _packed(tree: Any) -> bytes:
    return msgpack.packb(tree, default=repr, unicode_errors="surrogatepass") if _fits(tree) else b"\xc1"


def _fits(tree: Any) -> bool:
    """Whether msgpack has numbers so large."""
    if isinstance(tree, dict):
        return all(map(_fits, tree)) and all(map(_fits, tree.values()))
    return all(map(_fits, tree)) if isinstance(tree, list) else not isinstance(tree, int) or abs(tree) < 2**63


def _read_request(folder: Path, rng: Rng) -> Any:
    from vla_agent.serving.protocol_messages import read_request
    from vla_agent.serving.wire import unpack

    return read_request(unpack(_asked(rng)), _contract())


def _read_reply(folder: Path, rng: Rng) -> Any:
    """A server's metadata and its reply, as a policy's client reads them."""
    from vla_agent.serving.protocol_messages import Metadata
    from vla_agent.serving.remote_policy import chunk_of, doubt_of
    from vla_agent.serving.wire import pack, unpack

    hello = Metadata("p", _contract(), 8, False, {"a": "b"}).to_dict()
    chunk = np.zeros((_contract().chunk_length, _contract().action_dim), np.float32)
    if rng.random() < 0.5:
        return Metadata.from_dict(unpack(_packed(changed_tree(msgpack.unpackb(pack(hello)), rng))), "ws://server")
    data = pack({"actions": chunk, "refusal": "", "doubt": 0.1, "server_timing": {"infer_ms": 1.0}})
    changed = _packed(changed_tree(msgpack.unpackb(data), rng)) if rng.random() < 0.5 else changed_bytes(data, rng)
    reply = unpack(changed)
    return (
        (chunk_of(reply, _contract(), "ws://server"), doubt_of(reply, "ws://server")) if isinstance(reply, dict) else 0
    )


class _Errors(logging.Handler):
    """Keeps the exceptions that a server logs: those that no part of it expected."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self.found.append(record.exc_info[1])


def _of_websockets(error: BaseException) -> bool:
    """Whether the library itself refused a connection: its exceptions, or an assertion in its own handshake."""
    own = "websockets" in type(error).__module__
    return own or all("/vla_agent/" not in frame.filename for frame in traceback.extract_tb(error.__traceback__))


@cache
def _server() -> tuple[int, _Errors]:
    """A policy server of this process."""
    from vla_agent.serving.server import PolicyServer

    errors = _Errors()
    for name in ("websockets.server", "vla_agent.serving.server", "asyncio"):
        logging.getLogger(name).addHandler(errors)
        logging.getLogger(name).propagate = False
    return PolicyServer(still_policy(), "still", port=0).start().port, errors


def _connect(folder: Path, rng: Rng) -> Any:
    """Bytes of a connection to a live server; then a good client must be answered."""
    from vla_agent.contract.blank_observation import blank_observation
    from vla_agent.serving.remote_policy import RemotePolicy

    port, errors = _server()
    hello, frames = HELLO, frames_of((0x82, _asked(rng)), (0x89, b"x"), (0x88, struct.pack(">H", 1000)))
    part = int(rng.integers(3))
    data = [changed_bytes(hello, rng) + frames, hello + changed_bytes(frames, rng), hello + frames][part]
    try:
        with socket.create_connection(("127.0.0.1", port), 5.0) as connection:
            connection.settimeout(0.05)
            connection.sendall(data)
            while connection.recv(65_536):
                pass
    except OSError:  # it is disconnected, or waits for more
        pass
    policy = RemotePolicy(f"ws://127.0.0.1:{port}", timeout=20.0)
    policy.reset("go")
    chunk = policy.act(blank_observation(policy.contract))
    policy.close()
    unexpected = [error for error in errors.found if not _of_websockets(error)]
    errors.found.clear()
    if unexpected:
        raise unexpected[0]
    return chunk


def _image(folder: Path, rng: Rng) -> Any:
    """A raw image whose fields do not go together."""
    from vla_agent.robot.cameras.image_messages import image_pixels

    height, width = (
        int(rng.choice([0, 1, 7, 8, 9, 16, 2**31, 2**32 - 1], p=[0.05, 0.1, 0.1, 0.4, 0.1, 0.15, 0.05, 0.05]))
        for _ in "hw"
    )
    step = int(rng.choice([0, 1, 8, 16, 24, 32, 48, 2**32 - 1]))
    size = int(rng.choice([0, 1, step * height if step * height < 10**6 else 7, 64, 192, 256]))
    made = bags.coloured(1.0, 3)
    made.height, made.width, made.step, made.encoding = (
        height,
        width,
        step,
        ENCODINGS[int(rng.integers(len(ENCODINGS)))],
    )
    made.data, made.is_bigendian = rng.integers(0, 256, size, np.uint8), int(rng.integers(2))
    span = (0.0, 1000.0) if rng.random() < 0.3 else None
    return image_pixels(made, span, recorded=bool(rng.integers(2)))


def _joints(folder: Path, rng: Rng) -> Any:
    """Joint states and trajectories whose lists do not go together, and paths into other messages."""
    from vla_agent.data.convert.bag_messages import numbers, stamp_of
    from vla_agent.data.convert.mapping import FieldSource

    names = [str(rng.choice(["q", "g", "", "é", "q[0]"])) for _ in range(int(rng.integers(5)))]
    values = [rng.choice([0.0, np.nan, np.inf, 1e300], int(rng.integers(5))) for _ in range(3)]
    kind = int(rng.integers(4))
    if kind == 0:
        made = bags.joint_state(float(rng.choice([0.0, 1.0])), names, *values)
    elif kind == 1:
        made = bags.trajectory(
            1.0, names, [rng.random(int(rng.integers(4))).tolist() for _ in range(int(rng.integers(3)))]
        )
    else:
        made = bags.pose(1.0, (0, 0, 0), (0, 0, 0, 1)) if kind == 2 else bags.numbers([1.0, 2.0])
    paths = (
        "q",
        "g",
        "pose",
        "pose.position.x",
        "pose.position.x.y",
        "data[0]",
        "data[9]",
        "data",
        "data[0][0]",
        "",
        ".",
        "header.stamp.sec",
        "__class__",
        "header.frame_id",
        "data[-1]",
    )
    pick = [str(paths[int(rng.integers(len(paths)))]) for _ in range(int(rng.integers(1, 3)))]
    of = str(rng.choice(["position", "velocity", "effort"]))
    source = FieldSource(**field(pick=tuple(pick), of=of))
    return stamp_of(made, 1.0, True), numbers(made, made.__msgtype__, source)


def _serialized(folder: Path, rng: Rng) -> Any:
    """The bytes of a message, as a bag holds them, after a change."""
    from vla_agent.data.convert.bag_messages import COMPRESSED, IMAGE, image, joints_of, numbers, stamp_of
    from vla_agent.data.convert.bag_reader import deserialized
    from vla_agent.data.convert.mapping import FieldSource

    made = [
        bags.coloured(1.0, 3),
        bags.joint_state(1.0, ["q", "g"], [1, 2]),
        bags.pose(1.0, (0, 0, 0), (0, 0, 0, 1)),
        bags.text("go"),
    ][int(rng.integers(4))]
    kind = made.__msgtype__
    raw = changed_bytes(bytes(bags.store().serialize_cdr(made, kind)), rng)
    message = deserialized(folder, bags.store().deserialize_cdr, "/topic", raw, kind)
    stamp_of(message, 1.0, True), joints_of(message, kind)
    if kind in (IMAGE, COMPRESSED):
        return image(message, kind)
    return numbers(message, kind, FieldSource(**field())) if "Joint" in kind else message


def targets() -> Iterator[Target]:
    """All of them."""
    readers = {
        "request of a client, msgpack": _read_request,
        "metadata and reply of a server, msgpack": _read_reply,
        "connection to a live server": _connect,
        "ROS Image": _image,
        "ROS JointState, JointTrajectory, paths": _joints,
        "ROS message, serialized": _serialized,
    }
    for name, read in readers.items():
        yield Target(name, nothing, partial(read))
