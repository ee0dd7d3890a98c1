"""The nodes beside what real drivers publish: messages of ROS 2 into policy, safety and controller node."""

from __future__ import annotations

import array
import io
import os
import time

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("websockets")

from PIL import Image as Picture  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.signals import SignalHandlerOptions  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image, JointState  # noqa: E402

from benchmarks.hardware.running_nodes import running  # noqa: E402
from benchmarks.ros.ros_graph import DOMAIN  # noqa: E402
from benchmarks.ros.ros_policy import Swing  # noqa: E402
from vla_agent.errors import ObservationError  # noqa: E402
from vla_agent.robot.description import load_robot, robot_folders  # noqa: E402
from vla_agent.ros.process.graph_processes import parameter_arguments  # noqa: E402
from vla_agent.ros.process.node_base import JOINT_STATES, SENSORS  # noqa: E402

PATIENCE = float(os.environ.get("VLA_AGENT_PATIENCE", "240"))
ROBOT = load_robot("panda")
PANDA = (robot_folders()[0] / "panda.yaml").read_text()
GRIPPER = ROBOT.gripper.joint
YUV = {"yuv422_yuy2": [81, 90, 81, 240], "yuv422": [90, 81, 240, 81]}  # red
COLOURS = {"rgb8": [255, 0, 0], "bgr8": [0, 0, 255], "bgra8": [0, 0, 255, 9], "rgba8": [255, 0, 0, 9], "mono8": [200]}


