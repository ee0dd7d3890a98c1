"""camera_node: images of every camera in the robot file, cropped and resized to the policy's size.

out: the cameras' images (Image, or CompressedImage where the robot file says so), camera_info beside those with a
  calibration, /diagnostics
parameters: see `ros.process.node_parameters` or `camera_node --help`
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
from vla_agent.robot.cameras.camera_view import CameraView
from vla_agent.robot.cameras.image_source import read_images
from vla_agent.robot.description import CameraSpec, load_robot
from vla_agent.ros.messages import conversions
from vla_agent.ros.process.node_base import Node, StatusReporter, declare_parameters, image_qos, run
from vla_agent.ros.runtime.large_images import LOSS, loses_large_images


def read_sources(text: str, cameras: list[str]) -> dict[str, str]:
    """``front=0,wrist=file.mp4`` -> camera -> source.

    Raises:
        OptionError: a camera of the robot is missing, or unknown.
    """
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    sources = {name.strip(): source.strip() for name, _, source in pairs}
    if set(sources) != set(cameras) or not all(sources.values()):
        raise OptionError(
            "the sources do not fit the robot's cameras",
            key="sources",
            expected=",".join(f"{camera}=SOURCE" for camera in cameras),
            found=text or "nothing",
            remedy="give each camera an index, a device, a URL, a file or a folder",
        )
    return sources


class CameraNode(Node):
    """See the module.  Each camera has its own thread."""

    def __init__(self) -> None:
        super().__init__("camera_node")
        values = declare_parameters(self, "camera_node")
        robot, qos = load_robot(values["robot"]), image_qos(values)
        height, width = (int(size) for size in values["image_size"])
        self._rate = float(values["rate"])
        sources = read_sources(values["sources"], [camera.name for camera in robot.cameras])
        views = {camera.name: CameraView(camera, (height, width)) for camera in robot.cameras}
        self._reporter = StatusReporter(self)
        self._ending = False
        self._reliable = qos.reliability == ReliabilityPolicy.RELIABLE
        self._counts = dict.fromkeys(sources, 0)
        self._bytes = dict.fromkeys(sources, 0)  # of the last image
        self._problems = dict.fromkeys(sources, "has given no image yet")
        self._threads = []
        for camera in robot.cameras:
            images: Any = self.create_publisher(
                conversions.TRANSPORTS[camera.transport].message, camera.image_topic, qos
            )
            calibrated = views[camera.name].calibration is not None
            infos = self.create_publisher(CameraInfo, camera.info_topic, qos) if calibrated else None
            publish = partial(self._publish_images, camera, sources[camera.name], views[camera.name], images, infos)
            self._threads.append(threading.Thread(target=publish, daemon=True))
            self._threads[-1].start()
        self._since = time.monotonic()
        self.create_timer(1.0, self._report)

    def _publish_images(self, camera: CameraSpec, source: str, view: CameraView, images: Any, infos: Any) -> None:
        write = conversions.TRANSPORTS[camera.transport].write
        for image in read_images(source, self._rate):
            if self._ending:
                return
            stamp = self.get_clock().now().nanoseconds * 1e-9
            try:
                view_or_problem = image if isinstance(image, str) else view(image)
            except ObservationError as error:
                view_or_problem = error.what
            if isinstance(view_or_problem, str):
                self._problems[camera.name] = view_or_problem
                continue
            message = write(view_or_problem, stamp, camera.frame)
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
        large = [name for name, size in self._bytes.items() if loses_large_images(size, self._reliable, middleware)]
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
    """Run the node; see `ros.process.start`."""
    run(CameraNode)
