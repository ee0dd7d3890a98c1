"""The shipped Foxglove layout shows a recording of ours: its topics and paths are in the recorder's MCAP."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("rosbags")

from benchmarks.ros.ros_graph import DOMAIN, PATIENCE  # noqa: E402
from vla_agent.robot.description import load_robot  # noqa: E402

LAYOUT = Path(__file__).parents[2] / "config" / "foxglove" / "vla_agent.json"
STEP = re.compile(r"(\w+)|\[(\d+)\]")
KEYS = ("topicToRender", "topicPath", "cameraTopic")


def layout_paths() -> dict[str, set[str]]:
    """Topic -> paths into its messages that the panels show; of panels that only publish or call, none."""
    panels = json.loads(LAYOUT.read_text())["configById"].values()
    found: dict[str, set[str]] = {panel[key]: set() for panel in panels for key in KEYS if key in panel}
    for panel in panels:
        for path in (entry["value"] for entry in panel.get("paths", [])):
            topic, _, inside = path.partition(".")
            found.setdefault(topic, set()).add(inside)
    return found


def at(message: Any, path: str) -> Any:
    """What a path of a plot, such as ``points[0].positions[6]``, shows of a message."""
    for name, index in STEP.findall(path):
        message = getattr(message, name) if name else message[int(index)]
    return message


def messages() -> Iterator[tuple[str, Any]]:
    """One message of each kind that a running graph of the panda publishes."""
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
    from std_msgs.msg import Bool, String

    from vla_agent.robot.control.action_modes import EE_DELTA
    from vla_agent.ros.messages import conversions

    robot = load_robot("panda")
    names = [*robot.joint_names, robot.gripper.joint]
    yield "joint_states", conversions.joint_state_message(names, np.zeros(8), 1.0, robot.base_frame)
    yield "controller/joint_trajectory", conversions.trajectory_message(names, np.zeros((2, 8)), 1.0, robot.period)
    yield "policy/action", conversions.trajectory_message(EE_DELTA, np.zeros((2, 7)), 1.0, robot.period)
    for camera in robot.cameras:
        yield camera.image_topic, conversions.image_message(np.zeros((4, 4, 3), np.uint8), 1.0, camera.frame)
    yield "safety/stopped", Bool(data=True)
    yield "/diagnostics", DiagnosticArray(status=[DiagnosticStatus(name="safety_node", message="idle")])
    yield "instruction", String(data="stack the cubes")


@pytest.fixture
def recording(tmp_path) -> Iterator[Path]:
    """The MCAP that the real recorder node writes of these messages."""
    from vla_agent.ros.nodes.recorder_node import RecorderNode
    from vla_agent.ros.process.node_base import LATCHED, make_executor

    rclpy.init(args=["--ros-args", "-p", f"output:={tmp_path}"], domain_id=int(DOMAIN))
    recorder, node, executor = RecorderNode(), rclpy.create_node("robot"), make_executor()
    executor.add_node(recorder)
    executor.add_node(node)
    publishers = {topic: node.create_publisher(type(m), topic, LATCHED) for topic, m in messages()}
    deadline = time.monotonic() + PATIENCE

    def wait(until: Any) -> None:
        while not until():
            assert time.monotonic() < deadline, "it did not come"
            executor.spin_once(timeout_sec=0.05)

    wait(lambda: all(publisher.get_subscription_count() for publisher in publishers.values()))
    recorder._begin("stack the cubes")
    for topic, message in messages():
        before = recorder._recorder.messages
        publishers[topic].publish(message)
        wait(lambda before=before: recorder._recorder.messages > before)
    recorder._end("success")
    executor.shutdown()
    recorder.destroy_node()
    node.destroy_node()
    rclpy.try_shutdown()
    yield tmp_path / "episode-0000" / "episode-0000.mcap"


def test_the_layout_names_what_a_recording_holds(recording):
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import Stores, get_typestore

    wanted = layout_paths()
    assert {"/camera/front/image", "/joint_states", "/policy/action", "/safety/stopped"} <= set(wanted)
    assert recording.read_bytes()[:8] == b"\x89MCAP0\r\n"
    first: dict[str, Any] = {}
    with AnyReader([recording], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        for connection, _, data in reader.messages():
            first.setdefault(connection.topic, reader.deserialize(data, connection.msgtype))
    assert set(wanted) <= set(first), "a panel would stay empty"
    for topic, paths in wanted.items():
        for path in paths:
            assert np.isscalar(at(first[topic], path)), f"{topic}.{path}"
