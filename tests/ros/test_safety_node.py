"""Safety and controller node in this process: their parameters, the gate, and what they notice around them."""

from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from trajectory_msgs.msg import JointTrajectory  # noqa: E402

from benchmarks.hardware.running_nodes import running  # noqa: E402
from benchmarks.hardware.uncertified_cases import certified, faulty  # noqa: E402
from vla_agent.errors import GateError, NodeError, VlaAgentError  # noqa: E402
from vla_agent.robot.description import load_robot  # noqa: E402
from vla_agent.robot.safety.supervisor import Timing  # noqa: E402
from vla_agent.ros.nodes.policy_node import require_as_certified  # noqa: E402
from vla_agent.ros.outputs.robot_output import _require_simulated  # noqa: E402
from vla_agent.ros.process.node_base import (  # noqa: E402
    COMMANDS,
    checked_factor,
    declare_parameters,
    forbid_robot_topics,
    freeze_while,
)
from vla_agent.ros.runtime import certificate_watch  # noqa: E402

HOME = np.array(load_robot("panda").home)


@pytest.fixture
def hardware(tmp_path, monkeypatch):
    """A valid certificate; how long an inference takes is not measured: its policy cannot act."""
    monkeypatch.setattr(certificate_watch, "p99_ms_in_subprocess", lambda *_: 1.0)
    return certified(tmp_path / "case")


def graph(hardware, *words: str, **values):
    values = {"hardware": True} | hardware.parameters() | values
    return running({"safety_node": values, "controller_node": {}}, str(hardware.keys), words)


def act(nodes, seconds: float = 0.3) -> None:
    nodes.spin(seconds, partial(nodes.act, np.zeros(7)))


def run(nodes, hardware) -> None:
    """Until the robot is commanded; a stop because this machine was late is reset."""
    nodes.connect()
    nodes.announce(hardware.case.payload["policy"]["digest"])
    follow(nodes)


def follow(nodes) -> None:
    """The same once the nodes are connected."""
    nodes.joints = HOME
    nodes.spin(0.15)
    for _ in range(10):
        act(nodes)
        if nodes.on_hardware() and not nodes.stopped:
            return
        nodes.call("safety/reset")
    raise AssertionError(nodes.status)


def test_without_a_certificate_an_emergency_stop_and_joint_states_command_nothing(tmp_path):
    """And neither does the end of the node; its parameters cannot be set."""
    with graph(faulty(tmp_path)["a revoked certificate"]) as nodes:
        nodes.connect()
        nodes.joints = HOME
        nodes.spin(0.15)
        assert nodes.call("safety/estop")[0] and nodes.stopped
        act(nodes)
        done, why = nodes.call("safety/reset")
        assert not done and why == "not certified: the certificate was revoked: id"
        for name, value in (("hardware", False), ("certificate", "x"), ("policy", "x"), ("robot", "so101")):
            assert "read-only" in nodes.set("safety_node", name, value)
        assert "read-only" in nodes.set("controller_node", "mode", "joint_position")
        act(nodes, 0.1)
        nodes.end()
        assert not nodes.received


def test_with_one_the_robot_moves_until_the_file_of_demands_is_gone(hardware):
    with graph(hardware) as nodes:
        run(nodes, hardware)
        before = nodes.on_hardware()
        (hardware.keys / "demands" / "panda.yaml").unlink()
        assert nodes.wait(lambda: nodes.stopped and "demands" in nodes.status, 3.0), nodes.status
        nodes.received.clear()
        act(nodes)
        nodes.call("safety/estop")
        nodes.end()
        assert before and not nodes.on_hardware(), "the arm was at rest: there is nothing to brake"


def test_another_policy_that_is_announced_as_loaded_stops_the_robot(hardware):
    from std_msgs.msg import String

    with graph(hardware) as nodes:
        run(nodes, hardware)
        nodes.loaded.publish(String(data=hardware.case.payload["policy"]["digest"]))
        nodes.spin(0.1)
        assert "another policy" not in nodes.status
        nodes.loaded.publish(String(data="0" * 64))
        assert nodes.wait(lambda: nodes.stopped and "another policy" in nodes.status, 3.0), nodes.status
        done, why = nodes.call("safety/reset")
        assert not done and "another policy" in why


