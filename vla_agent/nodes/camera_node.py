"""camera_node: pictures of every camera of the robot file, cropped and resized to the policy's size.

out: the cameras' images (robot file), /diagnostics
parameters: robot, sources ("front=0,wrist=video.mp4": index or device of V4L2, URL, video or image file of each
  camera), image_size ([96, 96] height, width), rate (30.0, of a single image), image_reliability
"""

from __future__ import annotations

import threading
import time
from functools import partial

from sensor_msgs.msg import Image

from vla_agent.errors import OptionError
from vla_agent.nodes import messages
from vla_agent.nodes.process import Node, Reporter, image_qos, robot_of, run
from vla_agent.runtime.camera import fit, pictures


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
        self._size, self._rate = (int(size[0]), int(size[1])), float(self.declare_parameter("rate", 30.0).value)
        sources = read_sources(text, [camera.name for camera in robot.cameras])
        self._reporter = Reporter(self)
        self._ending = False
        self._counts = dict.fromkeys(sources, 0)
        self._problems = dict.fromkeys(sources, "has given no picture yet")
        self._threads = []
        for camera in robot.cameras:
            publish = self.create_publisher(Image, camera.topic, qos).publish
            work = partial(self._work, camera.name, sources[camera.name], camera.frame, publish)
            self._threads.append(threading.Thread(target=work, daemon=True))
            self._threads[-1].start()
        self._since = time.monotonic()
        self.create_timer(1.0, self._report)

    def _work(self, name: str, source: str, frame: str, publish) -> None:  # noqa: ANN001 - a bound method
        for picture in pictures(source, self._rate):
            if self._ending:
                return
            if isinstance(picture, str):
                self._problems[name] = picture
                continue
            stamp = self.get_clock().now().nanoseconds * 1e-9
            publish(messages.image_message(fit(picture, self._size), stamp, frame))
            self._problems[name] = ""
            self._counts[name] += 1

    def _report(self) -> None:
        now = time.monotonic()
        rates = {f"{name} Hz": f"{count / (now - self._since):.1f}" for name, count in self._counts.items()}
        self._counts, self._since = dict.fromkeys(self._counts, 0), now
        wrong = "; ".join(f"{name} {problem}" for name, problem in self._problems.items() if problem)
        self._reporter.report("error" if wrong else "ok", wrong or "publishing", **rates)

    def final(self) -> None:
        """Before the process ends."""
        self._ending = True
        for thread in self._threads:
            thread.join(0.2)


def main() -> None:
    """Run the node; see `nodes.start`."""
    run(CameraNode)
