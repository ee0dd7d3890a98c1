"""TF: where links, end effector and cameras are, which frames are left to others, and the node with real topics."""

from __future__ import annotations

import math
from pathlib import Path

import mujoco
import numpy as np
import pytest

from vla_agent.errors import RobotError
from vla_agent.robot.control.controller_factory import make_kinematics
from vla_agent.robot.description import Mount, load_robot
from vla_agent.robot.frames import Frame, FrameTree
from vla_agent.ros.runtime.foreign_frames import ForeignFrames

ROOT = Path(__file__).parents[2]
ROBOTS = ("panda", "fr3", "ur5e")


def pose(frames: dict[str, Frame], child: str, base: str) -> tuple[np.ndarray, np.ndarray]:
    """Position and quaternion of a frame in the base frame, as a TF listener composes it."""
    position, turn = np.zeros(3), np.array([1.0, 0, 0, 0])
    chain = []
    while child != base:
        chain.append(frames[child])
        child = chain[-1].parent
    for frame in reversed(chain):
        place, turned = np.empty(3), np.empty(4)
        mujoco.mju_rotVecQuat(place, frame.position, turn)
        mujoco.mju_mulQuat(turned, turn, frame.quaternion)
        position, turn = position + place, turned
    return position, turn


@pytest.mark.parametrize("name", ROBOTS)
def test_the_end_effector_in_the_tree_is_where_kinematics_say(name):
    robot = load_robot(name)
    tree, joints = FrameTree(robot), np.array(robot.home) + 0.1
    frames = tree.fixed + tree.moving(dict(zip(robot.joint_names, joints, strict=True)))
    children = [frame.child for frame in frames]
    assert len(children) == len(set(children)) and robot.base_frame not in children
    position, quaternion = pose({frame.child: frame for frame in frames}, robot.end_effector, robot.base_frame)
    expected, turn = make_kinematics(robot).forward(joints)
    assert np.allclose(position, expected, atol=1e-9) and abs(abs(quaternion @ turn) - 1) < 1e-9


def test_only_links_with_known_joints_are_published_and_followers_are_known():
    tree = FrameTree(load_robot("panda"))
    assert tree.moving({}) == []
    assert [frame.child for frame in tree.moving({"joint2": 0.3, "joint9": 1.0})] == ["link2"]
    rest, closed = tree.moving({"right_driver_joint": 0.0}), tree.moving({"right_driver_joint": 0.4})
    assert [frame.child for frame in closed] == ["right_driver", "left_driver"], "the model's equality"
    for before, after in zip(rest, closed, strict=True):
        assert 2 * math.acos(abs(before.quaternion @ after.quaternion)) == pytest.approx(0.4)


def test_a_camera_is_where_the_model_or_the_robot_file_says():
    robot = load_robot("panda")
    front, wrist = robot.cameras
    bare = robot.model_copy(update={"cameras": (front.model_copy(update={"mount": None}), wrist)})
    assert [frame.child for frame in FrameTree(bare).fixed if "camera" in frame.child] == [wrist.frame]
    mount = Mount(parent="base", position=(1.0, 0.0, 0.95), rotation=(-math.pi / 2 - 0.5, 0.0, math.pi / 2))
    mounted = robot.model_copy(update={"cameras": (front.model_copy(update={"mount": mount}), wrist)})
    (frame,) = [frame for frame in FrameTree(mounted).fixed if frame.child == front.frame]
    ahead = np.empty(3)
    mujoco.mju_rotVecQuat(ahead, np.array([0.0, 0.0, 1.0]), frame.quaternion)
    assert np.allclose(ahead, [-math.cos(0.5), 0, -math.sin(0.5)]), "it looks back to the robot, and down"
    wrong = front.model_copy(update={"mount": mount.model_copy(update={"parent": "link77"})})
    with pytest.raises(RobotError, match="did you mean link7"):
        FrameTree(robot.model_copy(update={"cameras": (wrong, wrist)}))


