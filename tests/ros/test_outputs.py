"""What a robot takes, against fakes that speak as its drivers do: trajectories, goals, grippers, MoveIt Servo."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
from std_msgs.msg import Float64MultiArray  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402

from tests.ros.fake_controllers import ActionController, Ros, TrajectoryController, ros  # noqa: E402
from vla_agent.errors import NodeError, RobotError  # noqa: E402
from vla_agent.robot.control.limit_shaper import LimitShaper  # noqa: E402
from vla_agent.robot.description import Robot, load_robot  # noqa: E402
from vla_agent.robot.safety.hold import Target  # noqa: E402
from vla_agent.robot.safety.stream_limits import StreamLimits  # noqa: E402
from vla_agent.ros.outputs import goals as goals_module  # noqa: E402
from vla_agent.ros.outputs import servo as servo_module  # noqa: E402
from vla_agent.ros.outputs.arm_messages import JointTrajectoryFormat  # noqa: E402
from vla_agent.ros.outputs.robot_output import RobotOutput  # noqa: E402

PANDA = load_robot("panda")
HOME, T = np.array(PANDA.home), PANDA.period
NAMES = list(PANDA.joint_names)
DOMAIN = 1 + (os.getpid() + 50) % 101


@pytest.fixture(scope="module")
def graph(interfaces: Path):
    known = goals_module.ANSWER, servo_module.ANSWER
    goals_module.ANSWER = servo_module.ANSWER = 60.0  # a busy machine is no controller that hangs
    with ros(DOMAIN) as made:
        yield made
    goals_module.ANSWER, servo_module.ANSWER = known


def robot(**controller: Any) -> Robot:
    data = PANDA.model_dump(mode="json")
    data["controller"] = {"type": "joint_trajectory", "topic": "arm", "gripper_topic": "gripper"} | controller
    if "gripper" in controller:
        del data["controller"]["gripper_topic"]
    return Robot.model_validate(data)


def stream(n: int = 6) -> list[Target]:
    """Targets of a motion from rest, each with its plan and the fastest stop."""
    shaper, limits = LimitShaper(PANDA), StreamLimits(PANDA)
    rows = np.array([HOME, *(shaper.step(HOME + [0.8, 0, 0, 0, 0, 0, 0.8]) for _ in range(n + 3))])
    limits.rest(HOME)
    targets = []
    for k in range(n):
        start = limits.position
        limits.accept(rows[k])
        tail = StreamLimits(PANDA)
        tail.rest(rows[k])
        for row in rows[k + 1 : k + 4]:
            tail.accept(row)
        targets.append(Target(rows[k], 0.0, start, np.vstack([rows[k + 1 : k + 4], tail.stop_to_rest()])))
    return targets


def hold(gripper: float) -> Target:
    return Target(HOME, gripper, HOME)


def seconds(duration: Any) -> float:
    return duration.sec + 1e-9 * duration.nanosec


# Trajectories


def test_a_trajectory_has_the_plan_with_velocities_and_ends_at_rest():
    target = stream()[4]
    message = JointTrajectoryFormat(PANDA, PANDA.controller).message(target, 12.5)
    assert TrajectoryController(NAMES).problem(message) == ""
    positions = np.array([p.positions for p in message.points])
    velocities = np.array([p.velocities for p in message.points])
    assert np.array_equal(positions, target.path) and len(positions) > 4
    assert [seconds(p.time_from_start) for p in message.points] == pytest.approx(
        [T * k for k in range(1, 1 + len(positions))]
    )
    assert velocities[0, 0] > 0 and not velocities[-1].any() and message.header.stamp.sec == 12
    assert (np.abs(velocities) <= PANDA.limits("velocity") * (1 + 1e-9)).all()


def test_a_controller_that_splines_moves_without_steps_of_velocity():
    """The velocity at each point agrees with that of the trajectory before at the same time."""
    targets = stream(6)
    for before, after in zip(targets, targets[1:], strict=False):
        first = JointTrajectoryFormat(PANDA, PANDA.controller).message(before, 0.0)
        second = JointTrajectoryFormat(PANDA, PANDA.controller).message(after, T)
        assert np.allclose(first.points[1].positions, second.points[0].positions)
        assert np.allclose(first.points[1].velocities, second.points[0].velocities, atol=1e-9)


def test_outputs_over_several_topics_get_each_joint_once_in_their_own_order(graph: Ros):
    given = robot(
        topic="split/left",
        joints=NAMES[:3],
        further=[{"type": "forward_position", "topic": "split/right", "joints": NAMES[:2:-1]}],
        gripper={"type": "joint_trajectory", "topic": "split/gripper"},
    )
    left, right, gripper = TrajectoryController(NAMES[:3]), [], TrajectoryController([PANDA.gripper.joint])
    subscribe = graph.other.create_subscription
    taking = [
        subscribe(JointTrajectory, "sim/split/left", left.take, 10),
        subscribe(Float64MultiArray, "sim/split/right", right.append, 10),
        subscribe(JointTrajectory, "sim/split/gripper", gripper.take, 10),
    ]
    output = RobotOutput(graph.node, given, hardware=False)
    assert graph.until(lambda: all(s.get_publisher_count() for s in taking)) and output.problem == ""
    assert graph.until(lambda: not output.values())
    alone = RobotOutput(graph.node, robot(topic="split/nobody", gripper_topic="split/none"), hardware=False)
    assert "nobody listens on /sim/split/nobody" in alone.values()
    target = stream()[3]
    output.send(Target(target.joints, 0.5, target.start, target.plan), 1.0)
    assert graph.until(lambda: left.accepted and right and gripper.accepted)
    assert not left.refused and not gripper.refused
    assert np.array_equal(left.accepted[0].points[0].positions, target.joints[:3])
    assert np.array_equal(right[0].data, target.joints[:2:-1])
    assert gripper.accepted[0].points[0].positions[0] == pytest.approx(PANDA.gripper.position(0.5))


def test_one_controller_may_have_arm_and_gripper():
    joints = [*NAMES, PANDA.gripper.joint]
    data = PANDA.model_dump(mode="json")
    data["controller"] = {"type": "joint_trajectory", "topic": "all", "joints": joints}
    both = Robot.model_validate(data)
    target = stream()[2]
    message = JointTrajectoryFormat(both, both.controller).message(
        Target(target.joints, 0.25, target.start, target.plan), 0.0
    )
    assert TrajectoryController(joints).problem(message) == ""
    assert {p.positions[-1] for p in message.points} == {PANDA.gripper.position(0.25)}
    assert not any(p.velocities[-1] for p in message.points)


# Trajectory goals


def goals(graph: Ros, name: str, **more: Any):
    from control_msgs.action import FollowJointTrajectory

    output = RobotOutput(graph.node, robot(type="follow_joint_trajectory", topic=name), hardware=False)
    return output, ActionController(graph, FollowJointTrajectory, f"sim/{name}", **more)


def test_each_target_is_a_goal_with_its_plan_that_replaces_the_one_before(graph: Ros):
    output, controller = goals(graph, "goals", end="held")
    checked = TrajectoryController(NAMES)
    assert graph.until(lambda: output.problem == "")
    for k, target in enumerate(stream(4)):
        output.send(target, 1.0 + k * T)
        assert graph.until(lambda k=k: len(controller.goals) == k + 1)
    assert all(checked.problem(goal.trajectory) == "" for goal in controller.goals)
    assert np.array_equal(controller.goals[2].trajectory.points[0].positions, stream(4)[2].joints)
    time.sleep(0.1)
    assert output.problem == "", "results of goals that were replaced do not count"
    controller.end = "aborted"
    assert graph.until(lambda: "aborted" in output.problem) and "goals" in output.problem
    output.clear()
    assert output.problem == ""


def test_a_server_that_is_missing_rejects_or_hangs_is_said_and_asked_again(graph: Ros, monkeypatch):
    missing = RobotOutput(graph.node, robot(type="follow_joint_trajectory", topic="nobody"), hardware=False)
    assert "no action server sim/nobody" in missing.problem
    missing.send(stream()[0], 0.0)  # nothing is sent, nothing waits
    output, controller = goals(graph, "moody")
    assert graph.until(lambda: output.problem == "")
    controller.accepts = False
    output.send(stream()[0], 0.0)
    assert graph.until(lambda: "rejected" in output.problem)
    controller.accepts = True
    output.clear()
    controller.hangs.set()
    monkeypatch.setattr(goals_module, "ANSWER", 0.3)
    output.send(stream()[0], 0.0)
    assert graph.until(lambda: "does not answer" in output.problem, 5.0)
    controller.hangs.clear()
    assert graph.until(lambda: output.problem == ""), "a late answer is one"
    monkeypatch.setattr(goals_module, "ANSWER", 60.0)
    output.send(stream()[0], 0.0)
    assert graph.until(lambda: len(controller.goals) == 2)


# Grippers


def gripper_output(graph: Ros, spec: dict[str, Any], action: Any, name: str, **more: Any):
    output = RobotOutput(graph.node, robot(topic=f"arm_{time.monotonic_ns()}", gripper=spec), hardware=False)
    controller = ActionController(graph, action, f"sim/{name}", **more)
    assert graph.until(lambda: spec["type"] == "franka" or output.problem == "")
    return output, controller


def test_a_gripper_command_is_sent_where_the_target_changes(graph: Ros):
    from control_msgs.action import GripperCommand

    spec = {"type": "gripper_command", "topic": "robotiq/gripper_cmd", "max_effort": 50.0}
    output, controller = gripper_output(graph, spec, GripperCommand, "robotiq/gripper_cmd", end="held")
    for fraction in (0.0, 0.0, 0.01, 0.5, 0.5, 0.51, 1.0, 1.0):
        output.send(hold(fraction), 0.0)
        graph.until(lambda: not output._gripper._senders[0].waits)
    assert [g.command.position for g in controller.goals] == pytest.approx(
        [PANDA.gripper.position(f) for f in (0.0, 0.5, 1.0)]
    )
    assert {g.command.max_effort for g in controller.goals} == {50.0}
    controller.end = "aborted"  # as where an object is between the fingers
    assert graph.until(lambda: output.values()["last gripper goal"] == "aborted")
    assert output.problem == "", "an object is no fault"


def test_a_parallel_gripper_command_names_the_joint_and_states_effort_where_it_is_given(graph: Ros):
    from control_msgs.action import ParallelGripperCommand

    spec = {
        "type": "parallel_gripper_command",
        "topic": "pg/gripper_cmd",
        "max_effort": 5.0,
        "open": 0.04,
        "closed": 0.0,
    }
    output, controller = gripper_output(graph, spec, ParallelGripperCommand, "pg/gripper_cmd")
    output.send(hold(0.25), 0.0)
    assert graph.until(lambda: controller.goals)
    command = controller.goals[0].command
    assert (list(command.name), list(command.velocity), list(command.effort)) == ([PANDA.gripper.joint], [], [5.0])
    assert command.position[0] == pytest.approx(0.03)
    assert graph.until(lambda: not output._gripper._senders[0].waits)
    controller.accepts = False
    output.send(hold(1.0), 0.0)
    assert graph.until(lambda: "rejected" in output.problem)


def test_a_franka_gripper_moves_and_grasps(graph: Ros):
    from franka_msgs.action import Grasp, Move

    spec = {
        "type": "franka",
        "topic": "fr3",
        "speed": 0.1,
        "force": 30.0,
        "grasp_from": 0.6,
        "open": 0.08,
        "closed": 0.0,
    }
    output, move = gripper_output(graph, spec, Move, "fr3/move")
    assert graph.until(lambda: "fr3/grasp" in output.problem), "the one that is missing is named"
    grasp = ActionController(graph, Grasp, "sim/fr3/grasp")
    assert graph.until(lambda: output.problem == "")
    for fraction in (0.0, 1.0, 0.5):
        output.send(hold(fraction), 0.0)
        graph.until(lambda: not any(sender.waits for sender in output._gripper._senders))
    assert [(g.width, g.speed) for g in move.goals] == [pytest.approx((0.08, 0.1)), pytest.approx((0.04, 0.1))]
    (goal,) = grasp.goals
    assert (goal.width, goal.speed, goal.force) == pytest.approx((0.0, 0.1, 30.0))
    assert goal.epsilon.inner == goal.epsilon.outer == pytest.approx(0.08), "an object of any size"


def test_a_gripper_that_was_restarted_gets_its_goal_again(graph: Ros):
    from control_msgs.action import GripperCommand

    spec = {"type": "gripper_command", "topic": "again", "max_effort": 0.0}
    output, first = gripper_output(graph, spec, GripperCommand, "again")
    output.send(hold(0.5), 0.0)
    assert graph.until(lambda: first.goals)
    first.destroy()
    assert graph.until(lambda: "no action server" in output.problem)
    output.send(hold(0.5), 0.0)
    second = ActionController(graph, GripperCommand, "sim/again")
    assert graph.until(lambda: output.problem == "")
    output.send(hold(0.5), 0.0)
    assert graph.until(lambda: second.goals)


# MoveIt Servo


class Servo:
    """The services of MoveIt Servo's node."""

    def __init__(self, graph: Ros, name: str, units: str = "speed_units", success: bool = True) -> None:
        from moveit_msgs.srv import ServoCommandType

        self.types: list[int] = []
        self._success = success
        self.node = rclpy.create_node(name, namespace="sim")
        self.node.declare_parameter("moveit_servo.command_in_type", units)
        self.node.create_service(ServoCommandType, "~/switch_command_type", self._switch)
        graph._executor.add_node(self.node)

    def _switch(self, request: Any, response: Any) -> Any:
        self.types.append(request.command_type)
        response.success = self._success
        return response


