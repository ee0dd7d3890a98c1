"""Camera images on their way to the policy: source, crop, calibration, transport, arrival."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

from vla_agent.errors import ObservationError, RobotError
from vla_agent.robot.cameras.calibration import read_calibration
from vla_agent.robot.cameras.camera_view import CameraView
from vla_agent.robot.cameras.image_messages import compressed_pixels
from vla_agent.robot.cameras.image_source import read_images
from vla_agent.robot.description import CameraSpec, load_robot
from vla_agent.ros.process.graph_processes import node_environment, parameter_arguments
from vla_agent.ros.runtime.large_images import PROFILE, loses_large_images
from vla_agent.ros.runtime.topic_monitor import TopicMonitor

ROOT = Path(__file__).parents[2]
PATIENCE = float(os.environ.get("VLA_AGENT_PATIENCE", "240"))
WIDE, HIGH = 160, 120
K = [150.0, 0.0, 81.0, 0.0, 152.0, 58.0, 0.0, 0.0, 1.0]
P = [140.0, 0.0, 80.0, -7.0, 0.0, 141.0, 60.0, 0.0, 0.0, 0.0, 1.0, 0.0]
D = [-0.28, 0.09, 0.002, -0.001, -0.01]


def calibrated(folder, **changes):
    """A file as camera_calibration writes it."""
    keys = {
        "image_width": WIDE,
        "image_height": HIGH,
        "camera_name": "front",
        "camera_matrix": {"rows": 3, "cols": 3, "data": K},
        "distortion_model": "plumb_bob",
        "distortion_coefficients": {"rows": 1, "cols": 5, "data": D},
        "rectification_matrix": {"rows": 3, "cols": 3, "data": np.eye(3).ravel().tolist()},
        "projection_matrix": {"rows": 3, "cols": 4, "data": P},
    }
    file = folder / "front.yaml"
    with file.open("w") as out:
        YAML(typ="safe").dump({key: value for key, value in (keys | changes).items() if value is not None}, out)
    return str(file)


def camera(**more) -> CameraSpec:
    return CameraSpec(name="front", topic="camera/front/image", frame="camera_front", **more)


def spot(at: tuple[float, float], radius: float = 4.0) -> np.ndarray:
    """(HIGH, WIDE, 3) uint8: a round light around the pixel (u, v)."""
    v, u = np.mgrid[:HIGH, :WIDE]
    light = 255 * np.exp(-((u - at[0]) ** 2 + (v - at[1]) ** 2) / (2 * radius**2))
    return np.repeat(light[..., None], 3, axis=2).astype(np.uint8)


def centre(image: np.ndarray) -> tuple[float, float]:
    """(u, v) of the light's centre of mass."""
    light = image[..., 0].astype(np.float64)
    v, u = np.mgrid[: light.shape[0], : light.shape[1]]
    return float((light * u).sum() / light.sum()), float((light * v).sum() / light.sum())


def seen_by_the_lens(point: np.ndarray) -> tuple[float, float]:
    """Pixel of a point (3,) in the distorted image, as the definition of plumb_bob."""
    x, y = point[:2] / point[2]
    k1, k2, p1, p2, k3 = D
    r2 = x**2 + y**2
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    x, y = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x**2), y * radial + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y
    return K[0] * x + K[2], K[4] * y + K[5]


POINT = np.array([0.16, -0.1, 1.0])


@pytest.mark.parametrize("crop", [None, (40, 8, 100, 80)])
@pytest.mark.parametrize("size", [(60, 60), (40, 100), (150, 150)])
def test_the_published_calibration_is_that_of_the_cropped_image(tmp_path, crop, size):
    """A point is where K says, after crop and resize, up or down."""
    file = calibrated(tmp_path, distortion_coefficients={"data": [0.0] * 5})
    view = CameraView(camera(calibration=file, crop=crop), size)
    image = view(spot((K[0] * POINT[0] + K[2], K[4] * POINT[1] + K[5])))
    assert image.shape == (*size, 3) and (view.calibration.height, view.calibration.width) == size
    u, v, _ = view.calibration.camera @ POINT
    assert np.allclose(centre(image), (u, v), atol=0.3)


@pytest.mark.parametrize("crop", [None, (40, 8, 100, 80)])
@pytest.mark.parametrize("size", [(60, 60), (150, 150)])
def test_a_rectified_image_has_a_straight_lens(tmp_path, crop, size):
    """A point that the lens has moved is where P says."""
    view = CameraView(camera(calibration=calibrated(tmp_path), rectify=True, crop=crop), size)
    rectified = view.calibration
    u, v, _ = rectified.camera @ POINT
    assert np.allclose(centre(view(spot(seen_by_the_lens(POINT)))), (u, v), atol=0.3)
    assert not rectified.coefficients.any() and np.allclose(rectified.projection[:, :3], rectified.camera)
    plain = CameraView(camera(calibration=calibrated(tmp_path), crop=crop), size)
    assert plain.calibration.coefficients.tolist() == D and np.allclose(
        plain.calibration.projection, rectified.projection
    )


