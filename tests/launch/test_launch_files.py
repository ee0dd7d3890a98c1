"""The launch files under ROS 2's own `launch` and `launch_ros`, where they are installed: no wheel has them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

launch = pytest.importorskip("launch")
pytest.importorskip("launch_ros")

from launch.actions import DeclareLaunchArgument, ExecuteProcess  # noqa: E402
from launch.launch_context import LaunchContext  # noqa: E402
from launch.launch_description_sources import PythonLaunchDescriptionSource  # noqa: E402

from vla_agent.ros.process.graph_plan import Choices, NodeStart, known_arguments, plan  # noqa: E402  # noqa: E402
from vla_agent.ros.process.graph_table import GRAPHS, Entry  # noqa: E402
from vla_agent.ros.process.launch_description import _nodes, _when_ended  # noqa: E402

FILES = Path(__file__).parents[2] / "launch"


@pytest.mark.parametrize("graph", GRAPHS)
def test_each_launch_file_declares_every_argument(graph):
    source = PythonLaunchDescriptionSource(str(FILES / f"{graph}.launch.py"))
    description = source.get_launch_description(LaunchContext())
    declared = [entity.name for entity in description.entities if isinstance(entity, DeclareLaunchArgument)]
    assert declared == known_arguments(graph)


@pytest.mark.parametrize("graph", GRAPHS)
def test_each_launch_file_starts_the_nodes_of_the_plan(graph):
    actions = _nodes(graph, {}, LaunchContext())
    nodes = [action for action in actions if hasattr(action, "node_executable")]
    assert [node.node_executable for node in nodes] == [s.entry.executable for s in plan(graph, {}, Choices())]


@pytest.mark.parametrize(
    ("entry", "code", "expected"),
    [
        (Entry("evaluate_node", completes=True), 0, 0),
        (Entry("evaluate_node", completes=True), 2, 1),
        (Entry("policy_node"), 0, 1),
        (Entry("policy_node"), 3, 1),
    ],
)
def test_the_exit_code_says_whether_a_node_was_to_end(entry, code, expected):
    """With small processes in the nodes' place; the other one is ended by launch."""
    command = [sys.executable, "-c", f"raise SystemExit({code})"]
    ends = ExecuteProcess(cmd=command, on_exit=_when_ended(NodeStart(entry, {})))
    stays = ExecuteProcess(
        cmd=[sys.executable, "-c", "import time; time.sleep(600)"], on_exit=_when_ended(NodeStart(Entry("x"), {}))
    )
    service = launch.LaunchService(noninteractive=True)
    service.include_launch_description(launch.LaunchDescription([stays, ends]))
    assert service.run() == expected


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("robott:=my.yaml", "did you mean robot?"),
        ("safety_node.deadmann:=true", "did you mean safety_node.deadman?"),
        ("hardware:=true", "no such argument"),
        ("seed:=x", "a whole number"),
        ("params_file:=no/such.yaml", "no/such.yaml"),
        ("without:=policy_nod", "did you mean policy_node?"),
    ],
)
def test_a_mistake_ends_with_a_message_before_any_node_starts(tmp_path, argument, named):
    """As `ros2 launch FILE ARGUMENT` does it."""
    code = (
        "import sys, launch\n"
        "from launch.launch_description_sources import AnyLaunchDescriptionSource as Source\n"
        "given = [tuple(word.split(':=', 1)) for word in sys.argv[2:]]\n"
        "service = launch.LaunchService(argv=sys.argv[2:], noninteractive=True)\n"
        "include = launch.actions.IncludeLaunchDescription(Source(sys.argv[1]), launch_arguments=given)\n"
        "service.include_launch_description(launch.LaunchDescription([include]))\n"
        "sys.exit(service.run())\n"
    )
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
    command = [sys.executable, "-c", code, str(FILES / "sim.launch.py"), argument]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    shown = done.stdout + done.stderr
    assert done.returncode == 1 and named in shown and "process started" not in shown, shown