def prepared(graph: Ros, output: RobotOutput, true) -> bool:
    def once() -> bool:
        output.prepare()
        return true(output.problem)

    return graph.until(once)


@pytest.mark.parametrize(("kind", "number"), [("joint_jog", 0), ("twist", 1), ("pose", 2)])
def test_servo_is_told_what_comes_before_it_comes(graph: Ros, kind, number):
    output = RobotOutput(graph.node, robot(type=kind, topic=f"{kind}_cmds", servo=f"servo_{kind}"), hardware=False)
    output.prepare()
    assert "does MoveIt Servo run?" in output.problem
    servo = Servo(graph, f"servo_{kind}", "unitless" if kind == "pose" else "speed_units")
    assert prepared(graph, output, lambda problem: problem == "") and servo.types == [number]
    for _ in range(5):
        output.prepare()
    assert servo.types == [number], "once"
    output.clear()
    assert output.problem and prepared(graph, output, lambda problem: problem == "") and servo.types == [number] * 2


def test_servos_refusal_and_other_units_are_said(graph: Ros):
    output = RobotOutput(graph.node, robot(type="twist", topic="t1", servo="servo_refusing"), hardware=False)
    Servo(graph, "servo_refusing", success=False)
    assert prepared(graph, output, lambda problem: "refuses the command type TWIST" in problem)
    output = RobotOutput(graph.node, robot(type="joint_jog", topic="t2", servo="servo_unitless"), hardware=False)
    servo = Servo(graph, "servo_unitless", "unitless")
    assert prepared(graph, output, lambda problem: "speed_units" in problem) and not servo.types


