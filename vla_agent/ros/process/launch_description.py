"""Launch descriptions from the graph table, for `ros2 launch`; needs the ROS 2 packages launch and launch_ros."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, Shutdown
from launch.launch_description import LaunchDescription
from launch_ros.actions import Node
from ruamel.yaml.error import YAMLError

from vla_agent.errors import NodeError, OptionError
from vla_agent.files.bounded_yaml import parse_yaml
from vla_agent.ros.process.graph_plan import (
    Choices,
    NodeStart,
    choices_of,
    known_arguments,
    left_out,
    plan,
    read_value,
    single_parameters,
)
from vla_agent.ros.process.graph_processes import PATIENCE, network_settings
from vla_agent.ros.process.graph_table import GRAPHS, OPTIONS, arguments_of
from vla_agent.ros.process.node_parameters import NODES
from vla_agent.ros.process.parameter_check import unknown_name

OF_LAUNCH = ("launch-prefix", "launch-prefix-filter")


def launch_description(graph: str) -> LaunchDescription:
    """The nodes of a graph; its arguments, `graph_table.OPTIONS` and ``NODE.PARAMETER`` are launch arguments.

    When one node ends, all end; the exit code is 0 only where that node had finished the graph.
    """
    given: dict[str, str] = {}

    def remember(context: Any) -> None:
        """Before defaults are set: what was given."""
        names = set(known_arguments(graph))
        given.clear()
        given.update((name, text) for name, text in context.launch_configurations.items() if name in names)
        _require_known(graph, context.argv)

    actions: list[Any] = [OpaqueFunction(function=remember)]
    for name, argument in (arguments_of(graph) | OPTIONS).items():
        actions.append(_declared(name, argument.default, argument.description))
    for name, (node, parameter) in single_parameters(graph).items():
        declared = NODES[node].parameters[parameter]
        actions.append(_declared(name, declared.default, declared.description))
    return LaunchDescription([*actions, OpaqueFunction(function=lambda context: _nodes(graph, given, context))])


def _declared(name: str, default: Any, description: str) -> DeclareLaunchArgument:
    text = default if isinstance(default, str) else json.dumps(default)
    return DeclareLaunchArgument(name, default_value=text, description=description)


def _require_known(graph: str, argv: list[str]) -> None:
    """Refuse unknown names on the command line, where it starts this very file.

    ``hardware:=true`` and the like are taken where the graph sets just that.
    """
    if not any(Path(word).name == f"{graph}.launch.py" for word in sys.argv):
        return
    fixed = {name: json.dumps(value) for entry in GRAPHS[graph] for name, value in entry.fixed}
    known = known_arguments(graph)
    for word in argv:
        name, separator, text = word.partition(":=")
        if separator and name not in (*known, *OF_LAUNCH) and fixed.get(name) != text.lower():
            listing = f"ros2 launch vla_agent {graph}.launch.py --show-args"
            what, expected = f"{graph}.launch.py has no such argument", ", ".join([*arguments_of(graph), *OPTIONS])
            raise unknown_name(name, known, what, text, listing, f"{expected}, or NODE.PARAMETER")


def _nodes(graph: str, given: dict[str, str], context: Any) -> list[Any]:
    """The nodes, with what was given."""
    arguments = {n: read_value(n, a, given[n]) for n, a in arguments_of(graph).items() if n in given}
    singles = single_parameters(graph)
    parameters = {singles[n]: _read_parameter(*singles[n], text) for n, text in given.items() if n in singles}
    options = {name: text for name, text in given.items() if name in OPTIONS}
    choices = choices_of(options, Choices(parameters=parameters))
    starts = plan(graph, arguments, choices, context.launch_configurations.get("ros_namespace", ""))
    settings = network_settings(choices.discovery)
    lines: list[Any] = [LogInfo(msg=line) for line in left_out(graph, choices)]
    return lines + [_node(start, choices.namespace.strip("/"), settings) for start in starts]


def _read_parameter(node: str, name: str, text: str) -> Any:
    """A node's parameter from its text: a string as it is, everything else as YAML."""
    if isinstance(NODES[node].parameters[name].default, str):
        return text
    try:
        return parse_yaml(text, f"{node}.{name}", NodeError)
    except YAMLError as error:
        raise OptionError("an argument is not YAML", key=f"{node}.{name}", found=text) from error


def _node(start: NodeStart, namespace: str, settings: dict[str, str]) -> Node:
    node = start.entry.executable
    return Node(
        package="vla_agent",
        executable=node,
        name=node,
        namespace=namespace or None,
        ros_arguments=start.ros_arguments,
        additional_env=settings,
        output="screen",
        sigterm_timeout=str(PATIENCE),  # a policy that loads ends when it has loaded
        on_exit=_when_ended(start),
    )


def _when_ended(start: NodeStart) -> Callable[[Any, Any], Any]:
    """What follows from a node's end: all nodes end, and launch fails where it was not to end so."""

    def end(event: Any, context: Any) -> Any:
        node, code = start.entry.executable, event.returncode
        if context.is_shutdown or (start.entry.finishes and code == 0):
            return None
        if start.entry.completes and code == 0:
            return [Shutdown(reason=f"{node} is done")]
        raise NodeError(f"{node} ended with exit code {code}; all nodes end")

    return end