def test_the_simulators_fixed_camera_is_where_the_robot_file_says():
    scene = mujoco.MjSpec.from_file(str(ROOT / "sim" / "assets" / "tabletop.xml")).compile()
    data = mujoco.MjData(scene)
    mujoco.mj_kinematics(scene, data)
    mujoco.mj_camlight(scene, data)
    seen = data.cam_xmat[scene.camera("front").id].reshape(3, 3) @ np.diag([1, -1, -1])  # ROS: z ahead, y down
    (frame,) = [frame for frame in FrameTree(load_robot("panda")).fixed if frame.child == "camera_front"]
    turned = np.empty(9)
    mujoco.mju_quat2Mat(turned, frame.quaternion)
    assert np.allclose(turned.reshape(3, 3), seen, atol=1e-3)
    assert np.allclose(frame.position, data.cam_xpos[scene.camera("front").id], atol=1e-3)


def test_the_wrist_camera_of_the_model_looks_at_what_is_between_the_fingers():
    robot = load_robot("panda")
    frames = {frame.child: frame for frame in FrameTree(robot).fixed}
    place, turn = pose(frames, "camera_wrist", "base_mount_base")
    tip, _ = pose(frames, "ee", "base_mount_base")
    seen, back = np.empty(3), np.empty(4)
    mujoco.mju_negQuat(back, turn)
    mujoco.mju_rotVecQuat(seen, tip - place, back)
    assert seen[2] > 0.1 and np.abs(seen[:2] / seen[2]).max() < math.tan(math.radians(75 / 2)), "within its view"


def test_frames_of_others_are_left_to_them_and_no_loop_is_closed():
    others = ForeignFrames()
    others.sent((1, 0), "link1")
    assert not others.heard((1, 0), "base", "link1"), "this node's own"
    assert others.heard((1, 5), "base", "link1") and not others.heard((2, 5), "base", "link1")
    assert others.gives("base", "link1") and not others.gives("link1", "link2")
    others.heard((1, 5), "/base", "/fr3_link0")
    assert others.gives("fr3_link0", "base"), "base is above fr3_link0 already"
    others.heard((1, 5), "a", "b")
    others.heard((1, 5), "b", "a")
    assert not others.gives("a", "c"), "a loop of others ends nothing"


def test_the_node_publishes_what_nobody_else_does(interfaces):
    rclpy = pytest.importorskip("rclpy")
    pytest.importorskip("tf2_msgs")
    import os
    import time

    from geometry_msgs.msg import TransformStamped
    from rclpy.executors import SingleThreadedExecutor
    from sensor_msgs.msg import JointState
    from tf2_msgs.msg import TFMessage

    from benchmarks.ros.ros_graph import DOMAIN
    from vla_agent.ros.nodes import frames_node

    os.environ.update(ROS_DOMAIN_ID=DOMAIN, ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST")
    rclpy.init(args=["--ros-args", "-p", "robot:=panda", "-p", "frame_prefix:=arm1/"])
    node, other = frames_node.FramesNode(), rclpy.create_node("driver")
    heard: dict[str, dict] = {"/tf": {}, "/tf_static": {}}
    for topic, qos in (("/tf", frames_node.MOVING), ("/tf_static", frames_node.FIXED)):
        take = heard[topic].update
        other.create_subscription(
            TFMessage, topic, lambda m, take=take: take({t.child_frame_id: t for t in m.transforms}), qos
        )
    states = other.create_publisher(JointState, "joint_states", 10)
    foreign = other.create_publisher(TFMessage, "/tf", frames_node.MOVING)
    taken = TransformStamped(child_frame_id="arm1/link2")
    taken.header.frame_id, taken.header.stamp.sec = "arm1/link1", 7
    taken.transform.rotation.w = 1.0
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    executor.add_node(other)
    names = [f"joint{k}" for k in range(1, 8)]
    deadline, count = time.monotonic() + 60, 0
    while time.monotonic() < deadline and not (heard["/tf_static"] and "arm1/link7" in heard["/tf"]):
        count += 1
        state = JointState(name=names, position=[0.1] * 7)
        state.header.stamp.sec = count
        foreign.publish(TFMessage(transforms=[taken]))
        states.publish(state)
        executor.spin_once(timeout_sec=0.05)
    executor.shutdown()
    for made in (node, other):
        made.destroy_node()
    rclpy.shutdown()
    assert {"arm1/link0", "arm1/ee", "arm1/camera_wrist"} <= set(heard["/tf_static"])
    assert "arm1/link3" in heard["/tf"] and heard["/tf"]["arm1/link3"].header.frame_id == "arm1/link2"
    assert heard["/tf"]["arm1/link2"].header.stamp.sec == 7, "that of the driver alone"
