"""A first robot file: facts of the URDF and of the graph, and a numbered comment for everything else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vla_agent import cli
from vla_agent.errors import RobotError
from vla_agent.robot.description import load_robot
from vla_agent.robot.model.first_file import CameraFact, Chosen, GraphFacts, first_robot_file
from vla_agent.robot.model.urdf import parse_urdf

FR3 = Path(__file__).resolve().parents[2] / "config/robots/models/fr3.urdf"
ARM = {f"fr3_joint{k}": float(home) for k, home in enumerate((0, -0.785, 0, -2.356, 0, 1.571, 0.785), 1)}
HAND = {"fr3_finger_joint1": 0.04, "fr3_finger_joint2": 0.04}
FACTS = GraphFacts(
    joints={"joint_states": ARM | HAND},
    rates={"joint_states": 30.0},
    cameras=(
        CameraFact("cameras/front/color/image_raw", "front_optical", (640, 480), "rgb8", 30.0),
        CameraFact("cameras/front/depth/image_raw", "front_optical", (640, 480), "16UC1", 30.0, colour=False),
    ),
    arms=(("joint_trajectory", "fr3_arm_controller/joint_trajectory"),),
    grippers=(("franka", "franka_gripper"), ("gripper_command", "franka_gripper/gripper_action")),
)
ALL = Chosen(end_effector="fr3_hand_tcp", acceleration=5, jerk=500, cameras={"front": "/cameras/front/color/image_raw"})
DECIDED = """control_hz: 20
home: [0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785]
gripper: {joint: fr3_finger_joint1, open: 0.04, closed: 0}
workspace: {low: [0.1, -0.5, 0.0], high: [0.8, 0.5, 0.8]}
lookahead: {guarded: [fr3_link5, fr3_link6], forbidden: [fr3_link0, fr3_link1]}
controller: {type: joint_trajectory, topic: fr3_arm_controller/joint_trajectory, gripper: {type: franka,
  topic: franka_gripper, open: 0.08, closed: 0.0, speed: 0.1, force: 20, grasp_from: 0.5}}
"""


def first(chosen: Chosen = ALL, facts: GraphFacts = FACTS):
    return first_robot_file("fr3.urdf", parse_urdf(FR3.read_bytes(), FR3), chosen, facts)


def folder_with(tmp_path: Path, text: str) -> Path:
    (tmp_path / "fr3.urdf").write_bytes(FR3.read_bytes())
    (tmp_path / "robot.yaml").write_text(text)
    return tmp_path / "robot.yaml"


def test_what_the_urdf_and_the_graph_say_is_written_and_the_rest_is_asked(tmp_path, capsys):
    made = first()
    assert [key for key, _ in made.open] == ["control_hz", "home", "gripper", "workspace", "lookahead", "controller"]
    with pytest.raises(RobotError) as caught:
        load_robot(folder_with(tmp_path, made.text))
    for key, _ in made.open:
        assert key in caught.value.key, "check asks for each of them"
    assert "joints" not in caught.value.key and "cameras" not in caught.value.key
    file = folder_with(tmp_path, made.text + DECIDED)
    assert cli.main(["robot", "check", str(file)]) == 0 and "ok: fr3, 7 joints" in capsys.readouterr().out
    robot = load_robot(file)
    assert robot.limits("velocity").tolist() == [2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26]
    assert robot.joints[3].position == (-3.0421, -0.1518) and robot.joint_states == "joint_states"
    assert robot.cameras[0].topic == "cameras/front/color/image_raw" and "depth, not used" in made.text


def test_everything_that_is_not_known_is_asked_in_the_order_of_the_file():
    made = first(Chosen(end_effector="fr3_hand_tcp"), GraphFacts())
    asked = ", ".join(key for key, _ in made.open)
    assert asked == "control_hz, home, joints, gripper, workspace, lookahead, controller, cameras, joint_states"
    for number, (_, what) in enumerate(made.open, 1):
        assert f"# {number}. {what}" in made.text


@pytest.mark.parametrize(
    ("joints", "written"),
    [
        ({"a": ARM | HAND}, "joint_states: a"),
        ({"a": ARM, "b": HAND}, "joint_states: [a, b]"),
        ({"a": ARM | HAND, "b": ARM}, "joint_states: a"),
        ({"a": ARM | HAND, "b": ARM | HAND}, None),
        ({"a": ARM}, None),
        ({"a": ARM, "b": ARM | {"x": 0.0}, "c": HAND}, None),
    ],
)
def test_topics_of_joint_states_are_written_where_there_is_one_way(joints, written):
    lines = first(facts=replace(FACTS, joints=joints)).text.splitlines()
    found = [line.split(" #")[0] for line in lines if line.startswith("joint_states")]
    assert found == ([written] if written else [])


@pytest.mark.parametrize(
    ("changes", "option", "expected"),
    [
        ({"end_effector": ""}, "--end-effector", "fr3_hand_tcp"),
        ({"end_effector": "tcp"}, "--end-effector", "fr3_hand_tcp"),
        ({"end_effector": "fr3_link0"}, "--end-effector", "behind moving joints"),
        ({"base_frame": "fr3_link3"}, "--base-frame", "fr3_link0"),
        ({"gripper": "fr3_joint1"}, "--gripper", "fr3_finger_joint1"),
        ({"cameras": {"front": "front"}}, "--camera front=front", "cameras/front/color/image_raw"),
    ],
)
def test_a_name_that_is_not_there_is_refused_with_those_that_are(changes, option, expected):
    with pytest.raises(RobotError) as caught:
        first(replace(ALL, **changes))
    assert caught.value.key == option and expected in caught.value.expected


def test_a_joint_without_limits_is_asked_for():
    text = FR3.read_text().replace('name="fr3_joint7" type="revolute"', 'name="fr3_joint7" type="continuous"')
    made = first_robot_file("fr3.urdf", parse_urdf(text.encode(), FR3), ALL, FACTS)
    assert any("fr3_joint7" in what for key, what in made.open if key == "joints")


def test_the_command_writes_beside_the_model_and_replaces_nothing(tmp_path, capsys):
    (tmp_path / "fr3.urdf").write_bytes(FR3.read_bytes())
    call = ["robot", "new", str(tmp_path / "fr3.urdf"), "--end-effector", "fr3_hand_tcp"]
    assert cli.main(call) == 0
    shown = capsys.readouterr().out
    assert (tmp_path / "fr3.yaml").is_file() and "1. control_hz" in shown and "robot check" in shown
    assert cli.main(call) == 2 and "there already" in capsys.readouterr().err
    assert cli.main([*call, "-o", str(tmp_path / "other/fr3.yaml")]) == 2
    assert "above its model" in capsys.readouterr().err
    assert cli.main(["robot", "check", str(tmp_path / "fr3.yaml")]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_home_out_of_reach_is_named(tmp_path, capsys):
    file = folder_with(tmp_path, first().text + DECIDED.replace("-2.356", "-0.1"))
    assert cli.main(["robot", "check", str(file)]) == 2
    assert "home" in capsys.readouterr().err
