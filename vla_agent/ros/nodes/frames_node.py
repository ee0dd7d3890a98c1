"""frames_node: publishes the robot's links, its end effector and its cameras as TF, from the robot file and its model.

in:  joint_states; /tf and /tf_static: a frame that another node publishes, such as robot_state_publisher, is left to it
out: /tf (links that joints move), /tf_static (latched: what is fixed, cameras included), /diagnostics
parameters: see `ros.process.node_parameters` or `frames_node --help`

Needs tf2_msgs.  A link whose joint no joint state names is not published.
"""

from __future__ import annotations

from typing import Any

from geometry_msgs.msg import TransformStamped
from rclpy.clock import Clock, ClockType
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import JointState

from vla_agent.errors import NodeError
from vla_agent.robot.description import load_robot
from vla_agent.robot.frames import Frame, FrameTree
from vla_agent.ros.process.node_base import SENSORS, Node, StatusReporter, declare_parameters, run
from vla_agent.ros.runtime.foreign_frames import ForeignFrames

LISTEN = 1.5  # seconds in which other publishers are heard before this node publishes
MOVING = QoSProfile(depth=100)
FIXED = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def tf_message() -> Any:
    """The class tf2_msgs.msg.TFMessage.

    Raises:
        NodeError: tf2_msgs is not installed.
    """
    try:
        from tf2_msgs.msg import TFMessage
    except ImportError as error:
        raise NodeError(
            "tf2_msgs is not installed",
            key="tf2_msgs",
            expected="the message type of /tf",
            found=str(error),
            remedy="install ros-$ROS_DISTRO-tf2-msgs, or leave this node out: without:=frames_node",
        ) from error
    return TFMessage


class FramesNode(Node):
    """See the module."""

    def __init__(self) -> None:
        super().__init__("frames_node")
        values = declare_parameters(self, "frames_node")
        self._robot = load_robot(values["robot"])
        self._message = tf_message()
        self._tree = FrameTree(self._robot)
        self._prefix, self._least = str(values["frame_prefix"]), 1.0 / float(values["rate"])
        self._others = ForeignFrames()
        self._positions: dict[str, float] = {}
        self._at = -1.0  # seconds, of the newest joint state that was published
        self._count = 0
        self._ready = False
        self._reporter = StatusReporter(self)
        self._moving = self.create_publisher(self._message, "/tf", MOVING)
        self._fixed = self.create_publisher(
            self._message, "/tf_static", QoSProfile(depth=1, durability=FIXED.durability)
        )
        self.create_subscription(self._message, "/tf", self._hear, MOVING)
        self.create_subscription(self._message, "/tf_static", self._hear, FIXED)
        for topic in self._robot.joint_state_topics:
            self.create_subscription(JointState, topic, self._state, SENSORS)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._start = self.create_timer(LISTEN, self._begin, clock=steady)
        self.create_timer(1.0, self._report, clock=steady)

    def _hear(self, message: Any) -> None:
        new = False
        for transform in message.transforms:
            stamp = (transform.header.stamp.sec, transform.header.stamp.nanosec)
            new |= self._others.heard(stamp, transform.header.frame_id, transform.child_frame_id)
        if new and self._ready:
            self._publish_fixed()

    def _begin(self) -> None:
        self._start.cancel()
        self._ready = True
        self._publish_fixed()

    def _publish_fixed(self) -> None:
        """All fixed frames in one message: it is latched, and replaces the one before."""
        self._fixed.publish(self._of(self._tree.fixed, self.get_clock().now().to_msg()))

    def _state(self, message: JointState) -> None:
        self._positions.update(zip(message.name, message.position, strict=False))
        stamp = message.header.stamp
        now = stamp.sec + 1e-9 * stamp.nanosec
        if self._ready and (now - self._at >= self._least or now < self._at):
            self._at = now
            self._moving.publish(self._of(self._tree.moving(self._positions), stamp))

    def _of(self, frames: list[Frame], stamp: Any) -> Any:
        """The message with all frames that nobody else publishes."""
        transforms = []
        for frame in frames:
            parent, child = self._prefix + frame.parent, self._prefix + frame.child
            if self._others.gives(parent, child):
                continue
            self._others.sent((stamp.sec, stamp.nanosec), child)
            transforms.append(_transform(frame, parent, child, stamp))
        self._count = len(transforms)
        return self._message(transforms=transforms)

    def _report(self) -> None:
        waiting = "" if self._positions else "waiting for joint states"
        given = [name for name in self._others.parents if name.startswith(self._prefix)]
        self._reporter.report("ok", waiting or "publishing frames", frames=self._count, others=len(given))


def _transform(frame: Frame, parent: str, child: str, stamp: Any) -> TransformStamped:
    message = TransformStamped(child_frame_id=child)
    message.header.stamp, message.header.frame_id = stamp, parent
    place, turn = message.transform.translation, message.transform.rotation
    place.x, place.y, place.z = map(float, frame.position)
    turn.w, turn.x, turn.y, turn.z = map(float, frame.quaternion)
    return message


def main() -> None:
    """Run the node; see `ros.process.start`."""
    run(FramesNode)
