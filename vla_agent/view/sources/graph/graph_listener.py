"""What a running ROS 2 graph says, read so that the graph does not notice: the newest message of each topic alone.

Every subscription is best-effort with a queue of one, but for the few topics that latch.  Messages are taken only when
the window asks, and images are decoded at most `IMAGES` times a second, so that what is published faster is dropped
before it costs anything.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from vla_agent.errors import ObservationError
from vla_agent.files.input_limits import POINTS
from vla_agent.robot.description import Robot
from vla_agent.robot.joint_states import JointReader
from vla_agent.ros.process.diagnostics_listener import DiagnosticsListener

IMAGES = 10.0  # decoded images of a camera a second
SIDE = 480  # pixels: larger images are reduced
MOST = 32  # rounds of one `GraphListener.read`
TEXTS = ("policy/refusal", "policy/loaded")
SWITCHES = ("safety/stopped", "intervention")
TRAJECTORIES = ("policy/action", "controller/joint_trajectory")


class GraphListener:
    """The newest of everything.

    Attributes:
        joints: joint -> position, of all joints of the robot file that were heard.
        images: camera -> (H, W, 3) uint8.
        texts, switches: topic -> its newest value; one that was never heard is not there.
        trajectories: topic -> (names, (N, len(names)) rows) of the newest message that had points.
        counts: topic -> messages that were taken.
        heard: seconds of `time.time` of the newest message; 0 before the first.
        problem: why the newest joint state or image could not be read; empty where it could.

    Args:
        node: an rclpy node.
        robot: its topics.
    """

    def __init__(self, node: Any, robot: Robot) -> None:
        self.joints: dict[str, float] = {}
        self.images: dict[str, np.ndarray] = {}
        self.texts: dict[str, str] = {}
        self.switches: dict[str, bool] = {}
        self.trajectories: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
        self.counts: dict[str, int] = {}
        self.heard = 0.0
        self.problem = ""
        self.diagnostics = DiagnosticsListener(node)
        self._reader = JointReader([*robot.joint_names, robot.gripper.joint])
        self._waiting: dict[str, bytes] = {}  # camera -> newest message that was not decoded yet
        self._decoded: dict[str, float] = {}  # camera -> when one was last decoded
        self._cameras: dict[str, Any] = {}  # camera -> its transport
        self._taken = 0
        self._listen(node, robot)

    def _listen(self, node: Any, robot: Robot) -> None:
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import JointState
        from std_msgs.msg import Bool, String
        from trajectory_msgs.msg import JointTrajectory

        from vla_agent.ros.messages.conversions import TRANSPORTS
        from vla_agent.ros.process.node_base import LATCHED

        newest = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        for topic in robot.joint_state_topics:
            node.create_subscription(JointState, topic, self._joint_state, newest)
        for topic in TRAJECTORIES:
            node.create_subscription(JointTrajectory, topic, partial(self._trajectory, topic), newest)
        for qos in (newest, LATCHED):  # an instruction may latch or not
            node.create_subscription(String, "instruction", partial(self._text, "instruction"), qos)
        for topic in TEXTS:
            node.create_subscription(String, topic, partial(self._text, topic), LATCHED)
        for topic in SWITCHES:
            node.create_subscription(Bool, topic, partial(self._switch, topic), LATCHED)
        for camera in robot.cameras:
            transport = self._cameras[camera.name] = TRANSPORTS[camera.transport]
            take = partial(self._image, camera.name)
            node.create_subscription(transport.message, camera.image_topic, take, newest, raw=True)

    def read(self, spin_once: Any) -> bool:
        """Take what has come; whether anything has.  ``spin_once()``: runs callbacks, a millisecond long."""
        before = self._total
        for _ in range(MOST):
            taken = self._total
            spin_once()
            if self._total == taken:
                break
        self._decode()
        return self._total != before

    @property
    def _total(self) -> int:
        return self._taken + self.diagnostics.count

    def _note(self, topic: str) -> None:
        self.counts[topic] = self.counts.get(topic, 0) + 1
        self._taken += 1
        self.heard = time.time()

    def _joint_state(self, message: Any) -> None:
        self._note("joint_states")
        try:
            part = self._reader.read(message)
        except ObservationError as error:
            self.problem = f"joint states: {error.what}: {error.found}"
            return
        if part is not None:
            self.problem = ""
            self.joints |= {self._reader.names[k]: float(p) for k, p in zip(part.key, part.positions, strict=True)}

    def _trajectory(self, topic: str, message: Any) -> None:
        self._note(topic)
        names = tuple(message.joint_names)
        if max(len(names), len(message.points)) > POINTS:
            self.problem = f"{topic}: {len(names)} names, {len(message.points)} points; at most {POINTS} are read"
            return
        rows = [point.positions for point in message.points if len(point.positions) == len(names)]
        self.trajectories[topic] = names, np.array(rows, np.float64).reshape(len(rows), len(names))

    def _text(self, topic: str, message: Any) -> None:
        self._note(topic)
        self.texts[topic] = message.data

    def _switch(self, topic: str, message: Any) -> None:
        self._note(topic)
        self.switches[topic] = bool(message.data)

    def _image(self, camera: str, message: bytes) -> None:
        self._note(f"camera {camera}")
        self._waiting[camera] = message

    def _decode(self) -> None:
        """Decode the images that wait, each camera's at most `IMAGES` times a second."""
        from rclpy.serialization import deserialize_message

        now = time.monotonic()
        for camera in [name for name in self._waiting if now - self._decoded.get(name, 0.0) >= 1 / IMAGES]:
            transport, self._decoded[camera] = self._cameras[camera], now
            try:
                pixels = transport.read(deserialize_message(self._waiting.pop(camera), transport.message))
            except ObservationError as error:
                self.problem = f"camera {camera}: {error.what}: {error.found}"
                continue
            self.images[camera] = reduced(pixels)


def reduced(pixels: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) uint8 with no side longer than `SIDE`."""
    longest = max(pixels.shape[:2])
    if longest <= SIDE:
        return np.ascontiguousarray(pixels)
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(picture)