def test_a_straight_lens_is_rectified_to_the_same_image(tmp_path):
    flat = {"data": [*K[:3], 0.0, *K[3:6], 0.0, *K[6:], 0.0]}
    file = calibrated(tmp_path, distortion_coefficients={"data": [0.0] * 5}, projection_matrix=flat)
    pixels = np.random.default_rng(0).integers(0, 256, (HIGH, WIDE, 3), np.uint8)
    cut, rectified = (CameraView(camera(calibration=file, rectify=r), (40, 40))(pixels) for r in (False, True))
    assert np.abs(cut.astype(int) - rectified).max() <= 1


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"image_width": 0}, "image_width"),
        ({"camera_matrix": None}, "camera_matrix"),
        ({"camera_matrix": {"data": K[:8]}}, "8 numbers, not 9"),
        ({"camera_matrix": {"data": [0.0, *K[1:]]}}, "focal"),
        ({"projection_matrix": {"data": [float("nan"), *P[1:]]}}, "projection_matrix"),
        ({"distortion_coefficients": {"data": D[:4]}}, "4 numbers, not 5"),
        ({"rectification_matrix": {"data": [0.0] * 9}}, "not a rotation"),
    ],
)
def test_a_wrong_calibration_is_refused_before_anything_starts(tmp_path, changes, word):
    with pytest.raises(RobotError, match=word):
        read_calibration(calibrated(tmp_path, **changes))


def test_what_cannot_be_read_or_used_is_refused(tmp_path):
    broken = tmp_path / "broken.yaml"
    broken.write_text("image_width: [")
    with pytest.raises(RobotError, match="cannot be read"):
        CameraView(camera(calibration=str(broken)), (60, 60))
    with pytest.raises(RobotError, match="missing"):
        CameraView(camera(calibration=str(tmp_path / "none.yaml")), (60, 60))
    fisheye = calibrated(tmp_path, distortion_model="equidistant", distortion_coefficients={"data": D[:4]})
    CameraView(camera(calibration=fisheye), (60, 60))
    with pytest.raises(RobotError, match="distortion_model"):
        CameraView(camera(calibration=fisheye, rectify=True), (60, 60))
    with pytest.raises(RobotError, match="within 160 x 120"):
        CameraView(camera(calibration=calibrated(tmp_path), crop=(100, 0, 61, 60)), (60, 60))


def test_an_image_of_another_size_is_refused(tmp_path):
    calibration = CameraView(camera(calibration=calibrated(tmp_path)), (60, 60))
    with pytest.raises(ObservationError, match="gives 80 x 60, its calibration is for 160 x 120"):
        calibration(np.zeros((60, 80, 3), np.uint8))
    with pytest.raises(ObservationError, match="gives 80 x 60, which the crop 20, 0, 64, 60 exceeds"):
        CameraView(camera(crop=(20, 0, 64, 60)), (60, 60))(np.zeros((60, 80, 3), np.uint8))


def robot_file(folder, front: str):
    """The panda's file with these further keys of its front camera."""
    text = (ROOT / "config/robots/panda.yaml").read_text()
    old = "topic: camera/front/image, frame: camera_front"
    assert old in text
    file = folder / "mine.yaml"
    file.write_text(text.replace(old, f"{old}, {front}"))
    return file


def test_the_robots_file_says_how_its_cameras_are_read(tmp_path):
    calibrated(tmp_path)
    robot = load_robot(robot_file(tmp_path, "transport: compressed, calibration: front.yaml, crop: [0, 0, 90, 90]"))
    front, wrist = robot.cameras
    assert (front.image_topic, front.info_topic) == ("camera/front/image/compressed", "camera/front/camera_info")
    assert wrist.image_topic == "camera/wrist/image" and wrist.calibration is None
    assert CameraView(front, (96, 96)).calibration is not None, "the path is that beside the robot's file"
    for wrong, word in (
        ("rectify: true", "without a calibration"),
        ("transport: h264", "transport"),
        ("crop: [0, 0, 0, 9]", "crop.2"),
        ("crop: [-1, 0, 9, 9]", "crop.0"),
    ):
        with pytest.raises(RobotError, match=word):
            load_robot(robot_file(tmp_path, wrong))


