"""`vla-agent up evaluate` and `up replay` started as by hand: real nodes as processes over Fast DDS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("rosbags")
pytest.importorskip("websockets")

from benchmarks.ros.ros_graph import DOMAIN, PACE, PATIENCE  # noqa: E402
from benchmarks.ros.ros_policy import Demonstrated  # noqa: E402
from sim.env import TabletopEnv  # noqa: E402
from vla_agent.robot.description import load_robot  # noqa: E402

TASK, SEED = "press_button", 3


def up(graph: str, logs: Path, *arguments: str) -> str:
    """Run ``vla-agent up`` to its end; what the nodes logged."""
    env = dict(os.environ, ROS_DOMAIN_ID=DOMAIN)
    words = [sys.executable, "-m", "vla_agent", "up", graph, "--logs", str(logs), "--real_time_factor", str(PACE)]
    try:
        done = subprocess.run([*words, *arguments], env=env, capture_output=True, text=True, timeout=2 * PATIENCE)
        result = f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
    except subprocess.TimeoutExpired as error:
        result = f"not done after {error.timeout:g} s"
    logged = "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-2000:]}" for log in logs.glob("*.log"))
    assert "done; ending" in result and "exit code 0" in result, f"{result}\n{logged}"
    return logged


def test_an_episode_is_evaluated_through_the_graph(tmp_path):
    """The expert's demonstration, played through policy, controller and safety node, has the expert's success."""
    results = tmp_path / "results"
    with Demonstrated(TASK, SEED).served() as server:
        arguments = ("--policy", server.url, "--tasks", TASK, "--episodes", "1", "--seed", str(SEED))
        logged = up("evaluate", tmp_path / "logs", *arguments, "--task", TASK, "--results", str(results))
    report = json.loads((results / "graph.json").read_text())
    (episode,) = report["episodes"]
    assert (episode["task"], episode["seed"], episode["stopped"]) == (TASK, SEED, False), logged
    assert episode["success"] and 0 < episode["steps"] <= 240, logged
    assert report["summary"]["graph"]["k"] == 1


def test_a_recorded_episode_is_replayed_on_the_simulated_robot(tmp_path):
    """A bag as the recorder writes it: all of its actions go through the graph, and all nodes end well."""
    env = TabletopEnv(task=TASK)
    env.begin(SEED)
    start = env.world.data.qpos[env.world.model.joint("joint1").qposadr[0] :][:7].copy()
    env.close()
    actions = np.zeros((12, 7))
    actions[2:10, 1] = 0.006
    bag = record(tmp_path, start, actions)
    arguments = ("--bag", str(bag), "--task", TASK, "--seed", str(SEED))
    assert "replayed 12 actions" in up("replay", tmp_path / "logs", *arguments)


def record(folder: Path, start: np.ndarray, actions: np.ndarray) -> Path:
    """A bag with one joint state and then ``actions`` (T, 7), one a control period."""
    from rclpy.serialization import serialize_message

    from vla_agent.robot.control.action_modes import EE_DELTA
    from vla_agent.ros.messages import conversions
    from vla_agent.ros.recording.recorder import Recorder

    robot = load_robot("panda")
    states = f"/{robot.joint_states}"
    types = {"/policy/action": "trajectory_msgs/msg/JointTrajectory", states: "sensor_msgs/msg/JointState"}
    recorder = Recorder(folder / "recordings", types, free=0)
    recorder.begin("press the button")
    state = conversions.joint_state_message(list(robot.joint_names), start, 1.0, robot.base_frame)
    recorder.write(states, 10**9, bytes(serialize_message(state)))
    for k, action in enumerate(actions):
        time = 1.0 + k * robot.period
        sent = conversions.trajectory_message(EE_DELTA, action[None], time, robot.period)
        recorder.write("/policy/action", round(time * 1e9), bytes(serialize_message(sent)))
    return recorder.end("success")


def test_from_a_bag_through_a_dataset_and_a_step_of_tuning_to_an_evaluation(tmp_path):
    """The walk-through of docs/ros2.md, command by command, on a clip of a second; here without a process for each."""
    pytest.importorskip("vla_agent.data.convert.convert", reason="there is no conversion of bags")
    from benchmarks.ros.ros_record_loop import STAGES, loop
    from vla_agent.cli import main

    def command(*words: str) -> None:
        assert main(words) == 0, words

    rows = loop(tmp_path, command)
    assert [row["stage"] for row in rows if not row["wrong"]] == list(STAGES), rows
