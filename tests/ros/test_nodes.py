"""The nodes' table, executables and messages, the recorder and the camera sources, without a running graph."""

from __future__ import annotations

import ast
import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from vla_agent.cli import main, parse
from vla_agent.errors import NodeError, ObservationError, OptionError, ReportError
from vla_agent.robot.cameras.crop import center_crop
from vla_agent.robot.cameras.image_source import read_images
from vla_agent.robot.description import load_robot
from vla_agent.ros.process.graph_processes import Processes, parameter_arguments
from vla_agent.ros.process.graph_table import ARGUMENTS, GRAPHS, arguments_of
from vla_agent.ros.process.node_parameters import NODES as NODE_PARAMETERS
from vla_agent.ros.process.start import EXECUTABLES

ROOT = Path(__file__).parents[2]
NODES = ROOT / "vla_agent" / "ros" / "nodes"


def test_every_node_is_an_executable_for_ros():
    setup_cfg = configparser.ConfigParser()
    setup_cfg.read(ROOT / "setup.cfg")
    scripts = dict(
        line.split(" = ") for line in setup_cfg["options.entry_points"]["console_scripts"].split("\n") if line
    )
    for name in EXECUTABLES:
        assert scripts[name] == "vla_agent.ros.process.start:main"
        assert os.access(ROOT / "scripts" / name, os.X_OK), "pip keeps the run bit of data files"
        assert (NODES / f"{name}.py").is_file()
    assert sorted(EXECUTABLES) == sorted(p.stem for p in NODES.glob("*_node.py"))


def test_the_table_names_executables_and_parameters_that_exist():
    for entries in GRAPHS.values():
        for entry in entries:
            assert entry.executable in EXECUTABLES
            declared = NODE_PARAMETERS[entry.executable].parameters
            fixed = {name: value for name, value in entry.fixed if name != "use_sim_time"}
            assert {*entry.arguments, *fixed} <= set(declared), entry.executable
            assert set(entry.arguments) <= set(ARGUMENTS)
            for name, value in (*fixed.items(), *((name, ARGUMENTS[name].default) for name in entry.arguments)):
                assert type(value) is type(declared[name].default), f"{entry.executable} {name}"


def test_nodes_declare_the_parameters_of_the_table_and_no_others():
    assert set(NODE_PARAMETERS) == set(EXECUTABLES)
    for name in EXECUTABLES:
        source = (NODES / f"{name}.py").read_text()
        assert f'declare_parameters(self, "{name}")' in source and ".declare_parameter(" not in source


