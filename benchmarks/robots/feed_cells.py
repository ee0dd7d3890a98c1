"""What drivers publish, cell by cell: rate and parts of the joint states, delay, size and encoding of the images.

`accepted` plays a cell with the nodes' own classes, in the order in which its messages would arrive.
"""

from __future__ import annotations

import array
import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np

from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.errors import ObservationError
from vla_agent.robot.cameras.encodings import row_bytes, row_count
from vla_agent.robot.cameras.image_messages import compressed_pixels, image_pixels
from vla_agent.robot.cameras.topic_view import TopicView
from vla_agent.robot.description import load_robot
from vla_agent.robot.joint_states import JointReader
from vla_agent.ros.process.node_parameters import NODES
from vla_agent.ros.runtime.observations import Limits, ObservationBuffer

RATES = (20, 50, 100, 250, 500, 1000)  # Hz of the joint states
DELAYS = (0.0, 0.04, 0.08, 0.15)  # seconds from an image's stamp to its arrival
SIZES = ((96, 96), (640, 480), (1280, 720))  # width, height
COMPRESSED = ("jpeg", "png")
ENCODINGS = ("rgb8", "bgr8", "rgba8", "bgra8", "mono8", "yuv422", "yuv422_yuy2", "nv12", "bayer_rggb8", *COMPRESSED)
CAMERA_HZ, GRIPPER_HZ = 30, 15
FRAMES = 3  # different images of a size and encoding
WARM, SECONDS = 0.4, 1.0  # before observations are counted, and while they are
JITTER = 0.004  # seconds that a message may be later than another
ROBOT, CONTRACT = load_robot("panda"), tabletop_contract()
ARM, GRIPPER = ROBOT.joint_names, ROBOT.gripper.joint


@dataclass(frozen=True)
class Cell:
    """``split``: arm and gripper are published apart, the gripper at `GRIPPER_HZ`, without efforts of the arm."""

    hz: float
    delay: float
    split: bool
    size: tuple[int, int]
    encoding: str


def cells() -> list[Cell]:
    """The whole grid."""
    return [Cell(*values) for values in product(RATES, DELAYS, (False, True), SIZES, ENCODINGS)]


def image_message(encoding: str, size: tuple[int, int], seed: int) -> Any:
    """A message with random pixels, with the fields of sensor_msgs/Image or CompressedImage."""
    width, height = size
    rng = np.random.default_rng(seed)
    if encoding in COMPRESSED:
        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(file, encoding)
        return SimpleNamespace(format=encoding, data=file.getvalue())
    step = row_bytes(encoding, width) + 8  # drivers pad rows
    data = rng.integers(0, 256, row_count(encoding, height) * step, np.uint8).tobytes()
    return SimpleNamespace(height=height, width=width, step=step, encoding=encoding, is_bigendian=0, data=data)


def pictures(encoding: str, size: tuple[int, int]) -> list[np.ndarray]:
    """`FRAMES` policy images from messages of this kind, by the policy node's own reader."""
    camera = CONTRACT.cameras[0]
    spec = next(c for c in ROBOT.cameras if c.name == camera.name)
    read = compressed_pixels if encoding in COMPRESSED else image_pixels
    view = TopicView(spec, (camera.height, camera.width), read)
    return [view(image_message(encoding, size, seed)) for seed in range(FRAMES)]


def joint_message(names: tuple[str, ...], stamp: float, efforts: bool) -> Any:
    """A message with the fields of sensor_msgs/JointState; stamps have nanoseconds."""
    nanoseconds = round(stamp * 1e9)
    return SimpleNamespace(
        header=SimpleNamespace(stamp=SimpleNamespace(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)),
        name=list(names),
        position=array.array("d", [0.1] * len(names)),
        effort=array.array("d", [0.0] * len(names) if efforts else []),
    )


def messages(cell: Cell, rng: np.random.Generator) -> Iterator[tuple[float, str, float, int]]:
    """Arrival (s), source, stamp (s) and number of each message, from 1 s on; sources have a phase of their own."""
    sources = [("arm", cell.hz, 0.0)] + [("gripper", GRIPPER_HZ, 0.0)] * cell.split
    sources += [(name, CAMERA_HZ, cell.delay) for name in CONTRACT.camera_names]
    for name, hz, delay in sources:
        phase, last = rng.uniform(0, 1 / hz), 0.0
        for k in range(int((WARM + SECONDS) * hz) + 1):
            stamp = 1.0 + phase + k / hz
            last = max(last, stamp + delay + rng.uniform(0, JITTER))  # of one publisher, in order
            yield last, name, stamp, k


def limits(robot_period: float = ROBOT.period) -> Limits:
    """Those of the policy node's parameters at their defaults."""
    given = {name: p.default for name, p in NODES["policy_node"].parameters.items()}
    return Limits(given["tolerance"] * robot_period, given["max_age"] * robot_period, given["max_delay"])


def accepted(cell: Cell, frames: list[np.ndarray], seed: int) -> tuple[int, int, str]:
    """Observations that were accepted, control steps, and the first reason of a refusal.

    Args:
        cell: what is published.
        frames: images in the policy's size.
        seed: of phases and jitter.
    """

    def forward(_joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0])

    reader = JointReader([*ARM, GRIPPER])
    buffer = ObservationBuffer(ROBOT, CONTRACT, forward, limits())
    names = {"arm": tuple(ARM) if cell.split else (GRIPPER, *ARM[::-1]), "gripper": (GRIPPER,)}
    good, steps, why = 0, 0, ""
    due, end = 1.0 + WARM, 1.0 + WARM + SECONDS
    for arrived, source, stamp, k in sorted(messages(cell, np.random.default_rng(seed))):
        while due <= min(arrived, end):
            steps += 1
            try:
                CONTRACT.check_observation(buffer.observe(due).data)
                good += 1
            except ObservationError as error:
                why = why or error.what
            due += ROBOT.period
        if source in names:
            part = reader.read(joint_message(names[source], stamp, source == "gripper" or not cell.split))
            assert part is not None  # it has our joints
            buffer.add_part(part)
        else:
            buffer.add_image(source, frames[k % len(frames)], stamp, arrived)
    return good, steps, why