def jpeg(pixels: np.ndarray, kind: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def test_compressed_images_are_read_and_damaged_ones_refused():
    pixels = spot((80, 60))
    for kind in ("JPEG", "PNG"):
        seen = compressed_pixels(SimpleNamespace(format=kind.lower(), data=jpeg(pixels, kind)))
        assert seen.shape == pixels.shape and np.abs(seen.astype(int) - pixels).max() <= (8 if kind == "JPEG" else 0)
    grey = compressed_pixels(SimpleNamespace(format="jpeg", data=jpeg(pixels[..., 0])))
    assert grey.shape == pixels.shape
    for data in (b"", b"no image", jpeg(pixels)[:300], jpeg(pixels, "BMP")):
        with pytest.raises(ObservationError, match="cannot be decoded"):
            compressed_pixels(SimpleNamespace(format="jpeg", data=data))


def test_a_folder_of_images_is_played_by_name_and_again(tmp_path):
    source = read_images(str(tmp_path), 500.0)
    assert "has no images" in next(source)
    for name, grey in (("b.png", 20), ("a.jpg", 10), ("d.png", 40)):
        Image.fromarray(np.full((4, 6, 3), grey, np.uint8)).save(tmp_path / name)
    (tmp_path / "c.png").write_bytes(b"no image")
    (tmp_path / "notes.txt").write_text("not an image either")
    shown = [next(source) for _ in range(5)]
    assert "cannot read c.png" in shown.pop(2)
    assert [int(image.mean()) for image in shown] == [10, 20, 40, 10]
    source.close()


def test_what_arrives_is_counted_and_what_does_not_is_explained():
    now = [0.0]
    monitor = TopicMonitor({"front": 20.0, "joint_states": 20.0}, 0.1, reliable=False, clock=lambda: now[0])
    monitor.note_publishers("front", ["driver"])
    assert not monitor.likely_cause("front"), "it may just have begun"
    monitor.note_publishers("front", ["driver"])
    assert "driver publishes" in monitor.likely_cause("front") and PROFILE in monitor.likely_cause("front")
    for k in range(40):
        monitor.count_received("front", 0.2 if k < 3 else 0.01, size=600_000)
    monitor.count_lost("front", 2)
    monitor.count_rejected("front")
    now[0] = 2.0
    monitor.update_rates()
    monitor.note_publishers("front", [])
    values = monitor.values()
    assert values["front Hz"] == "20.0" and values["joint_states Hz"] == "0.0"
    assert [values[f"front {kind}"] for kind in ("late", "lost", "refused")] == [3, 2, 1]
    assert not monitor.is_slow("front") and monitor.is_slow("joint_states")
    assert not monitor.likely_cause("front"), "the rate is as it should be"
    now[0] = 4.0
    monitor.update_rates()
    assert monitor.is_slow("front") and PROFILE in monitor.likely_cause("front")
    monitor.note_incompatible("front", "RELIABILITY", "publish reliably")
    assert "RELIABILITY: publish reliably" in monitor.likely_cause("front")
    monitor.count_received("front", 0.0, size=100)
    assert not monitor.likely_cause("front"), "it comes, and is small"


def test_large_best_effort_images_need_the_profile(monkeypatch):
    monkeypatch.delenv(PROFILE, raising=False)
    assert loses_large_images(900_000, False, "rmw_fastrtps_cpp")
    assert not loses_large_images(400_000, False, "rmw_fastrtps_cpp")
    assert not loses_large_images(900_000, True, "rmw_fastrtps_cpp")
    assert not loses_large_images(900_000, False, "rmw_cyclonedds_cpp")
    monkeypatch.setenv(PROFILE, "config/fastdds.xml")
    assert not loses_large_images(900_000, False, "rmw_fastrtps_cpp")


class Listener:
    """One or two of our nodes as processes in a domain of their own, and a node here that hears them."""

    def __init__(self, logs) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions

        os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 101)
        os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node("camera_listener")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.logs, self.processes = logs, []
        self.heard: dict[str, list] = {}
        self.statuses: dict[str, tuple[str, dict[str, str]]] = {}
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._status, 50)

    def __enter__(self) -> Listener:
        return self

    def start(self, executable: str, profile: bool = True, **values) -> None:
        words = [sys.executable, "-m", "vla_agent.ros.process.start", executable, "--ros-args"]
        env = node_environment()
        if not profile:
            env.pop(PROFILE, None)
        words += [word for name, value in values.items() for word in parameter_arguments(name, value)]
        log = (self.logs / f"{executable}.log").open("wb")
        self.processes.append(subprocess.Popen(words, env=env, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT))

    def hear(self, kind, topic: str) -> None:
        from vla_agent.ros.process.node_base import SENSORS

        self.heard[topic] = []
        self.node.create_subscription(kind, topic, self.heard[topic].append, SENSORS)

    def _status(self, message) -> None:
        for status in message.status:
            self.statuses[status.name] = status.message, {pair.key: pair.value for pair in status.values}

    def wait(self, until) -> bool:
        deadline = time.monotonic() + PATIENCE
        while not until() and time.monotonic() < deadline and not any(p.poll() for p in self.processes):
            self.executor.spin_once(timeout_sec=0.1)
        return until()

    @property
    def state(self) -> str:
        return f"{self.statuses} " + "".join(log.read_text()[-2000:] for log in self.logs.glob("*.log"))

    def __exit__(self, *_) -> None:
        import rclpy

        for process in self.processes:
            process.send_signal(signal.SIGINT)
        self.codes = [process.wait(PATIENCE) for process in self.processes]
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown()


