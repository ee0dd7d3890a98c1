"""What a running graph publishes and takes that a robot file can name: joint states, images, controllers, grippers."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np

from vla_agent.robot.cameras.encodings import DEPTH
from vla_agent.robot.model.first_file import CameraFact, GraphFacts

DISCOVERY, SETTLED = 10.0, 2.0  # seconds in which the graph is found: at most, and without anything new
PATIENCE = 3  # times the seconds of listening, until every topic that is published was heard
JOINT_STATE, IMAGE = "sensor_msgs/msg/JointState", "sensor_msgs/msg/Image"
COMPRESSED, TRAJECTORY = "sensor_msgs/msg/CompressedImage", "trajectory_msgs/msg/JointTrajectory"
ACTION = "/_action/send_goal"
ARM_ACTIONS = {"control_msgs/action/FollowJointTrajectory_SendGoal": "follow_joint_trajectory"}
GRIPPER_ACTIONS = {
    "control_msgs/action/GripperCommand_SendGoal": "gripper_command",
    "control_msgs/action/ParallelGripperCommand_SendGoal": "parallel_gripper_command",
}
OWN = ("/controller/joint_trajectory", "/policy/action")  # of our own nodes
MOST = 64  # topics that are listened to


def robot_topics(node: Any, spin: Callable[[Callable[[], bool], float], bool], seconds: float) -> GraphFacts:
    """Listen to the graph.

    Args:
        node: an rclpy node.
        spin: (until, seconds): lets the node receive messages; see `ros.process.diagnostics_listener.observer_node`.
        seconds: how long messages are counted; longer, where a topic is published and was not heard yet.
    """
    _discover(node, spin)
    heard: dict[str, list[Any]] = defaultdict(list)
    stamps: dict[str, list[float]] = defaultdict(list)
    listened = _listen(node, heard, stamps)
    spin(lambda: False, seconds)
    spin(lambda: all(heard[topic] for topic in listened), (PATIENCE - 1) * seconds)
    rates = {topic: _rate(times) for topic, times in stamps.items()}
    joints: dict[str, dict[str, float]] = {}
    for topic in (t for t, kind in listened.items() if kind == JOINT_STATE and heard[t]):
        joints[_plain(topic)] = {n: p for m in heard[topic] for n, p in zip(m.name, m.position, strict=False)}
    cameras = [
        _camera(topic, heard[topic][-1], rates[topic], kind == COMPRESSED)
        for topic, kind in sorted(listened.items())
        if kind in (IMAGE, COMPRESSED) and heard[topic]
    ]
    raw = {camera.topic for camera in cameras if not camera.compressed}
    cameras = [camera for camera in cameras if not camera.compressed or camera.topic not in raw]
    arms, grippers = _outputs(node)
    told = {_plain(topic): rate for topic, rate in rates.items()}
    return GraphFacts(joints, told, tuple(cameras), tuple(arms), tuple(grippers))


def _discover(node: Any, spin: Callable[[Callable[[], bool], float], bool]) -> None:
    """Wait until nothing new appears in the graph: how long that takes depends on the network and the machine."""

    def seen() -> set[tuple[str, int, int]]:
        topics = [name for name, _ in node.get_topic_names_and_types()]
        return {(name, node.count_publishers(name), node.count_subscribers(name)) for name in topics}

    def changed(known: set[tuple[str, int, int]]) -> Callable[[], bool]:
        return lambda: seen() != known

    deadline = time.monotonic() + DISCOVERY
    while time.monotonic() < deadline and spin(changed(seen()), SETTLED):
        pass


def _rate(stamps: list[float]) -> float:
    """Hz of messages by their stamps, of which many may be missing: those that queue up here follow each other."""
    steps = np.diff(sorted(stamps))
    steps = steps[steps > 0]
    return float(1 / np.percentile(steps, 25)) if len(steps) else 0.0


def _listen(node: Any, heard: dict[str, list[Any]], stamps: dict[str, list[float]]) -> dict[str, str]:
    """Subscribe to joint states and images: topic -> type."""
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import CompressedImage, Image, JointState

    kinds = {JOINT_STATE: JointState, IMAGE: Image, COMPRESSED: CompressedImage}
    quality = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
    found: dict[str, str] = {}
    for topic, types in sorted(node.get_topic_names_and_types()):
        kind = next((kind for kind in types if kind in kinds), "")
        if not kind or not node.count_publishers(topic) or len(found) == MOST:
            continue
        found[topic] = kind

        def take(message: Any, topic: str = topic, keep: int = 50 if kind == JOINT_STATE else 1) -> None:
            stamp = message.header.stamp
            stamps[topic].append(stamp.sec + 1e-9 * stamp.nanosec)
            heard[topic] = [*heard[topic][1 - keep :], message] if keep > 1 else [message]

        node.create_subscription(kinds[kind], topic, take, quality)
    return found


def _camera(topic: str, message: Any, rate: float, compressed: bool) -> CameraFact:
    from vla_agent.files.bounded_pictures import PictureError, picture_size

    encoding = message.format if compressed else message.encoding
    size = (0, 0)
    if not compressed:
        size = (message.width, message.height)
    else:
        try:
            height, width, _ = picture_size(bytes(message.data))
            size = (width, height)
        except PictureError as error:
            encoding = f"{encoding}, which cannot be read: {error.found}"
    plain = topic.removesuffix("/compressed") if compressed else topic
    colour = encoding not in DEPTH and "compressedDepth" not in topic
    return CameraFact(_plain(plain), message.header.frame_id, size, encoding[:40], rate, compressed, colour)


def _outputs(node: Any) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """What takes targets: of arms, of grippers."""
    arms, grippers = [], []
    for topic, types in sorted(node.get_topic_names_and_types()):
        ours = topic in OWN or topic.startswith("/sim/")
        if TRAJECTORY in types and node.count_subscribers(topic) and not ours:
            arms.append(("joint_trajectory", _plain(topic)))
    services = dict(node.get_service_names_and_types())
    for service, types in sorted(services.items()):
        name = service.removesuffix(ACTION)
        for kind in types if service.endswith(ACTION) and not name.startswith("/sim/") else ():
            if kind in ARM_ACTIONS and ("joint_trajectory", _plain(_beside(name, "joint_trajectory"))) not in arms:
                arms.append((ARM_ACTIONS[kind], _plain(name)))
            if kind in GRIPPER_ACTIONS:
                grippers.append((GRIPPER_ACTIONS[kind], _plain(name)))
            if kind == "franka_msgs/action/Grasp_SendGoal":
                grippers.append(("franka", _plain(name.rsplit("/", 1)[0])))
    return arms, grippers


def _beside(action: str, topic: str) -> str:
    """The topic of the same controller."""
    return f"{action.rsplit('/', 1)[0]}/{topic}"


def _plain(topic: str) -> str:
    """Without the first slash: relative to the namespace of the nodes, as robot files name topics."""
    return topic.removeprefix("/")