def test_commands_are_refused_until_the_certified_policy_is_announced(hardware):
    """A policy/loaded that was remapped away says nothing: neither before it comes nor after it was taken back."""
    certified = hardware.case.payload["policy"]["digest"]
    with graph(hardware) as nodes:
        nodes.connect()
        nodes.joints = HOME
        nodes.spin(0.15)
        act(nodes)
        assert not nodes.safety._gate.runs and nodes.safety._supervisor.counts["commands"] == 0
        assert "no certified policy is announced" in nodes.status
        nodes.announce(certified)
        follow(nodes)
        nodes.announce("")
        nodes.spin(0.3)
        before = nodes.safety._supervisor.counts["commands"]
        nodes.call("safety/reset")
        act(nodes)
        assert nodes.safety._supervisor.counts["commands"] == before


def test_recorded_actions_move_a_robot_where_it_was_asked_for(hardware):
    with graph(hardware, replay=True) as nodes:
        nodes.connect()
        follow(nodes)
        assert nodes.wait(lambda: "replay: of no policy" in nodes.status or nodes.stopped, 3.0), nodes.status


def test_a_second_node_that_publishes_commands_stops_the_robot(hardware):
    with graph(hardware) as nodes:
        run(nodes, hardware)
        second = nodes.probe.create_publisher(JointTrajectory, "robot/joint_trajectory", 1)
        found = nodes.wait(lambda: nodes.stopped and "2 nodes publish on /robot/joint_trajectory" in nodes.status, 4.0)
        assert found and "probe, safety_node" in nodes.status, nodes.status
        nodes.probe.destroy_publisher(second)


def test_a_simulated_graph_cannot_be_remapped_to_a_motor(tmp_path):
    for topic in ("sim/robot/joint_trajectory", "sim/robot/gripper"):
        words = ("-r", f"{topic}:=/robot/joint_trajectory")
        with (
            pytest.raises(NodeError, match="may not be remapped"),
            running({"safety_node": {}}, str(tmp_path), words),
        ):
            pass
    with running({"safety_node": {}}, str(tmp_path), ("-r", "__ns:=/arm1")) as nodes:
        names = [publisher.topic_name for publisher in nodes.safety.publishers]
        assert "/arm1/sim/robot/joint_trajectory" in names


def test_no_other_node_publishes_where_the_robot_takes_commands(tmp_path):
    words = ("-r", "controller/joint_trajectory:=robot/joint_trajectory")
    with running({"controller_node": {}}, str(tmp_path), words) as nodes:
        with pytest.raises(NodeError, match="only the safety node") as error:
            forbid_robot_topics(nodes.controller)
        assert error.value.key == "/robot/joint_trajectory"
        forbid_robot_topics(nodes.safety)


@pytest.mark.parametrize("topic", ["/robot2/joint_trajectory", "policy/action"])
def test_no_command_is_remapped_whatever_robot_file_the_node_was_given(tmp_path, topic):
    words = ("-r", f"controller/joint_trajectory:={topic}")
    with running({"controller_node": {}}, str(tmp_path), words) as nodes:
        with pytest.raises(NodeError, match="only the safety node") as error:
            forbid_robot_topics(nodes.controller)
        assert error.value.expected == "/controller/joint_trajectory"
        with pytest.raises(NodeError):  # a node that names no topic of commands may have none
            forbid_robot_topics(nodes.probe)
    for words in (("-r", "joint_states:=/arm/joint_states"), ("-r", "__ns:=/arm1")):
        with running({"controller_node": {}}, str(tmp_path), words) as nodes:
            forbid_robot_topics(nodes.controller)


def test_the_controllers_stream_begins_where_the_arm_was_led_during_a_stop(tmp_path):
    """And what follows moves away from there within the limits, however slow this machine is."""
    with running({"safety_node": {}, "controller_node": {}}, str(tmp_path)) as nodes:
        nodes.connect()
        nodes.joints = HOME
        nodes.spin(0.15)
        nodes.call("safety/estop")
        nodes.joints = led = HOME + np.array([0.2, -0.1, 0, 0, 0, 0, 0.1])
        nodes.spin(0.2)
        nodes.arm.clear()
        for _ in range(10):
            nodes.call("safety/reset")
            nodes.wait(lambda: not nodes.stopped, 1.0)
            act(nodes)
            if nodes.arm:
                break
        assert nodes.arm and np.array_equal(nodes.arm[0], led)
        assert np.abs(np.diff(nodes.arm[:3], axis=0)).max(initial=0.0) < 0.05


