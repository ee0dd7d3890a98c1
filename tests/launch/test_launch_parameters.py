"""Parameters of every node: what is taken, what is refused, and that no mistake of a user ends in a traceback."""

from __future__ import annotations

import subprocess
import sys
from array import array

import pytest

from vla_agent.errors import NodeError
from vla_agent.ros.process import parameter_check
from vla_agent.ros.process.node_parameters import NODES
from vla_agent.ros.process.parameter_check import checked_value, checked_values

EVERY = [(node, name) for node, known in NODES.items() for name in known.parameters]
OTHERS = {bool: ["yes", 1, 0.5, [1, 2]], int: [1.5, "1", True], float: ["1", True, [1.0]], str: [3, 0.5, True, None]}
OTHERS[list] = [[96.0, 96.0], [], [1] * 9, "96", 96]


@pytest.mark.parametrize(("node", "name"), EVERY)
def test_every_parameter_takes_its_default_and_refuses_other_types(node, name):
    default = NODES[node].parameters[name].default
    assert checked_value(node, name, default) == default
    for wrong in OTHERS[type(default)]:
        with pytest.raises(NodeError) as error:
            checked_value(node, name, wrong)
        assert error.value.key == name and error.value.expected and node in str(error.value)


@pytest.mark.parametrize(("node", "name"), EVERY)
def test_every_misspelled_parameter_is_refused_with_the_nearest(node, name):
    for wrong in (name + "t", name[1:], name.replace("_", "-") + "_"):
        if wrong not in NODES[node].parameters:
            with pytest.raises(NodeError) as error:
                checked_values(node, {wrong: 1})
            assert name in error.value.expected.split(", ") and "did you mean" in error.value.remedy


def test_a_name_that_is_near_to_none_has_no_advice():
    with pytest.raises(NodeError) as error:
        checked_values("safety_node", {"max_age": 3})
    assert error.value.remedy == "`safety_node --help` lists all"


@pytest.mark.parametrize(("node", "name"), [(n, k) for n, k in EVERY if type(NODES[n].parameters[k].default) is float])
def test_a_whole_number_is_taken_for_a_double_and_what_is_no_number_refused(node, name):
    parameter = NODES[node].parameters[name]
    possible = [w for w in (-3, 0, 1) if not parameter_check._expected(parameter, float(w))]
    for whole in possible:
        taken = checked_value(node, name, whole)
        assert taken == whole and type(taken) is float
    bounded = parameter.low is not None or parameter.above is not None
    assert possible or (bounded and parameter.high is not None), "no whole number is within its bounds"
    for wrong in (float("nan"), float("inf"), *((-1e9,) if bounded else ())):
        with pytest.raises(NodeError):
            checked_value(node, name, wrong)


@pytest.mark.parametrize(
    ("node", "name", "wrong", "named"),
    [
        ("camera_node", "image_reliability", "best-effort", "did you mean best_effort?"),
        ("camera_node", "image_size", [0, 96], "at least 1"),
        ("camera_node", "rate", 0.0, "more than 0"),
        ("evaluate_node", "episodes", 0, "at least 1"),
        ("policy_node", "mode", "real_time", "did you mean realtime?"),
        ("policy_node", "seed", -1, "at least 0"),
        ("sim_robot_node", "drop", 1.5, "at most 1"),
        ("sim_robot_node", "fault", "camera_stopp", "did you mean camera_stop?"),
        ("safety_node", "real_time_factor", 0.0, "at least 0.001"),
    ],
)
def test_impossible_values_are_refused_with_what_is_possible(node, name, wrong, named):
    with pytest.raises(NodeError) as error:
        checked_value(node, name, wrong)
    assert named in error.value.expected


def test_arrays_of_ros_and_parameters_of_ros_itself_are_taken():
    assert checked_value("camera_node", "image_size", array("q", [64, 128])) == [64, 128]
    given = {"use_sim_time": True, "qos_overrides./x.publisher.depth": 3}
    assert checked_values("camera_node", given) == given


def test_the_tables_of_names_are_those_of_the_code():
    from sim.tasks.scene_layout import SPLITS
    from vla_agent.policy.execution import MODES
    from vla_agent.ros.process import node_parameters
    from vla_agent.ros.runtime.sim_robot import FAULTS

    assert set(node_parameters.SIMULATED_FAULTS) == set(FAULTS)
    assert set(node_parameters.EXECUTION_MODES) == {"", *MODES}
    assert set(node_parameters.SPLITS) == set(SPLITS)


def started(node: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A node's process that has ended by itself."""
    command = [sys.executable, "-m", "vla_agent.ros.process.start", node, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


def test_a_real_node_refuses_arguments_that_ros_cannot_read():
    pytest.importorskip("rclpy")
    done = started("instruction_node", "--ros-args", "--params-file", "no/such/file.yaml")
    assert done.returncode == 2 and "no/such/file.yaml" in done.stderr and "Traceback" not in done.stderr


def test_a_real_node_refuses_a_misspelled_parameter():
    pytest.importorskip("rclpy")
    done = started("instruction_node", "--ros-args", "-p", "loudnes:=-30")
    assert done.returncode == 2 and "did you mean loudness?" in done.stderr and "Traceback" not in done.stderr


def test_words_outside_of_the_ros_arguments_are_refused():
    done = started("safety_node", "--ros-args", "-p", "robot:=panda", "--", "-p", "deadman:=true")
    assert done.returncode == 2 and "not '-p'" in done.stderr
