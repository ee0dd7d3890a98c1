"""A process that publishes as a robot's and its cameras' drivers do, for `robots-feed`: a cell of `feed_cells`.

``python -m benchmarks.robots.feed_driver HZ DELAY SPLIT WIDTHxHEIGHT ENCODING SECONDS``
"""

from __future__ import annotations

import array
import signal
import sys
import time
from collections import deque
from typing import Any

from benchmarks.robots.feed_cells import ARM, CAMERA_HZ, COMPRESSED, FRAMES, GRIPPER, GRIPPER_HZ, ROBOT, Cell
from benchmarks.robots.feed_cells import image_message as plain_image


def arguments(cell: Cell, seconds: float) -> list[str]:
    """Words of the command line."""
    width, height = cell.size
    return [*map(str, (cell.hz, cell.delay, int(cell.split))), f"{width}x{height}", cell.encoding, str(seconds)]


def from_arguments(words: list[str]) -> tuple[Cell, float]:
    """The other way round."""
    hz, delay, split, size, encoding, seconds = words
    width, height = map(int, size.split("x"))
    return Cell(float(hz), float(delay), split == "1", (width, height), encoding), float(seconds)


class Driver:
    """Publishes a cell's messages until the time is over."""

    def __init__(self, cell: Cell) -> None:
        import rclpy
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import CompressedImage, Image, JointState

        self._cell, self._make_state = cell, JointState
        self.node: Any = rclpy.create_node("feed_driver")
        self._joints = self.node.create_publisher(JointState, str(ROBOT.joint_states), 10)
        compressed = cell.encoding in COMPRESSED
        reliable = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        kind, suffix = (CompressedImage, "/compressed") if compressed else (Image, "")
        self._cameras = [self.node.create_publisher(kind, c.topic + suffix, reliable) for c in ROBOT.cameras]
        self._images = []
        for seed in range(FRAMES):
            fields = vars(plain_image(cell.encoding, cell.size, seed))
            data = array.array("B", fields.pop("data"))
            self._images.append(kind(**fields, data=data))
        self._waiting: deque[tuple[float, int]] = deque()  # images under way: stamp, number
        self.ended = False

    def run(self, seconds: float) -> None:
        """Publish for so long."""
        cell, began = self._cell, time.time()
        counts = {"arm": 0, "gripper": 0, "camera": 0}
        while (now := time.time()) < began + seconds and not self.ended:
            while now >= (due := began + counts["arm"] / cell.hz):
                counts["arm"] += 1
                self._publish_joints(ARM if cell.split else (GRIPPER, *ARM[::-1]), due)
            while cell.split and now >= (due := began + counts["gripper"] / GRIPPER_HZ):
                counts["gripper"] += 1
                self._publish_joints((GRIPPER,), due)
            if now >= began + counts["camera"] / CAMERA_HZ:
                self._waiting.append((now, counts["camera"]))
                counts["camera"] += 1
            while self._waiting and now >= self._waiting[0][0] + cell.delay:
                self._publish_images(*self._waiting.popleft())
            time.sleep(0.0005)

    def _publish_joints(self, names: tuple[str, ...], now: float) -> None:
        home = dict(zip(ARM, ROBOT.home, strict=True))
        message = self._make_state(name=list(names), position=array.array("d", [home.get(n, 0.0) for n in names]))
        self._stamp(message, now)
        self._joints.publish(message)

    def _publish_images(self, stamp: float, number: int) -> None:
        message = self._images[number % FRAMES]
        self._stamp(message, stamp)
        for camera in self._cameras:
            camera.publish(message)

    def _stamp(self, message: Any, seconds: float) -> None:
        nanoseconds = round(seconds * 1e9)
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(nanoseconds, 10**9)


def main() -> None:
    """Publish, then end, at SIGTERM at once."""
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    cell, seconds = from_arguments(sys.argv[1:])
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    driver = Driver(cell)
    signal.signal(signal.SIGTERM, lambda *_: setattr(driver, "ended", True))
    driver.run(seconds)
    driver.node.destroy_node()
    rclpy.shutdown()


if __name__ == "__main__":
    main()
