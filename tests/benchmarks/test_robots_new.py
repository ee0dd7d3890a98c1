"""What the new user of robots-new decides is what `robot new` asks for, and makes a file that can be used."""

from __future__ import annotations

from pathlib import Path

from benchmarks.robots.driver_fakes import FAKES
from benchmarks.robots.robots_new import CAMERAS, DECISIONS, END, FAKE, MODEL, User, asked_for
from vla_agent import cli
from vla_agent.robot.model.first_file import CameraFact, Chosen, GraphFacts, first_robot_file
from vla_agent.robot.model.urdf import parse_urdf

ROOT = Path(__file__).parents[2]


def test_the_decisions_are_those_that_are_asked_for_and_make_a_robot_file(tmp_path, capsys):
    fake = FAKES[FAKE]
    facts = GraphFacts(
        joints={spec.topic: dict.fromkeys(spec.names, 0.0) for spec in fake.states},
        rates={spec.topic: spec.hz for spec in fake.states},
        cameras=tuple(CameraFact(c.topic.removeprefix("/"), c.frame, c.size, c.encoding, c.hz) for c in fake.cameras),
        arms=(("joint_trajectory", "fr3_arm_controller/joint_trajectory"),),
        grippers=(("franka", "franka_gripper"),),
    )
    (tmp_path / "arm.urdf").write_bytes((ROOT / MODEL).read_bytes())
    chosen = Chosen(end_effector=END, acceleration=5, jerk=500, cameras=CAMERAS)
    first = first_robot_file("arm.urdf", parse_urdf((ROOT / MODEL).read_bytes(), ROOT / MODEL), chosen, facts)
    asked = [key for key, _ in first.open]
    said = "\n".join(f"  {number}. {what}" for number, (_, what) in enumerate(first.open, 1))
    assert asked_for(said) == asked and set(asked) <= set(DECISIONS)
    (tmp_path / "robot.yaml").write_text(first.text)
    user = User(tmp_path)
    user.edits("robot.yaml", asked)
    assert cli.main(["robot", "check", str(tmp_path / "robot.yaml")]) == 0, capsys.readouterr().err
    assert len(user.typed) == 1 and user.typed[0]["command"] == "edit robot.yaml"


def test_a_command_is_kept_with_its_code_and_its_last_line(tmp_path):
    user = User(tmp_path)
    assert "two" in user.types("python", "-c", "print('one'); print('two'); raise SystemExit(3)")
    assert user.typed[0]["code"] == 3 and user.typed[0]["said"] == "two"