class Drivers:
    """A policy node, the publishers of a robot whose file has two topics of joint states, and the node's buffer."""

    def __init__(self, folder, url: str, transport: str = "raw") -> None:
        from vla_agent.ros.nodes.policy_node import PolicyNode

        text = PANDA
        text = text.replace("joint_states: joint_states", "joint_states: [/arm/joint_states, gripper/joint_states]")
        text = text.replace("topic: camera/front/image,", f"topic: /front/image, transport: {transport},")
        file = folder / "mine.yaml"
        file.write_text(text)
        given = {"robot": str(file), "policy": url, "max_age": 200.0, "max_delay": 10.0, "real_time": False}
        words = ["--ros-args", "--disable-rosout-logs", "-r", "__ns:=/cell"]
        words += [word for name, value in given.items() for word in parameter_arguments(name, value)]
        os.environ |= {"ROS_DOMAIN_ID": DOMAIN, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
        rclpy.init(args=words, signal_handler_options=SignalHandlerOptions.NO)
        self.policy = PolicyNode()
        self.node = rclpy.create_node("drivers", use_global_arguments=False)
        self.executor = SingleThreadedExecutor()
        for node in (self.policy, self.node):
            self.executor.add_node(node)
        kind, suffix = (CompressedImage, "/compressed") if transport == "compressed" else (Image, "")
        self.front = self.node.create_publisher(kind, f"/front/image{suffix}", SENSORS)
        self.wrist = self.node.create_publisher(Image, "/cell/camera/wrist/image", SENSORS)
        topics = {"arm": "/arm/joint_states", "gripper": "/cell/gripper/joint_states"}
        self.joints = {k: self.node.create_publisher(JointState, t, JOINT_STATES) for k, t in topics.items()}

    def publish(self, front: Image | CompressedImage, wrist: Image) -> None:
        """One message of each source, the gripper's a little before."""
        now = self.node.get_clock().now().nanoseconds
        arm = JointState(name=[*ROBOT.joint_names[::-1], "wheel"], position=[*ROBOT.home[::-1], float("nan")])
        gripper = JointState(name=[GRIPPER], position=[0.4], effort=[0.1])
        pairs = [(self.joints["gripper"], gripper), (self.joints["arm"], arm), (self.front, front), (self.wrist, wrist)]
        for publisher, message in pairs:
            at = now - (50_000_000 if message is gripper else 0)
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(at, 10**9)
            publisher.publish(message)

    def observe(self, front, wrist, another: bool = True) -> dict:
        """The next observation of the policy node's buffer; ``another``: after a new configuration of the node."""
        self.policy._buffer.clear()
        deadline, why = time.monotonic() + PATIENCE, ""
        while time.monotonic() < deadline:
            self.publish(front, wrist)
            until = time.monotonic() + 0.1
            while time.monotonic() < until:
                self.executor.spin_once(timeout_sec=0.02)
            try:
                return self.policy._buffer.observe(self.node.get_clock().now().nanoseconds * 1e-9).data
            except ObservationError as error:
                why = error.what
                if another and "have changed" in why:  # a message of before was still under way
                    self.forget_sizes()
                elif "cannot be read" in why:
                    break
        raise AssertionError(why)

    def forget_sizes(self) -> None:
        for view in self.policy._sensors.views.values():
            view._first = None

    def close(self) -> None:
        self.policy.final()
        self.executor.shutdown()
        for node in (self.policy, self.node):
            node.destroy_node()
        rclpy.try_shutdown()


def uniform(encoding: str, pixel: list[int], size: tuple[int, int] = (320, 240)) -> Image:
    """An image of one colour, rows padded."""
    width, height = size
    step = width * len(pixel) // (2 if encoding in YUV else 1) + 4
    row = np.zeros(step, np.uint8)
    row[:-4] = np.resize(pixel, step - 4)
    return Image(height=height, width=width, step=step, encoding=encoding, data=array.array("B", np.tile(row, height)))


@pytest.fixture
def server():
    with Swing().served() as served:
        yield served


def test_the_policy_node_reads_what_drivers_publish(server, tmp_path):
    """Arm and gripper on two topics, absolute and in the namespace; sizes and encodings; depth is refused."""
    drivers = Drivers(tmp_path, server.url)
    try:
        for encoding, pixel in (COLOURS | YUV).items():
            seen = drivers.observe(uniform(encoding, pixel), uniform("rgb8", [0, 255, 0], (480, 320)))
            expected = (200, 200, 200) if encoding == "mono8" else (255, 0, 0)
            assert np.abs(seen["images"]["front"].astype(int) - expected).max() <= 3, encoding
            assert (seen["images"]["wrist"] == (0, 255, 0)).all()
            assert seen["images"]["front"].shape == seen["images"]["wrist"].shape == (96, 96, 3)
            assert np.allclose(seen["state"][-7:], ROBOT.home) and seen["state"][9] == pytest.approx(0.5)
        with pytest.raises(AssertionError, match="have changed"):
            drivers.observe(uniform("rgb8", [255, 0, 0]), uniform("rgb8", [0, 255, 0], (480, 320)), another=False)
        with pytest.raises(AssertionError, match="no colours, encoding 16UC1: depth"):
            drivers.observe(uniform("16UC1", [1, 2]), uniform("rgb8", [0, 255, 0]))
    finally:
        drivers.close()


def test_the_policy_node_reads_the_transport_that_the_robot_file_names(server, tmp_path):
    drivers = Drivers(tmp_path, server.url, "compressed")
    try:
        for kind in ("jpeg", "png"):
            file = io.BytesIO()
            Picture.new("RGB", (640, 480), (255, 0, 0)).save(file, kind)
            front = CompressedImage(format=f"rgb8; {kind} compressed bgr8", data=array.array("B", file.getvalue()))
            seen = drivers.observe(front, uniform("rgb8", [0, 255, 0]))
            assert np.abs(seen["images"]["front"].astype(int) - (255, 0, 0)).max() <= 3
    finally:
        drivers.close()


def test_frames_that_tf_does_not_have_are_said_once_and_stop_nothing(server, tmp_path, interfaces, monkeypatch):
    from geometry_msgs.msg import TransformStamped
    from tf2_msgs.msg import TFMessage

    from vla_agent.robot import frame_check

    monkeypatch.setattr(frame_check, "WAIT", 0.1)
    drivers = Drivers(tmp_path, server.url)
    try:
        told, after = [], 0
        moving = drivers.node.create_publisher(TFMessage, "/tf", 10)
        transforms = [TransformStamped(child_frame_id=child) for child in ("camera_front", "camera_wrist_optical")]
        for transform in transforms:
            transform.header.frame_id = "/base"
        deadline = time.monotonic() + PATIENCE
        while after < 3 and time.monotonic() < deadline:
            moving.publish(TFMessage(transforms=transforms))
            drivers.executor.spin_once(timeout_sec=0.05)
            drivers.policy._sensors.update()
            told += [part for part in drivers.policy._sensors.warning.split("; ") if "TF" in part]
            after += bool(told)
        assert told == ["not in TF: camera_wrist, frames of the robot file"]
        assert drivers.observe(uniform("rgb8", [255, 0, 0]), uniform("rgb8", [0, 255, 0]))
    finally:
        drivers.close()


def test_an_arm_and_a_gripper_that_are_published_apart_move_and_a_silent_gripper_is_named(tmp_path):
    """Before, the first message without the gripper was a latched stop."""
    with running({"safety_node": {}, "controller_node": {}}, str(tmp_path)) as nodes:
        nodes.connect()
        home, gripper = np.array(nodes.robot.home), [nodes.robot.gripper.joint]

        def publish(whole: bool = True) -> None:
            if whole:
                nodes.publish_state(np.array([0.0]), gripper)
            nodes.publish_state(home, list(nodes.robot.joint_names))
            nodes.act(np.zeros(7))

        nodes.publish_state(home, list(nodes.robot.joint_names))
        assert nodes.wait(lambda: not nodes.stopped and bool(nodes.status)), nodes.status
        nodes.spin(0.1)
        assert not nodes.stopped, nodes.status
        moved = lambda: len(nodes.arm) > 3 and not nodes.stopped  # noqa: E731
        for _ in range(20):  # a stop because this machine was late is reset
            nodes.spin(0.4, publish)
            if moved():
                break
            nodes.call("safety/reset")
        assert moved(), nodes.status
        for _ in range(20):
            nodes.spin(0.6, lambda: publish(whole=False))
            if f"{gripper[0]}: no position for over" in nodes.status:
                break
        assert nodes.stopped and f"{gripper[0]}: no position for over" in nodes.status, nodes.status
