"""What `robot new --topics` finds in a running graph."""

from __future__ import annotations

import os
import time

import pytest

rclpy = pytest.importorskip("rclpy")

from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image, JointState  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402

from vla_agent.ros import robot_topics  # noqa: E402


@pytest.fixture
def graph():
    """A robot's node, which publishes whenever the other one is spun, and (node, spin)."""
    rclpy.init(domain_id=1 + (os.getpid() + 31) % 101)
    robot, node, executor = rclpy.create_node("robot"), rclpy.create_node("new"), SingleThreadedExecutor()
    for each in (robot, node):
        executor.add_node(each)

    def spin(until, seconds: float) -> bool:
        end = node.get_clock().now().nanoseconds + int(1e9 * seconds)
        while not until() and node.get_clock().now().nanoseconds < end:
            executor.spin_once(timeout_sec=0.05)
        return bool(until())

    yield robot, node, spin
    executor.shutdown()
    for each in (robot, node):
        each.destroy_node()
    rclpy.try_shutdown()


def test_joint_states_images_and_controllers_are_found_with_what_they_are(graph, monkeypatch):
    robot, node, spin = graph
    monkeypatch.setattr(robot_topics, "SETTLED", 0.5)
    messages = {
        "arm/joint_states": JointState(name=["a", "b"], position=[0.5, 1.0]),
        "front/image": Image(height=2, width=4, encoding="rgb8", step=12, data=bytes(24)),
        "front/image/compressed": CompressedImage(format="jpeg", data=b"\xff"),
        "wrist/image/compressed": CompressedImage(format="rgb8; jpeg compressed bgr8", data=b"no picture"),
        "depth/image": Image(height=2, width=4, encoding="16UC1", step=8, data=bytes(16)),
    }
    counts: dict[str, int] = {}
    for topic, message in messages.items():
        publisher = robot.create_publisher(type(message), topic, 10)
        counts[topic] = 0

        def publish(topic: str = topic, message: object = message, publisher: object = publisher) -> None:
            counts[topic] += 1
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(20_000_000 * counts[topic], 10**9)
            publisher.publish(message)

        robot.create_timer(0.05, publish)
    robot.create_publisher(Image, "silent/image", 10)
    for topic in ("arm_controller/joint_trajectory", "sim/robot/joint_trajectory", "controller/joint_trajectory"):
        robot.create_subscription(JointTrajectory, topic, lambda _: None, 10)
    facts = robot_topics.robot_topics(node, spin, 1.5)
    assert facts.joints == {"arm/joint_states": {"a": 0.5, "b": 1.0}} and facts.rates[
        "arm/joint_states"
    ] == pytest.approx(50)
    cameras = {camera.topic: camera for camera in facts.cameras}
    assert set(cameras) == {"front/image", "wrist/image", "depth/image"}
    assert cameras["front/image"].size == (4, 2) and not cameras["front/image"].compressed
    assert cameras["wrist/image"].compressed and not cameras["depth/image"].colour
    assert facts.arms == (("joint_trajectory", "arm_controller/joint_trajectory"),), "not those of our own nodes"


def test_a_topic_that_is_slow_to_come_is_waited_for(graph, monkeypatch):
    robot, node, spin = graph
    monkeypatch.setattr(robot_topics, "SETTLED", 0.3)
    publisher = robot.create_publisher(JointState, "arm/joint_states", 10)
    assert spin(lambda: node.count_publishers("/arm/joint_states"), 10.0)
    began = time.monotonic()

    def publish() -> None:
        if time.monotonic() > began + 1.2:  # after the settling and the seconds of listening
            publisher.publish(JointState(name=["a"], position=[0.5]))

    robot.create_timer(0.05, publish)
    assert robot_topics.robot_topics(node, spin, 0.5).joints == {"arm/joint_states": {"a": 0.5}}


def test_grippers_and_goals_are_found_by_their_actions(graph, interfaces, monkeypatch):
    from control_msgs.action import FollowJointTrajectory, ParallelGripperCommand
    from franka_msgs.action import Grasp
    from rclpy.action import ActionServer

    robot, node, spin = graph
    monkeypatch.setattr(robot_topics, "SETTLED", 1.0)
    actions = {
        "arm_controller/follow_joint_trajectory": FollowJointTrajectory,
        "gripper_controller/gripper_cmd": ParallelGripperCommand,
        "franka_gripper/grasp": Grasp,
    }
    actions |= {f"sim/{name}": kind for name, kind in actions.items()}  # of a fake for dry runs: not the robot's own
    servers = [ActionServer(robot, kind, name, lambda _: None) for name, kind in actions.items()]
    facts = robot_topics.robot_topics(node, spin, 0.5)
    assert facts.arms == (("follow_joint_trajectory", "arm_controller/follow_joint_trajectory"),)
    expected = (("franka", "franka_gripper"), ("parallel_gripper_command", "gripper_controller/gripper_cmd"))
    assert facts.grippers == expected
    for server in servers:
        server.destroy()