@pytest.mark.parametrize("name", EXECUTABLES)
def test_help_lists_every_parameter_with_its_default_and_starts_nothing(name):
    command = [sys.executable, "-m", "vla_agent.ros.process.start", name, "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr and done.stdout.startswith(f"usage: {name}")
    for parameter, declared in NODE_PARAMETERS[name].parameters.items():
        (line,) = [line for line in done.stdout.splitlines() if line.startswith(f"  {parameter} ")]
        assert declared.description in line and "(default: " in line


def test_a_promoted_process_begins_ordinary_threads_and_children():
    """Where the system allows it at all; a process of its own, so that the tests' own stays as it is."""
    code = """
import os, subprocess, sys, threading
from vla_agent.ros.process.realtime_priority import set_realtime_priority
kinds = []
def note(): kinds.append(os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK)
running = threading.Event(); earlier = threading.Thread(target=lambda: (running.wait(), note())); earlier.start()
allowed = set_realtime_priority(); note(); running.set(); earlier.join()
later = threading.Thread(target=note); later.start(); later.join()
child = subprocess.check_output([sys.executable, "-c", "import os; print(os.sched_getscheduler(0))"])
print(allowed, kinds == [os.SCHED_FIFO, os.SCHED_FIFO, os.SCHED_OTHER], int(child) == os.SCHED_OTHER)
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert printed in (["True"] * 3, ["False", "False", "True"])


def test_a_process_that_stays_in_memory_has_locked_what_it_touched():
    """Where the system allows it; a process of its own, so that the tests' own stays as it is."""
    code = """
from pathlib import Path
from vla_agent.ros.process.realtime_priority import lock_memory
allowed = lock_memory()
touched = bytearray(50_000_000)
locked = next(l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("VmLck"))
print(allowed, int(locked.split()[1]) > 50_000)
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert printed in (["True", "True"], ["False", "False"])


def test_each_graph_has_its_launch_file():
    for graph in GRAPHS:
        tree = ast.parse((ROOT / "launch" / f"{graph}.launch.py").read_text())
        assert any(
            isinstance(part, ast.FunctionDef) and part.name == "generate_launch_description" for part in tree.body
        )
    assert {p.name.split(".")[0] for p in (ROOT / "launch").glob("*.launch.py")} == set(GRAPHS)


def test_nothing_but_the_safety_node_commands_the_robot():
    """Nobody else publishes on the topics that the robot listens to, and the safety node through its gate alone."""
    package = {p: p.read_text() for p in (ROOT / "vla_agent").rglob("*.py")}

    def having(*words: str) -> list[str]:
        return sorted(p.stem for p, text in package.items() if any(word in text for word in words))

    assert having("RobotOutput(") == ["safety_node"]
    makers = having("_MessageOutput(", "_TrajectoryGoals(", "GripperGoals(", "TopicGripperOutput(", "ServoSwitch(")
    assert set(makers) <= {"robot_output", "grippers", "servo"}, "RobotOutput alone makes the outputs"
    # `graph_commands` is the window's, which asks for runs of the task node
    assert having("ActionClient(") == ["goals", "graph_commands"]
    assert having("GoalSender(") == ["grippers", "robot_output"]
    # the others subscribe, or look who publishes there
    with_topics = having(".controller.topics(", "spec.topics(", "spec.outputs(")
    assert with_topics == ["node_base", "recorder_node", "robot_output"]
    simulated = {p.stem for p, text in package.items() if re.search(r"\b(_require_)?simulated\(", text)}
    assert simulated == {"command_interfaces", "robot_output", "sim_robot_node"}
    assert having("COMMANDS_ROBOT = True") == ["safety_node"]
    (node,) = (text for p, text in package.items() if p.stem == "safety_node")
    gate = node[node.index("CommandGate(\n") : node.index("self._watch:")]
    assert node.count("output.send(") == gate.count("output.send(") == 1
    assert node.count("output.prepare") == gate.count("output.prepare") == 1
    asked_of_output = set(re.findall(r"self\._output\.(\w+)", node))
    assert asked_of_output <= {"problem", "clear", "values"}, "what sends is asked of the gate"
    asked = set(re.findall(r"self\._supervisor\.(\w+)", node))
    assert asked <= {"mode", "reason", "last_stop", "counts"}, "what has an effect is asked of the gate"
    assert GRAPHS["robot"] and all(any(e.executable == "safety_node" for e in GRAPHS[g]) for g in ("sim", "robot"))
    for node in ("policy_node", "safety_node"):  # each asks for the certificate by itself
        assert ("hardware", True) in next(e for e in GRAPHS["robot"] if e.executable == node).fixed


def test_in_an_evaluation_one_node_alone_gives_instructions():
    """The scene's own would set the arm in motion before the first episode is laid out."""
    robot = next(e for e in GRAPHS["evaluate"] if e.executable == "sim_robot_node")
    assert ("tell", False) in robot.fixed


def test_up_takes_the_tables_arguments():
    options = parse(["up", "sim", "--task", "stack", "--seed", "3", "--deadman"])
    assert (options.graph, options.task, options.seed, options.deadman) == ("sim", "stack", 3, True)
    assert "task" not in arguments_of("robot")
    with pytest.raises(SystemExit):
        parse(["up", "robot", "--task", "stack"])


def test_parameters_keep_their_types_on_the_command_line():
    assert parameter_arguments("a", 1.0)[1] == "a:=1.0" and parameter_arguments("a", 3)[1] == "a:=3"
    assert parameter_arguments("a", True)[1] == "a:=true" and parameter_arguments("a", "3")[1] == 'a:="3"'


def test_a_node_that_the_package_has_not_cannot_be_left_out(tmp_path):
    with pytest.raises(OptionError, match="no such node"):
        Processes("sim", {}, tmp_path, without=("camara_node",))


def test_nodes_need_no_torch_but_the_policy_node():
    pytest.importorskip("rclpy")
    names = [name for name in EXECUTABLES if name != "policy_node"]
    code = "import sys, importlib\n" + "\n".join(f"importlib.import_module('vla_agent.ros.nodes.{n}')" for n in names)
    assert subprocess.run([sys.executable, "-c", f"{code}\nsys.exit('torch' in sys.modules)"], cwd=ROOT).returncode == 0


def test_an_unknown_node_is_refused_with_the_valid_names():
    words = [sys.executable, "-m", "vla_agent.ros.process.start", "no_node"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "safety_node" in done.stderr


def test_messages_keep_what_they_carry():
    pytest.importorskip("rclpy")
    from vla_agent.ros.messages import conversions

    pixels = np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8)
    image = conversions.image_message(pixels, 12.5, "camera")
    assert (
        np.array_equal(conversions.image_pixels(image), pixels) and conversions.to_seconds(image.header.stamp) == 12.5
    )
    image.encoding = "bgr8"
    assert np.array_equal(conversions.image_pixels(image), pixels[:, :, ::-1])
    for change in ({"encoding": "mono16"}, {"height": 5}, {"step": 1}):
        broken = conversions.image_message(pixels, 0.0, "camera")
        for key, value in change.items():
            setattr(broken, key, value)
        with pytest.raises(ObservationError):
            conversions.image_pixels(broken)
    rows = np.arange(6.0).reshape(2, 3)
    sent = conversions.trajectory_message(["a", "b", "c"], rows, 1.0, 0.05)
    assert np.array_equal(conversions.trajectory_points(sent, ["c", "a", "b"]), rows[:, [2, 0, 1]])
    with pytest.raises(ObservationError, match="other joints"):
        conversions.trajectory_points(sent, ["a", "b"])
    state = conversions.joint_state_message(["x", "y"], np.array([1.0, 2.0]), 0.0, "base")
    assert conversions.joint_positions(state, ["y"]).tolist() == [2.0]
    with pytest.raises(ObservationError, match="joints are missing"):
        conversions.joint_positions(state, ["z"])


def test_a_recorded_episode_can_be_read_again_and_a_discarded_one_leaves_nothing(tmp_path):
    pytest.importorskip("rclpy")
    rosbag2 = pytest.importorskip("rosbags.rosbag2")
    from rclpy.serialization import serialize_message
    from std_msgs.msg import String

    from vla_agent.ros.recording.recorder import Recorder

    recorder = Recorder(tmp_path, {"/instruction": "std_msgs/msg/String"}, free=0)
    data = serialize_message(String(data="stack the cubes"))
    with pytest.raises(NodeError, match="instruction"):
        recorder.begin("  ")
    recorder.begin("stack the cubes")
    recorder.write("/instruction", 5, data)
    assert recorder.bytes == len(data) and recorder.slowest > 0 and recorder.free > 0
    path = recorder.end("success")
    with rosbag2.Reader(path) as reader:
        assert [(c.topic, t, bytes(raw)) for c, t, raw in reader.messages()] == [("/instruction", 5, bytes(data))]
    marks = YAML(typ="safe").load(path / "metadata.yaml")["rosbag2_bagfile_information"]["custom_data"]
    assert {key: json.loads(value) for key, value in marks.items()} == {
        "instruction": "stack the cubes",
        "outcome": "success",
    }
    recorder.begin("again")
    recorder.discard()
    assert [p.name for p in tmp_path.iterdir()] == ["episode-0000"]
    with pytest.raises(NodeError, match="nothing is being recorded"):
        recorder.end("failure")


@pytest.mark.parametrize("moment", ["try_lock", "next_number"])
def test_recorders_that_begin_in_the_same_moment_keep_both_bags(tmp_path, monkeypatch, moment):
    """The second begins before the first has locked its bag, or before that bag is there."""
    pytest.importorskip("rosbags.rosbag2")
    from vla_agent.ros.recording import recorder

    first, second = (recorder.Recorder(tmp_path, {"/state": "std_msgs/msg/String"}, free=0) for _ in range(2))
    real = getattr(recorder, moment)

    def meanwhile(path):
        monkeypatch.setattr(recorder, moment, real)
        if moment == "try_lock":
            second.begin("theirs")
            return real(path)
        name = real(path)
        second.begin("theirs")
        return name

    monkeypatch.setattr(recorder, moment, meanwhile)
    first.begin("mine")
    assert {first.end("success").name, second.end("success").name} == {"episode-0000", "episode-0001"}
    marks = [(tmp_path / f"episode-000{k}" / "metadata.yaml").read_text() for k in range(2)]
    assert sum("mine" in mark for mark in marks) == sum("theirs" in mark for mark in marks) == 1
    for k in range(2):
        assert (tmp_path / f"episode-000{k}" / f"episode-000{k}.mcap").is_file(), "whole file names"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_bag_that_is_always_deleted_is_a_typed_error(tmp_path, monkeypatch):
    pytest.importorskip("rosbags.rosbag2")
    from vla_agent.ros.recording import recorder

    monkeypatch.setattr(recorder, "try_lock", lambda path: shutil.rmtree(path))
    own = recorder.Recorder(tmp_path, {"/state": "std_msgs/msg/String"}, free=0)
    with pytest.raises(NodeError, match="again and again"):
        own.begin("mine")
    assert not own.recording


def test_the_recorder_takes_an_instruction_that_is_not_latched_and_records_each_once(tmp_path):
    rclpy = pytest.importorskip("rclpy")
    rosbag2 = pytest.importorskip("rosbags.rosbag2")
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.serialization import deserialize_message
    from std_msgs.msg import String

    from benchmarks.ros.ros_graph import DOMAIN
    from vla_agent.ros.nodes.recorder_node import RecorderNode
    from vla_agent.ros.process.node_base import LATCHED, SENSORS

    rclpy.init(args=["--ros-args", "-p", f"output:={tmp_path}"], domain_id=int(DOMAIN))
    node, probe, executor = RecorderNode(), rclpy.create_node("probe"), SingleThreadedExecutor()
    for each in (node, probe):
        executor.add_node(each)

    def give(publisher, text: str) -> None:
        publisher.publish(String(data=text))
        until = time.monotonic() + 10
        while node._values()["instruction"] != text and time.monotonic() < until:
            executor.spin_once(timeout_sec=0.01)
        assert node._values()["instruction"] == text

    plain, latched, lossy = (probe.create_publisher(String, "instruction", qos) for qos in (10, LATCHED, SENSORS))
    try:
        while [each.get_subscription_count() for each in (lossy, plain, latched)] != [1, 2, 3]:
            executor.spin_once(timeout_sec=0.01)
        give(plain, "stack the cubes")
        name = node._begin().split(":")[0]
        give(latched, "wipe the table")
        give(lossy, "open the drawer")
        for _ in range(10):  # the other subscription's copy
            executor.spin_once(timeout_sec=0.01)
        node._end("success")
    finally:
        executor.shutdown()
        for each in (node, probe):
            each.destroy_node()
        rclpy.try_shutdown()
    with rosbag2.Reader(tmp_path / name) as reader:
        told = [c for c in reader.connections if c.topic == "/instruction"]
        texts = [deserialize_message(bytes(raw), String).data for _, _, raw in reader.messages(told)]
    assert texts == ["stack the cubes", "wipe the table", "open the drawer"]


def test_two_recorders_in_one_folder_keep_both_episodes_and_delete_what_a_killed_one_left(tmp_path):
    pytest.importorskip("rosbags")
    from vla_agent.ros.recording.recorder import Recorder

    (tmp_path / "episode-0000.partial" / "episode-0000").mkdir(parents=True)
    first, second = (Recorder(tmp_path, {"/instruction": "std_msgs/msg/String"}, free=0) for _ in range(2))
    for recorder in (first, second):
        recorder.begin("stack the cubes")
    assert [recorder.end("success").name for recorder in (first, second)] == ["episode-0000", "episode-0001"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["episode-0000", "episode-0001"]
    first.begin("once more")
    assert first.end("failure").name == "episode-0002"


def test_a_recorded_episodes_actions_are_read_again(tmp_path):
    pytest.importorskip("rclpy")
    pytest.importorskip("rosbags")
    from rclpy.serialization import serialize_message

    from vla_agent.ros.messages import conversions
    from vla_agent.ros.recording.recorder import Recorder
    from vla_agent.ros.runtime.bag_actions import read_actions

    types = {"/policy/action": "trajectory_msgs/msg/JointTrajectory", "/joint_states": "sensor_msgs/msg/JointState"}
    recorder = Recorder(tmp_path, types, free=0)
    rows = np.arange(6.0).reshape(3, 2)

    def record(states: bool = True, names: tuple[str, ...] = ("a", "b")) -> Path:
        recorder.begin("wipe the table")
        if states:
            for k in (0.0, 0.5):
                state = conversions.joint_state_message(["j2", "j1"], np.array([k, 1 + k]), 1.0 + k, "base")
                recorder.write("/joint_states", 1, bytes(serialize_message(state)))
        for k, row in enumerate(rows):  # each has the next action, too
            sent = conversions.trajectory_message(
                ["a", "b"] if k else list(names), np.stack([row, row + 9]), 0.05 * k, 0.05
            )
            recorder.write("/policy/action", 2 + k, bytes(serialize_message(sent)))
        ending = conversions.trajectory_message(["a", "b"], np.empty((0, 2)), 0.2, 0.05)
        recorder.write("/policy/action", 9, bytes(serialize_message(ending)))
        return recorder.end("success")

    recorded = read_actions(record(), "/policy/action", ["/joint_states"], ["j1", "j2"], conversions.deserialize)
    assert recorded.names == ("a", "b") and np.array_equal(recorded.actions, rows)
    assert recorded.start.tolist() == [1.5, 0.5], "the last state before the first action"
    for bad, word in ((record(states=False), "no joint state"), (record(names=("c", "d")), "2 kinds")):
        with pytest.raises(NodeError, match=word):
            read_actions(bad, "/policy/action", ["/joint_states"], ["j1", "j2"], conversions.deserialize)
    with pytest.raises(NodeError, match="cannot be replayed"):
        read_actions(tmp_path / "nothing", "/policy/action", ["/joint_states"], ["j1", "j2"], conversions.deserialize)


def test_the_graphs_report_is_compared_with_one_process_on_shared_seeds(tmp_path):
    from vla_agent.ros.runtime.graph_report import GraphEpisode, summarise, write_graph_report

    episodes = [GraphEpisode("stack", seed, "stack them", seed != 3, 40, seed == 3) for seed in range(4)]
    rows = [{"task": "stack", "seed": s, "control": "policy", "success": True} for s in range(1, 6)]
    rows += [{"task": "stack", "seed": 0, "control": "expert", "success": True}]
    summary = summarise(episodes, {"episodes": rows})
    assert (summary["graph"]["k"], summary["graph"]["n"], summary["stopped"]) == (3, 4, 1)
    assert summary["process"]["n"] == 3 and summary["difference"]["difference"] == pytest.approx(-1 / 3)
    with pytest.raises(ReportError, match="does not contain these"):
        summarise(episodes, {"episodes": rows[-1:]})
    written = write_graph_report(tmp_path / "out", {"seed": 0}, episodes, None)
    assert json.loads((tmp_path / "out" / "graph.json").read_text()) == json.loads(json.dumps(written))


def test_a_graph_is_complete_when_the_node_that_completes_it_ends_well(tmp_path):
    """With small processes in the nodes' place: what the launcher makes of their ends."""
    processes = Processes("replay", {name: a.default for name, a in arguments_of("replay").items()}, tmp_path)

    def ends_with(code: int) -> None:
        process = subprocess.Popen([sys.executable, "-c", f"raise SystemExit({code})"])
        process.wait()
        processes._running["replay_node"] = (process, (tmp_path / "log").open("wb"))

    ends_with(0)
    assert processes.complete and processes.ended() == {}
    ends_with(2)
    assert not processes.complete and processes.ended() == {"replay_node": 2}
    processes.stop()


def test_figures_are_rates_and_quantiles(monkeypatch):
    from vla_agent.ros.runtime import timing_statistics

    now = [5.0]
    monkeypatch.setattr(timing_statistics.time, "monotonic", lambda: now[0])
    rate = timing_statistics.RateMeter()
    now[0] = 7.0
    assert rate(40) == "20.0"
    now[0] = 7.1
    assert rate(41) == "20.0", "a status that comes soon after another has the same rate"
    now[0] = 8.0
    assert rate(41) == "1.0"
    assert timing_statistics.quantiles("age", []) == {}
    assert timing_statistics.quantiles("age", [0.001, 0.002, 0.003]) == {"age p50 ms": "2.00", "age p99 ms": "2.98"}


def test_a_full_disk_is_refused(tmp_path):
    pytest.importorskip("rosbags")
    from vla_agent.ros.recording.recorder import Recorder

    with pytest.raises(NodeError, match="disk is full"):
        Recorder(tmp_path, {}, free=2**62).begin("anything")


def test_a_video_is_played_and_played_again(tmp_path):
    import av

    file = tmp_path / "clip.mp4"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("mpeg4", rate=100)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for k in range(3):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 60 * k, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    source = read_images(str(file), 30.0)
    shown = [next(source) for _ in range(5)]
    assert all(image.shape == (48, 64, 3) for image in shown)
    assert abs(int(shown[1].mean()) - 60) < 8 and abs(int(shown[3].mean()) - 0) < 8
    source.close()


def test_a_source_that_is_not_there_says_so():
    source = read_images("no/such/video.mp4", 30.0)
    assert "cannot be opened" in next(source)
    source.close()


def test_images_are_cropped_to_the_centre_and_averaged():
    wide = np.zeros((8, 16, 3), np.uint8)
    wide[:, 4:12] = 200
    assert (center_crop(wide, (4, 4)) == 200).all()
    assert center_crop(wide, (8, 16)).shape == (8, 16, 3)


def test_without_hardware_commands_go_where_no_motor_listens():
    spec = load_robot("panda").controller
    assert spec.topics(hardware=True) == (spec.topic, spec.gripper_topic)
    assert spec.topics(hardware=False) == (f"sim/{spec.topic}", f"sim/{spec.gripper_topic}")
    absolute = spec.model_copy(update={"topic": "/arm/joint_trajectory"})
    assert absolute.topics(hardware=False)[0] == "/sim/arm/joint_trajectory"


def test_an_argument_that_no_node_takes_is_refused():
    command = [sys.executable, "-m", "vla_agent.ros.process.start", "safety_node", "--robot", "panda"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "--ros-args" in done.stderr and "--robot" in done.stderr


def test_up_refuses_what_does_not_exist_before_any_node_starts(tmp_path, capsys):
    for option, value in (("--task", "nope"), ("--robot", "nobody"), ("--policy", "policies/none")):
        assert main(["up", "sim", option, value, "--logs", str(tmp_path / "logs")]) == 2
        shown = capsys.readouterr()
        assert value in shown.err and "started" not in shown.out
    assert not (tmp_path / "logs").exists()