def test_a_node_that_is_held_up_loses_no_command_that_may_still_be_carried_out(tmp_path, monkeypatch):
    """As many wait for it as periods that a command may be late: a lost one would look like a pause of a moving arm."""
    with running({"safety_node": {}}, str(tmp_path)) as nodes:
        taken = []
        monkeypatch.setattr(nodes.safety, "_take_command", lambda message: taken.append(message.header.stamp.sec))
        commands = nodes.probe.create_publisher(JointTrajectory, nodes.controller.COMMAND_TOPIC, COMMANDS)
        nodes.connect()
        assert nodes.wait(lambda: commands.get_subscription_count() == 1)
        late = round(Timing().age)
        for step in range(late):
            message = JointTrajectory()
            message.header.stamp.sec = step
            commands.publish(message)
        assert nodes.wait(lambda: len(taken) == late, 5.0) and taken == list(range(late))


class Given:
    """A node that was started with ``words``."""

    def __init__(self, *words: str) -> None:
        self._words = words

    def __enter__(self):
        rclpy.init(args=["--ros-args", *self._words])
        self.node = rclpy.create_node("some_node")
        return self.node

    def __exit__(self, *_):
        self.node.destroy_node()
        rclpy.try_shutdown()


def test_a_misspelled_parameter_is_refused_and_the_nearest_is_named():
    with Given("-p", "robott:=my.yaml") as node, pytest.raises(NodeError) as error:
        declare_parameters(node, "safety_node")
    assert (error.value.key, "did you mean robot?" in error.value.remedy) == ("robott", True)
    with Given("-p", "use_sim_time:=true", "-p", "robot:=so101") as node:
        assert declare_parameters(node, "safety_node")["robot"] == "so101"


def test_a_whole_number_is_taken_for_a_double_and_other_types_are_refused():
    with Given("-p", "max_age:=3", "-p", "execute:=4") as node:
        values = declare_parameters(node, "policy_node")
        assert (values["max_age"], type(values["max_age"]), values["execute"]) == (3.0, float, 4)
    for word, name in (("execute:=4.0", "execute"), ("hardware:=1", "hardware"), ("policy:=7", "policy")):
        with Given("-p", word) as node, pytest.raises(NodeError) as error:
            declare_parameters(node, "policy_node")
        assert error.value.key == name


def test_what_a_lifecycle_node_reads_at_configuration_can_be_set_until_then():
    from rclpy.parameter import Parameter

    frozen = True
    with Given() as node:
        declare_parameters(node, "policy_node")
        freeze_while(node, "policy_node", lambda: frozen)
        texts = (("policy", "x"), ("certificate", "x"), ("mode", "open_loop"))
        for name, value in (*texts, ("execute", 1), ("openvino", True)):
            frozen = True
            (result,) = node.set_parameters([Parameter(name, value=value)])
            assert not result.successful and name in result.reason and "configured" in result.reason
            frozen = False
            assert node.set_parameters([Parameter(name, value=value)])[0].successful
        for name, value in (("hardware", True), ("robot", "x"), ("real_time_factor", 2.0), ("autostart", False)):
            assert not node.set_parameters([Parameter(name, value=value)])[0].successful


def test_what_takes_effect_while_a_node_runs_can_be_set():
    from rclpy.parameter import Parameter

    with Given() as node:
        declare_parameters(node, "sim_robot_node")
        assert node.set_parameters([Parameter("seed", value=3)])[0].successful
        assert not node.set_parameters([Parameter("robot", value="x")])[0].successful


def test_a_check_that_waits_for_its_files_closes_the_gate_and_holds_up_no_brake(hardware, monkeypatch):
    """A folder of the network that does not answer, a lock that somebody holds."""
    monkeypatch.setattr(certificate_watch, "PATIENCE", 0.3)
    go = threading.Event()
    try:
        with graph(hardware) as nodes:
            run(nodes, hardware)
            monkeypatch.setattr(nodes.safety._watch, "recheck", lambda *_: str(go.wait(20.0)))
            assert nodes.wait(lambda: nodes.stopped and "could not be checked within" in nodes.status, 4.0)
            began = time.monotonic()
            nodes.safety.final()
            assert time.monotonic() - began < 2.0
    finally:
        go.set()


