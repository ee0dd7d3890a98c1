"""The interface packages: built from the wheels, spoken by rclpy, and field by field as published."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy")

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "build_interfaces.py"
# As in ros-controls/control_msgs 6.8.0, frankaemika/franka_ros2, moveit/moveit_msgs 2.6.0 and ros2/geometry2.
TRAJECTORY = (
    "trajectory: trajectory_msgs/JointTrajectory, multi_dof_trajectory: trajectory_msgs/MultiDOFJointTrajectory, "
    "path_tolerance: sequence<control_msgs/JointTolerance>, "
    "component_path_tolerance: sequence<control_msgs/JointComponentTolerance>, "
    "goal_tolerance: sequence<control_msgs/JointTolerance>, "
    "component_goal_tolerance: sequence<control_msgs/JointComponentTolerance>, "
    "goal_time_tolerance: builtin_interfaces/Duration"
)
GRIPPER = "position: double, effort: double, stalled: boolean, reached_goal: boolean"
DONE = "success: boolean, error: string"
PUBLISHED = {
    "control_msgs.msg.GripperCommand": "position: double, max_effort: double",
    "control_msgs.msg.JointJog": "header: std_msgs/Header, joint_names: sequence<string>, "
    "displacements: sequence<double>, velocities: sequence<double>, duration: double",
    "control_msgs.msg.JointTolerance": "name: string, position: double, velocity: double, acceleration: double",
    "control_msgs.msg.JointComponentTolerance": "joint_name: string, component: uint16, position: double, "
    "velocity: double, acceleration: double",
    "control_msgs.action.GripperCommand.Goal": "command: control_msgs/GripperCommand",
    "control_msgs.action.GripperCommand.Result": GRIPPER,
    "control_msgs.action.GripperCommand.Feedback": GRIPPER,
    "control_msgs.action.ParallelGripperCommand.Goal": "command: sensor_msgs/JointState",
    "control_msgs.action.ParallelGripperCommand.Result": "state: sensor_msgs/JointState, stalled: boolean, "
    "reached_goal: boolean",
    "control_msgs.action.ParallelGripperCommand.Feedback": "state: sensor_msgs/JointState",
    "control_msgs.action.FollowJointTrajectory.Goal": TRAJECTORY,
    "control_msgs.action.FollowJointTrajectory.Result": "error_code: int32, error_string: string",
    "franka_msgs.msg.GraspEpsilon": "inner: double, outer: double",
    "franka_msgs.action.Grasp.Goal": "width: double, epsilon: franka_msgs/GraspEpsilon, speed: double, force: double",
    "franka_msgs.action.Grasp.Result": DONE,
    "franka_msgs.action.Grasp.Feedback": "current_width: double",
    "franka_msgs.action.Move.Goal": "width: double, speed: double",
    "franka_msgs.action.Move.Result": DONE,
    "franka_msgs.action.Homing.Result": DONE,
    "moveit_msgs.srv.ServoCommandType.Request": "command_type: int8",
    "moveit_msgs.srv.ServoCommandType.Response": "success: boolean",
    "tf2_msgs.msg.TFMessage": "transforms: sequence<geometry_msgs/TransformStamped>",
}


def found(name: str) -> Any:
    package, kind, *path = name.split(".")
    part: Any = import_module(f"{package}.{kind}")
    for word in path:
        part = getattr(part, word)
    return part


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_fields_are_those_of_the_published_package(interfaces, name):
    fields = found(name).get_fields_and_field_types()
    assert ", ".join(f"{field}: {kind}" for field, kind in fields.items()) == PUBLISHED[name]


def test_constants_and_defaults_are_those_of_the_published_packages(interfaces):
    servo = found("moveit_msgs.srv.ServoCommandType.Request")
    assert (servo.JOINT_JOG, servo.TWIST, servo.POSE) == (0, 1, 2)
    epsilon = found("franka_msgs.msg.GraspEpsilon")()
    assert (epsilon.inner, epsilon.outer) == (0.005, 0.005)
    result = found("control_msgs.action.FollowJointTrajectory.Result")
    assert (result.SUCCESSFUL, result.GOAL_TOLERANCE_VIOLATED) == (0, -5)


def test_a_request_and_its_answer_pass_through_the_middleware(interfaces):
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    from benchmarks.ros.ros_graph import DOMAIN

    servo = found("moveit_msgs.srv.ServoCommandType")
    rclpy.init(domain_id=int(DOMAIN))
    node, executor = rclpy.create_node("servo"), SingleThreadedExecutor()
    executor.add_node(node)

    def answer(request: Any, response: Any) -> Any:
        response.success = request.command_type == servo.Request.POSE
        return response

    try:
        node.create_service(servo, "switch", answer)
        client: Any = node.create_client(servo, "switch")
        for kind, success in ((2, True), (1, False)):
            assert client.wait_for_service(timeout_sec=30.0)
            future = client.call_async(servo.Request(command_type=kind))
            executor.spin_until_future_complete(future, timeout_sec=30.0)
            assert future.result().success is success
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()


def test_our_package_names_every_interface_for_colcon_and_what_it_depends_on():
    package = ROOT / "vla_agent_interfaces"
    files = {str(path.relative_to(package)) for kind in ("action", "srv", "msg") for path in package.glob(f"{kind}/*")}
    text = (package / "CMakeLists.txt").read_text()
    assert set(re.findall(r'"((?:action|srv|msg)/\w+\.\w+)"', text)) == files
    manifest = ElementTree.parse(package / "package.xml").getroot()
    assert manifest.findtext("export/build_type") == "ament_cmake"
    assert manifest.findtext("member_of_group") == "rosidl_interface_packages"
    assert {entry.text for entry in manifest.findall("buildtool_depend")} == {
        "ament_cmake",
        "rosidl_default_generators",
    }


def build(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    command = [sys.executable, str(SCRIPT), *words]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


def write_package(folder: Path, manifest: str, text: str = "float64 a\n") -> Path:
    (folder / "msg").mkdir(parents=True)
    (folder / "msg" / "A.msg").write_text(text)
    (folder / "package.xml").write_text(manifest)
    return folder


GOOD = "<package><name>a_msgs</name></package>"


@pytest.mark.parametrize(
    ("manifest", "text", "word"),
    [
        ("<package><name>a_msgs</name><depend>no_msgs</depend></package>", "float64 a\n", "no_msgs"),
        ("<package><name>a msgs</name></package>", "float64 a\n", "no valid <name>"),
        ("<package>", "float64 a\n", "no valid XML"),
        (GOOD, "float65 a\n", "A.msg"),
    ],
)
def test_a_wrong_package_is_refused_with_its_reason(tmp_path, manifest, text, word):
    done = build("--prefix", str(tmp_path / "out"), str(write_package(tmp_path / "a_msgs", manifest, text)))
    assert done.returncode == 2 and word in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_package_and_a_machine_without_a_compiler_are_told(tmp_path):
    done = build("--prefix", str(tmp_path / "out"), str(tmp_path))
    assert done.returncode == 2 and "package.xml" in done.stderr
    good = write_package(tmp_path / "a_msgs", GOOD)
    done = build("--prefix", str(tmp_path / "out"), str(good), CC="no-such-compiler")
    assert done.returncode == 3 and "there is no compiler 'no-such-compiler'" in done.stderr
    (good / "msg" / "A.msg").unlink()
    done = build("--prefix", str(tmp_path / "out"), str(good))
    assert done.returncode == 2 and "no interface" in done.stderr
