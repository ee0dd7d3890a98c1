"""What the policy node sees: subscriptions of images, joint states and TF, read into an `ObservationBuffer`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState

from vla_agent.contract import Contract
from vla_agent.errors import ObservationError
from vla_agent.robot.cameras.topic_view import TopicView
from vla_agent.robot.description import Robot
from vla_agent.robot.frame_check import FrameCheck
from vla_agent.robot.joint_states import JointReader
from vla_agent.ros.messages import conversions
from vla_agent.ros.process.node_base import JOINT_STATES, ControlClock, create_monitored_subscription
from vla_agent.ros.runtime.observations import ObservationBuffer
from vla_agent.ros.runtime.topic_monitor import TopicMonitor

JOINTS = "joint_states"
MOVING = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
FIXED = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@dataclass(frozen=True)
class InputSettings:
    """``qos``: of the images; ``max_delay``: of an image, seconds; ``factor``: control seconds in one second."""

    qos: QoSProfile
    max_delay: float
    factor: float


class PolicyInputs:
    """Subscribes when it is made, until `close`.

    ``warning``: images that come too rarely, and the likely cause; frames that TF does not have, once.

    Args:
        node: the policy node.
        robot: its topics and frames.
        contract: the policy's.
        buffer: gets what can be read.
        settings: see `InputSettings`.
        on_image: called after each image.

    Raises:
        RobotError: a camera's calibration cannot be used.
    """

    def __init__(
        self,
        node: Any,
        robot: Robot,
        contract: Contract,
        buffer: ObservationBuffer,
        settings: InputSettings,
        on_image: Callable[[], None],
    ) -> None:
        self._node, self._buffer, self._on_image = node, buffer, on_image
        self.warning = ""
        self._joints = JointReader([*robot.joint_names, robot.gripper.joint])
        rates = {camera.name: camera.hz or contract.control_hz for camera in contract.cameras}
        self._monitor = TopicMonitor(
            rates | {JOINTS: robot.control_hz},
            settings.max_delay,
            settings.qos.reliability == ReliabilityPolicy.RELIABLE,
            ControlClock(settings.factor),
        )
        sizes = {camera.name: (camera.height, camera.width) for camera in contract.cameras}
        cameras = [camera for camera in robot.cameras if camera.name in sizes]
        self.views = {
            camera.name: TopicView(camera, sizes[camera.name], conversions.TRANSPORTS[camera.transport].read)
            for camera in cameras
        }
        self._images: dict[str, Any] = {}
        for camera in cameras:
            kind, take = conversions.TRANSPORTS[camera.transport].message, partial(self._image, camera.name)
            self._images[camera.name] = self._listen(camera.name, kind, camera.image_topic, take, settings.qos)
        self._others = [
            self._listen(JOINTS, JointState, topic, self._state, JOINT_STATES) for topic in robot.joint_state_topics
        ]
        self._frames = FrameCheck([robot.base_frame, *(camera.frame for camera in cameras)])
        self._of_frames = self._listen_to_frames()

    def close(self) -> None:
        """End all subscriptions."""
        self._forget_frames()
        for subscription in (*self._images.values(), *self._others):
            self._node.destroy_subscription(subscription)
        self._images.clear()
        self._others.clear()

    def values(self) -> dict[str, object]:
        """Rates and counts for /diagnostics."""
        return self._monitor.values()

    def update(self) -> None:
        """Once a second of control time: message rates, why images do not come, and frames that are missing."""
        monitor, warnings = self._monitor, []
        monitor.update_rates()
        for name, subscription in self._images.items():
            slow = monitor.is_slow(name)
            publishers = self._node.get_publishers_info_by_topic(subscription.topic_name) if slow else []
            monitor.note_publishers(name, [publisher.node_name for publisher in publishers])
            cause = monitor.likely_cause(name)
            self._buffer.explain(name, cause)
            if slow and cause:
                warnings.append(f"{name} comes too rarely: {cause}")
        if missing := self._frames.report(time.monotonic()):
            warnings.append(missing)
        if self._frames.done:
            self._forget_frames()
        self.warning = "; ".join(warnings)

    # -- messages ------------------------------------------------------------------------------------------------

    def _listen(self, name: str, kind: type, topic: str, take: Callable[[Any], None], qos: QoSProfile) -> Any:
        monitor = self._monitor
        lost, incompatible = partial(monitor.count_lost, name), partial(monitor.note_incompatible, name)
        return create_monitored_subscription(self._node, kind, topic, take, qos, lost, incompatible)

    def _image(self, name: str, message: Any) -> None:
        stamp, arrived = self._count(name, message, len(message.data))
        try:
            pixels = self.views[name](message)
        except ObservationError as error:
            self._reject(name, error)
            return
        self._buffer.add_image(name, pixels, stamp, arrived)
        self._on_image()  # the observation may be complete now

    def _state(self, message: JointState) -> None:
        self._count(JOINTS, message)
        try:
            part = self._joints.read(message)
        except ObservationError as error:
            self._reject(JOINTS, error)
            return
        if part is not None:
            self._buffer.add_part(part)

    def _count(self, name: str, message: Any, size: int = 0) -> tuple[float, float]:
        """Count a message; returns its stamp and when it arrived, in seconds."""
        stamp, now = conversions.to_seconds(message.header.stamp), self._node.get_clock().now().nanoseconds * 1e-9
        self._monitor.count_received(name, now - stamp, size)
        return stamp, now

    def _reject(self, name: str, error: ObservationError) -> None:
        self._monitor.count_rejected(name)
        self._buffer.reject(name, f"cannot be read: {error.what}, {error.key} {error.found}")

    # -- TF --------------------------------------------------------------------------------------------------------

    def _listen_to_frames(self) -> list[Any]:
        """Subscriptions of TF; none where its message type is not installed."""
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError:
            return []
        listen = self._node.create_subscription
        return [listen(TFMessage, topic, self._hear, qos) for topic, qos in (("/tf", MOVING), ("/tf_static", FIXED))]

    def _hear(self, message: Any) -> None:
        if not self._frames.done:
            names = [name for t in message.transforms for name in (t.header.frame_id, t.child_frame_id)]
            self._frames.hear(names, time.monotonic())

    def _forget_frames(self) -> None:
        for subscription in self._of_frames:
            self._node.destroy_subscription(subscription)
        self._of_frames.clear()
