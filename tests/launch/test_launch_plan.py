"""What each node of a graph is started with: arguments, parameter files, single parameters, and words for ROS."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from vla_agent.cli import main, parse
from vla_agent.cli.deploy.up import _choices
from vla_agent.errors import VlaAgentError
from vla_agent.ros.process import graph_plan
from vla_agent.ros.process.graph_plan import Choices, plan, read_value, single_parameters
from vla_agent.ros.process.graph_processes import PROFILE, RANGE, network_settings, node_environment
from vla_agent.ros.process.graph_table import ARGUMENTS, GRAPHS, OPTIONS
from vla_agent.ros.process.node_parameters import NODES
from vla_agent.ros.process.ros_arguments import RosArguments


def parameters(graph: str = "sim", given: dict | None = None, pushed: str = "", **choices) -> dict[str, dict]:
    """Node -> its parameters."""
    starts = plan(graph, given or {}, Choices(**choices), pushed)
    return {start.entry.executable: dict(start.parameters) for start in starts}


def written(folder: Path, data: object) -> str:
    file = folder / "params.yaml"
    with file.open("w") as opened:
        YAML(typ="safe").dump(data, opened)
    return str(file)


def section(**given: object) -> dict:
    return {"ros__parameters": given}


@pytest.mark.parametrize("graph", GRAPHS)
def test_every_parameter_of_every_node_is_reachable(graph, monkeypatch):
    monkeypatch.setattr(graph_plan, "find_spec", lambda package: package)  # whatever is installed here
    reachable = single_parameters(graph)
    for entry in GRAPHS[graph]:
        fixed = dict(entry.fixed)
        for name, declared in NODES[entry.executable].parameters.items():
            assert name in fixed or f"{entry.executable}.{name}" in reachable
            if name not in fixed:
                chosen = {(entry.executable, name): declared.default}
                assert parameters(graph, parameters=chosen)[entry.executable][name] == declared.default


def test_what_is_given_comes_before_the_file_and_that_before_the_defaults(tmp_path):
    file = written(tmp_path, {"/**": section(seed=5, real_time_factor=1), "policy_node": section(seed=6, max_age=3)})
    found = parameters(params_file=file)
    assert (found["sim_robot_node"]["seed"], found["policy_node"]["seed"]) == (5, 6), "one node's section comes first"
    assert found["policy_node"]["max_age"] == 3.0 and type(found["safety_node"]["real_time_factor"]) is float
    assert "seed" not in found["safety_node"], "a section for all is for those that have the parameter"
    found = parameters(params_file=file, given={"seed": 0}, parameters={("policy_node", "seed"): 9})
    assert (found["sim_robot_node"]["seed"], found["policy_node"]["seed"]) == (0, 9), "the default, given, counts"


@pytest.mark.parametrize(
    ("pattern", "space", "matches"),
    [
        ("policy_node", "/arm1", True),
        ("/policy_node", "", True),
        ("/policy_node", "/arm1", False),
        ("/arm1/policy_node", "/arm1", True),
        ("/**/policy_node", "/a/b", True),
        ("/*/policy_node", "/arm1", True),
        ("/*/policy_node", "/a/b", False),
        ("/**", "/a/b", True),
    ],
)
def test_sections_of_a_parameter_file_match_as_in_ros(tmp_path, pattern, space, matches):
    file = written(tmp_path, {pattern: section(max_age=1.5)})
    if matches:
        assert parameters(params_file=file, namespace=space)["policy_node"]["max_age"] == 1.5
        assert parameters(params_file=file, pushed=space)["policy_node"]["max_age"] == 1.5
    else:
        with pytest.raises(VlaAgentError, match="for no node"):
            parameters(params_file=file, namespace=space)


def test_namespaces_may_be_nested_in_a_parameter_file(tmp_path):
    file = written(tmp_path, {"arm1": {"policy_node": section(max_age=1.5)}})
    assert parameters(params_file=file, namespace="arm1")["policy_node"]["max_age"] == 1.5


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"policy_nod": section(seed=1)}, ("policy_nod", "did you mean policy_node?")),
        ({"policy_node": section(sed=1)}, ("sed", "did you mean seed?")),
        ({"/**": section(nothing_like_it=1)}, ("nothing_like_it",)),
        ({"policy_node": section(seed="one")}, ("seed", "a whole number")),
        ({"policy_node": {"seed": 1}}, ("ros__parameters",)),
        ({"policy_node": section(seed=float("inf"))}, ("finite",)),
        ({"safety_node": section(use_sim_time=False)}, ("sets this parameter itself",)),
        ([1, 2], ("ros__parameters",)),
        ({}, ("ros__parameters",)),
    ],
)
def test_a_parameter_file_with_a_mistake_is_refused(tmp_path, data, words):
    with pytest.raises(VlaAgentError) as error:
        parameters(params_file=written(tmp_path, data))
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize("text", ["a: [", "a: *b", "\x00", None])
def test_a_parameter_file_that_is_no_yaml_or_not_there_is_refused(tmp_path, text):
    file = tmp_path / "params.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(VlaAgentError) as error:
        parameters(params_file=str(file))
    assert str(file) in str(error.value)


def test_nodes_are_left_out_and_unknown_ones_refused():
    left = list(parameters(without=("policy_node", "controller_node", "frames_node")))
    assert left == ["sim_robot_node", "safety_node"]
    with pytest.raises(VlaAgentError, match="did you mean policy_node"):
        parameters(without=("policy_nod",))
    more = Choices(without=("frames_node", "recorder_node"))
    assert "recorder_node" not in parameters(without=more.without)
    assert graph_plan.left_out("sim", more) == ["without recorder_node: the graph sim does not start it anyway"]


def test_a_node_whose_package_is_missing_is_left_out_and_named(monkeypatch):
    monkeypatch.setattr(graph_plan, "find_spec", lambda package: None)
    assert "frames_node" not in parameters()
    assert graph_plan.left_out("sim", Choices()) == ["frames_node is not started: tf2_msgs is not installed"]
    assert graph_plan.left_out("sim", Choices(without=("frames_node",))) == []
    monkeypatch.setattr(graph_plan, "find_spec", lambda package: package)
    assert "frames_node" in parameters() and graph_plan.left_out("sim", Choices()) == []


def test_what_a_graph_fixes_stays():
    assert parameters()["safety_node"]["use_sim_time"] is True
    with pytest.raises(VlaAgentError, match="sets this parameter itself"):
        parameters("robot", parameters={("safety_node", "hardware"): False})


def test_all_nodes_get_the_log_level_and_a_simulated_clock_stays_in_its_namespace():
    (start, *_) = plan("sim", {}, Choices(log_level="debug", forwarded=("-r", "a:=b")))
    assert start.ros_arguments[-6:] == ["-r", "a:=b", "-r", "/clock:=clock", "--log-level", "debug"]
    assert all("/clock:=clock" not in start.more for start in plan("robot", {}, Choices()))


@pytest.mark.parametrize("name", ["/arm1/", "a-b", "1a", "a//b", "a b", "~x"])
def test_namespaces_are_names_of_ros(name):
    if name == "/arm1/":
        assert parameters(namespace=name)
        return
    with pytest.raises(VlaAgentError, match="no such namespace"):
        parameters(namespace=name)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("seed", "3", 3), ("seed", "3.0", None), ("real_time_factor", "1", 1.0), ("real_time_factor", "nan", None)]
    + [("deadman", "True", True), ("deadman", "1", None), ("policy", "", ""), ("seed", "", None)],
)
def test_arguments_are_read_by_the_type_of_their_default(name, text, value):
    if value is None:
        with pytest.raises(VlaAgentError):
            read_value(name, ARGUMENTS[name], text)
    else:
        read = read_value(name, ARGUMENTS[name], text)
        assert read == value and type(read) is type(value)


# -- vla-agent up ------------------------------------------------------------------------------------------------


def test_up_forwards_ros_arguments():
    args = parse(
        ["up", "robot", "--without", "camera_node", "--ros-args", "-r", "joint_states:=/franka/joint_states"]
        + ["-p", "max_age:=2", "-p", "safety_node:deadman:=true", "-r", "__ns:=/arm1", "--log-level", "DEBUG"]
    )
    choices = _choices(args)
    assert choices.without == ("camera_node",) and choices.namespace == "/arm1" and choices.log_level == "debug"
    assert choices.forwarded == ("-r", "joint_states:=/franka/joint_states")
    found = parameters("robot", **vars(choices))
    assert found["policy_node"]["max_age"] == 2.0 and found["safety_node"]["deadman"] is True
    assert "max_age" not in found["safety_node"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["-p", "max_ag:=2"], "did you mean max_age?"),
        (["-p", "policy_nod:max_age:=2"], "did you mean policy_node?"),
        (["-p", "safety_node:max_age:=2"], "deadman"),
        (["-p", "max_age"], "NAME:=VALUE"),
        (["-p"], "nothing after it"),
        (["-p", "max_age:=[1"], "NAME:=VALUE"),
        (["-r", "joint_states"], "FROM:=TO"),
        (["-r", "__node:=x"], "keep their names"),
        (["-r", "policy_node:__ns:=/x"], "share one namespace"),
        (["--log-level", "loud"], "one of: debug"),
        (["--bogus", "x"], "--bogus"),
        (["--params-file", "a", "--params-file", "b"], "twice"),
    ],
)
def test_up_refuses_ros_arguments_that_it_cannot_read(words, named):
    with pytest.raises(VlaAgentError) as error:
        RosArguments("sim", words)
    assert named in str(error.value)


def test_up_starts_nothing_with_a_mistake(tmp_path, capsys):
    logs = ["--logs", str(tmp_path / "logs")]
    for words, named in (
        (["--params_file", "no/such.yaml"], "no/such.yaml"),
        (["--namespace", "a-b"], "a-b"),
        (["--without", "policy_nod"], "did you mean policy_node?"),
        (["--log_level", "info", "--ros-args", "--log-level", "info"], "twice"),
        (["--ros-args", "-p", "seed:=-1"], "at least 0"),
        (["--seed", "-1"], "at least 0"),
    ):
        assert main(["up", "sim", *logs, *words]) == 2
        assert named in capsys.readouterr().err and not (tmp_path / "logs").exists()


def test_all_options_are_the_same_in_up_and_in_launch_files():
    text = (Path(__file__).parents[2] / "vla_agent/ros/process/launch_description.py").read_text()
    assert "arguments_of(graph) | OPTIONS" in text
    for graph in GRAPHS:
        assert {f"--{name}" for name in OPTIONS} <= set(_words(graph))


def _words(graph: str) -> list[str]:
    """The options of `vla-agent up GRAPH`."""
    with pytest.MonkeyPatch.context() as patch:
        shown: list[str] = []
        patch.setattr("sys.stdout", type("Out", (), {"write": lambda _, text: shown.append(text), "flush": int})())
        with pytest.raises(SystemExit):
            parse(["up", graph, "--help"])
    return "".join(shown).replace(",", " ").split()


# -- the network -------------------------------------------------------------------------------------------------


def test_discovery_and_the_profile_are_one_setting(monkeypatch):
    monkeypatch.delenv(RANGE, raising=False)
    monkeypatch.delenv(PROFILE, raising=False)
    assert network_settings()[RANGE] == "LOCALHOST" and Path(network_settings()[PROFILE]).name == "fastdds.xml"
    assert network_settings("subnet")[RANGE] == "SUBNET"
    monkeypatch.setenv(RANGE, "SUBNET")
    monkeypatch.setenv(PROFILE, "/mine.xml")
    assert network_settings() == {RANGE: "SUBNET", PROFILE: "/mine.xml"}, "what the shell has set counts"
    assert network_settings("localhost")[RANGE] == "LOCALHOST", "what is given counts more"
    assert node_environment().items() >= ({"PATH": os.environ["PATH"]} | network_settings()).items()
