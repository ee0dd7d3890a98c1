"""camera_node: pictures of every camera of the robot file, cropped and resized to the policy's size.

out: the cameras' images (Image, or CompressedImage where the robot file says so), camera_info beside those with a
  calibration, /diagnostics
parameters: robot, sources ("front=0,wrist=video.mp4": index or device of V4L2, URL, video or image file, or folder of
  images of each camera), image_size ([96, 96] height, width), rate (30.0, of a single image and of a folder's images),
  image_reliability
"""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import Any

from rclpy.qos import ReliabilityPolicy
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import CameraInfo

from vla_agent.errors import ObservationError, OptionError
from vla_agent.robot.cameras.camera_view import View
from vla_agent.robot.cameras.image_source import pictures
from vla_agent.robot.description import CameraSpec
from vla_agent.ros.messages import conversions
from vla_agent.ros.process.node_base import Node, Reporter, image_qos, robot_of, run
from vla_agent.ros.runtime.large_images import LOSS, lost


def read_sources(text: str, cameras: list[str]) -> dict[str, str]:
    """``front=0,wrist=file.mp4`` -> camera -> source.

    Raises:
        OptionError: a camera of the robot is missing, or one is named that it has not.
    """
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    sources = {name.strip(): source.strip() for name, _, source in pairs}
    if set(sources) != set(cameras) or not all(sources.values()):
        raise OptionError(
            "the cameras' sources are not those of the robot",
            key="sources",
            expected=",".join(f"{camera}=SOURCE" for camera in cameras),
            found=text or "nothing",
            remedy="name for each camera an index, a device, a URL or a file",
        )
    return sources


class CameraNode(Node):
    """See the module.  Each camera has a thread of its own."""

    def __init__(self) -> None:
        super().__init__("camera_node")
        robot, qos = robot_of(self), image_qos(self)
        text = str(self.declare_parameter("sources", "").value)
        size: list[int] = self.declare_parameter("image_size", [96, 96]).value
        self._rate = float(self.declare_parameter("rate", 30.0).value)
        sources = read_sources(text, [camera.name for camera in robot.cameras])
        views = {camera.name: View(camera, (int(size[0]), int(size[1]))) for camera in robot.cameras}
        self._reporter = Reporter(self)
        self._ending = False
        self._reliable = qos.reliability == ReliabilityPolicy.RELIABLE
        self._counts = dict.fromkeys(sources, 0)
        self._bytes = dict.fromkeys(sources, 0)  # of the last picture
        self._problems = dict.fromkeys(sources, "has given no picture yet")
        self._threads = []
        for camera in robot.cameras:
            images: Any = self.create_publisher(
                conversions.TRANSPORTS[camera.transport].message, camera.image_topic, qos
            )
            calibrated = views[camera.name].calibration is not None
            infos = self.create_publisher(CameraInfo, camera.info_topic, qos) if calibrated else None
            work = partial(self._work, camera, sources[camera.name], views[camera.name], images, infos)
            self._threads.append(threading.Thread(target=work, daemon=True))
            self._threads[-1].start()
        self._since = time.monotonic()
        self.create_timer(1.0, self._report)

    def _work(self, camera: CameraSpec, source: str, view: View, images: Any, infos: Any) -> None:
        write = conversions.TRANSPORTS[camera.transport].write
        for picture in pictures(source, self._rate):
            if self._ending:
                return
            stamp = self.get_clock().now().nanoseconds * 1e-9
            try:
                seen = picture if isinstance(picture, str) else view(picture)
            except ObservationError as error:
                seen = error.what
            if isinstance(seen, str):
                self._problems[camera.name] = seen
                continue
            message = write(seen, stamp, camera.frame)
            images.publish(message)
            if view.calibration is not None:
                infos.publish(conversions.info_message(view.calibration, stamp, camera.frame))
            self._problems[camera.name] = ""
            self._bytes[camera.name] = len(message.data)
            self._counts[camera.name] += 1

    def _report(self) -> None:
        now = time.monotonic()
        rates = {f"{name} Hz": f"{count / (now - self._since):.1f}" for name, count in self._counts.items()}
        self._counts, self._since = dict.fromkeys(self._counts, 0), now
        wrong = "; ".join(f"{name} {problem}" for name, problem in self._problems.items() if problem)
        middleware = get_rmw_implementation_identifier()
        large = [name for name, size in self._bytes.items() if lost(size, self._reliable, middleware)]
        if wrong or not large:
            self._reporter.report("error" if wrong else "ok", wrong or "publishing", **rates)
        else:
            self._reporter.report("warn", f"publishing, but {', '.join(large)} may not arrive: {LOSS}", **rates)

    def final(self) -> None:
        """Before the process ends."""
        self._ending = True
        for thread in self._threads:
            thread.join(0.2)


def main() -> None:
    """Run the node; see `nodes.start`."""
    run(CameraNode)