def test_the_robot_brakes_before_anything_else_at_the_end(hardware, monkeypatch):
    with graph(hardware) as nodes:
        order = []
        monkeypatch.setattr(nodes.safety._gate, "final", lambda *_: order.append("brake"))
        monkeypatch.setattr(nodes.safety._background, "close", lambda: order.append("close"))
        nodes.safety.final()
        assert order == ["brake", "close"]


def test_a_reset_while_the_arm_brakes_reads_no_files(hardware, monkeypatch):
    from std_srvs.srv import Trigger

    with graph(hardware) as nodes:
        read = []
        monkeypatch.setattr(nodes.safety, "_check_certificate", lambda: read.append(1))
        supervisor = nodes.safety._supervisor
        supervisor.stop("e-stop", "a test", 0.0)
        supervisor._limits.velocity = np.full(7, 0.5)
        answer = nodes.safety._reset(Trigger.Request(), Trigger.Response())
        assert (answer.success, answer.message, read) == (False, "still braking", [])
        supervisor._limits.velocity = np.zeros(7)
        nodes.safety._reset(Trigger.Request(), Trigger.Response())
        assert read == [1]


@pytest.mark.parametrize("factor", [4.0, 0.5, 1.0001, float("nan")])
def test_on_hardware_time_is_that_of_the_wall_clock(factor):
    with pytest.raises(VlaAgentError, match="wall clock") as error:
        checked_factor({"real_time_factor": factor, "hardware": True})
    assert error.value.key == "real_time_factor"
    assert checked_factor({"real_time_factor": 1.0, "hardware": True}) == 1.0
    assert checked_factor({"real_time_factor": 4.0, "hardware": False}) == checked_factor({"real_time_factor": 4}) == 4


def test_a_safety_node_on_hardware_does_not_start_with_a_faster_clock(hardware):
    with pytest.raises(VlaAgentError, match="wall clock"), graph(hardware, real_time_factor=4.0):
        pass


def test_on_hardware_no_clock_topic_sets_the_time():
    from rclpy.parameter import Parameter

    words = ("-p", "hardware:=true")
    with Given(*words, "-p", "use_sim_time:=true") as node, pytest.raises(NodeError) as error:
        declare_parameters(node, "safety_node")
    assert error.value.key == "use_sim_time"
    for more, allowed in ((words, False), ((), True)):
        with Given(*more) as node:
            declare_parameters(node, "safety_node")
            assert node.set_parameters([Parameter("use_sim_time", value=True)])[0].successful is allowed


def test_the_goals_of_a_simulated_action_cannot_be_remapped():
    for rule in ("sim/arm/_action/send_goal:=/arm/_action/send_goal", "rosservice://sim/arm/_action/send_goal:=/x"):
        with Given("-r", rule) as node, pytest.raises(NodeError, match="may not be remapped"):
            _require_simulated(node, "sim/arm")
    with Given("-r", "__ns:=/arm1") as node:
        _require_simulated(node, "sim/arm")


GIVEN = {"execute": 0, "openvino": False, "max_age": 2.25, "max_delay": 0.2, "tolerance": 0.6, "stalled_after": 2.0}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("execute", 5), ("openvino", True), ("max_age", 2.26), ("tolerance", 0.61), ("stalled_after", 2.01)),
        *(("max_age", float("nan")), ("max_delay", 0.21), ("tolerance", 0.0), ("stalled_after", float("inf"))),
    ],
)
def test_on_hardware_a_policy_is_executed_as_it_was_certified(name, value):
    with pytest.raises(GateError, match="not executed as it was certified") as error:
        require_as_certified(GIVEN | {name: value}, 4)
    assert error.value.key == name


def test_on_hardware_stricter_limits_than_the_defaults_may_be_given():
    require_as_certified(GIVEN, 4)
    require_as_certified(GIVEN | {"execute": 4, "max_age": 1.0, "tolerance": 0.1, "stalled_after": 0.5}, 4)


def test_a_safety_node_reads_the_robot_file_that_it_drives(hardware, tmp_path):
    """Another file under the same name is not the certified robot."""
    source = Path(__file__).parents[2] / "config" / "robots" / "panda.yaml"
    other = tmp_path / "panda.yaml"
    other.write_text(source.read_text().replace("velocity: 2.175", "velocity: 2.275", 1))
    with graph(hardware, robot=str(other)) as nodes:
        nodes.spin(0.05)
        assert nodes.safety._gate.refused.endswith(": robot_file")