def test_a_camera_nodes_compressed_stream_and_its_calibration_are_heard(tmp_path):
    """A folder of images through a real process: JPEG in the contract's size, camera_info with the same stamps."""
    pytest.importorskip("rclpy")
    from sensor_msgs.msg import CameraInfo, CompressedImage
    from sensor_msgs.msg import Image as Raw

    calibrated(tmp_path)
    robot = robot_file(tmp_path, "transport: compressed, calibration: front.yaml, crop: [20, 0, 120, 120]")
    shots = tmp_path / "shots"
    shots.mkdir()
    for k in range(3):
        Image.fromarray(np.full((HIGH, WIDE, 3), 60 * k, np.uint8)).save(shots / f"{k}.png")
    sources = f"front={shots},wrist={shots}"
    with Listener(tmp_path) as graph:
        topics = ("camera/front/image/compressed", "camera/front/camera_info", "camera/wrist/image")
        for topic, kind in zip(topics, (CompressedImage, CameraInfo, Raw), strict=True):
            graph.hear(kind, topic)
        graph.start("camera_node", robot=str(robot), sources=sources, rate=20.0)
        assert graph.wait(lambda: all(len(heard) >= 8 for heard in graph.heard.values())), graph.state
    seen, infos, raw = (graph.heard[topic] for topic in topics)
    greys = {round(float(compressed_pixels(message).mean()) / 60) for message in seen}
    assert greys == {0, 1, 2} and compressed_pixels(seen[0]).shape == (96, 96, 3)
    assert {message.format for message in seen} == {"jpeg"} and raw[0].encoding == "rgb8"
    stamps = [{(m.header.stamp.sec, m.header.stamp.nanosec) for m in kind} for kind in (seen, infos)]
    assert len(stamps[0] & stamps[1]) >= 5 and {m.header.frame_id for m in (*seen, *infos)} == {"camera_front"}
    assert (infos[0].width, infos[0].height, infos[0].distortion_model) == (96, 96, "plumb_bob")
    assert np.allclose(infos[0].k[2], (K[2] - 20 + 0.5) * 0.8 - 0.5) and np.allclose(infos[0].d, D)
    assert graph.codes == [0]


def test_the_simulated_robot_compresses_where_the_robot_file_says_so(tmp_path):
    pytest.importorskip("rclpy")
    from sensor_msgs.msg import CompressedImage

    topic = "camera/front/image/compressed"
    with Listener(tmp_path) as graph:
        graph.hear(CompressedImage, topic)
        graph.start("sim_robot_node", robot=str(robot_file(tmp_path, "transport: compressed")), real_time_factor=0.2)
        assert graph.wait(lambda: len(graph.heard[topic]) > 2), graph.state
    assert compressed_pixels(graph.heard[topic][0]).std() > 5


def test_a_policy_node_takes_compressed_images_and_reports_why_others_do_not_come(tmp_path):
    """Incompatible QoS is reported, and large images without the profile; images that arrive are counted."""
    pytest.importorskip("rclpy")
    pytest.importorskip("websockets")
    from benchmarks.ros.ros_policy import Swing

    robot = robot_file(tmp_path, "transport: compressed")
    Image.fromarray(spot((80, 60))).save(tmp_path / "a.png")
    sources = f"front={tmp_path}/a.png,wrist={tmp_path}/a.png"
    with Swing().served() as server, Listener(tmp_path) as graph:
        graph.start("camera_node", profile=False, robot=str(robot), sources=sources, image_size=[480, 480])
        assert graph.wait(lambda: "wrist may not arrive" in graph.statuses.get("camera_node", ("",))[0]), graph.state
        graph.start("policy_node", robot=str(robot), policy=server.url, image_reliability="reliable")
        assert graph.wait(lambda: "RELIABILITY" in graph.statuses.get("policy_node", ("",))[0]), graph.state
        message, _ = graph.statuses["policy_node"]
        assert "wrist" in message and "image_reliability:=best_effort" in message
    with Swing().served() as server, Listener(tmp_path) as graph:
        graph.start("camera_node", robot=str(robot), sources=sources)
        graph.start("policy_node", robot=str(robot), policy=server.url)

        def counted() -> bool:
            values = graph.statuses.get("policy_node", ("", {}))[1]
            return float(values.get("front Hz", 0)) > 5 and values["front refused"] == "0"

        assert graph.wait(counted), graph.state