def test_a_joint_jog_is_the_velocity_of_the_step_and_zero_at_rest(interfaces):
    from vla_agent.ros.outputs.arm_messages import JointJogFormat

    jog = JointJogFormat(PANDA, robot(type="joint_jog", topic="j").controller)
    target = stream()[4]
    message = jog.message(target, 3.0)
    assert (
        np.allclose(message.velocities, (target.joints - target.start) / T) and np.abs(message.velocities).max() > 0.1
    )
    assert list(message.joint_names) == NAMES and not message.displacements and message.duration == T
    assert not np.any(jog.message(Target(target.joints, 0.0, target.joints), 0.0).velocities)


def test_a_twist_has_the_frame_that_the_robots_tree_has():
    from vla_agent.ros.outputs.arm_messages import PoseFormat, TwistFormat

    for kind, make in (("twist", TwistFormat), ("pose", PoseFormat)):
        spec = robot(type=kind, topic="t", frame="panda_link0").controller
        assert make(PANDA, spec).message(stream()[3], 0.0).header.frame_id == "panda_link0"


# What is missing, and robot files


@pytest.mark.parametrize(
    ("controller", "package"),
    [
        ({"type": "follow_joint_trajectory"}, "control_msgs"),
        ({"type": "joint_jog"}, "control_msgs"),
        ({"gripper": {"type": "gripper_command", "topic": "g", "max_effort": 1.0}}, "control_msgs"),
        ({"type": "twist", "servo": "servo_node"}, "moveit_msgs"),
        (
            {
                "gripper": {
                    "type": "franka",
                    "topic": "g",
                    "speed": 1,
                    "force": 1,
                    "grasp_from": 1,
                    "open": 1,
                    "closed": 0,
                }
            },
            "franka_msgs",
        ),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_its_remedy(monkeypatch, controller, package):
    for kind in ("msg", "action", "srv"):
        monkeypatch.setitem(sys.modules, f"{package}.{kind}", None)
    node = SimpleNamespace(create_publisher=lambda *_: None)
    with pytest.raises(NodeError, match=f"{package}/.* is not installed") as caught:
        RobotOutput(node, robot(**controller), hardware=True)
    assert caught.value.key.startswith("controller: ") and package.replace("_", "-") in caught.value.remedy.replace(
        "_", "-"
    )


RIGHT = {"type": "joint_trajectory", "topic": "right", "joints": NAMES[4:]}


@pytest.mark.parametrize(
    ("controller", "words"),
    [
        ({"joints": NAMES[:6]}, "goes nowhere: joint7"),
        ({"joints": NAMES[:5], "further": [RIGHT]}, "goes to two outputs: joint5"),
        ({"joints": [*NAMES[:6], "joint_7"]}, "there is no joint joint_7; did you mean joint7?"),
        ({"further": [RIGHT]}, "each one, the first too, says its joints"),
        ({"joints": [*NAMES, "right_driver_joint"]}, "goes to two outputs: right_driver_joint"),
        ({"joints": NAMES[:4], "further": [RIGHT | {"topic": "arm"}]}, "two outputs have the topic arm"),
        ({"type": "twist", "joints": NAMES[:4], "further": [RIGHT]}, "twist moves the end effector"),
        ({"servo": "servo_node"}, "servo belongs to the types"),
        ({"type": "joint_jog", "frame": "base_link"}, "frame belongs to the types"),
        ({"gripper": {"type": "gripper_command", "topic": "g"}}, "max_effort"),
        (
            {"gripper": {"type": "franka", "topic": "g", "speed": 0.1, "force": 1, "grasp_from": 0.5}},
            "widths in metres",
        ),
        (
            {"gripper": {"type": "gripper_command", "topic": "g", "max_effort": 1, "open": 0.1}},
            "two different positions",
        ),
        ({"gripper": {"type": "robotiq", "topic": "g"}}, "parallel_gripper_command"),
    ],
)
def test_a_robot_file_whose_outputs_do_not_fit_is_refused(tmp_path, controller, words):
    import json

    data = PANDA.model_dump(mode="json", exclude_none=True)
    data["controller"] = {"type": "joint_trajectory", "topic": "arm", "gripper_topic": "gripper"} | controller
    if "gripper" in controller:
        del data["controller"]["gripper_topic"]
    (tmp_path / "mine.yaml").write_text(json.dumps(data))
    with pytest.raises(RobotError) as caught:
        load_robot(tmp_path / "mine.yaml")
    assert words in str(caught.value)


def test_two_answers_for_the_gripper_are_refused():
    with pytest.raises(ValueError, match="two answers"):
        PANDA.controller.model_validate(
            PANDA.controller.model_dump() | {"gripper": {"type": "gripper_command", "topic": "g", "max_effort": 1}}
        )


def test_simulated_actions_and_services_are_not_those_of_the_robot():
    spec = robot(
        gripper={"type": "franka", "topic": "/g", "speed": 1, "force": 1, "grasp_from": 1, "open": 1, "closed": 0}
    )
    assert spec.controller.topics(hardware=True) == ("arm", "/g/move", "/g/grasp")
    assert spec.controller.topics(hardware=False) == ("sim/arm", "/sim/g/move", "/sim/g/grasp")
