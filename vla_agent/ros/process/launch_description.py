"""Launch descriptions from the graph table, for `ros2 launch`; needs the ROS 2 packages launch and launch_ros."""

from __future__ import annotations

from launch.actions import DeclareLaunchArgument, Shutdown
from launch.launch_description import LaunchDescription
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from vla_agent.ros.process.graph_table import ARGUMENTS, GRAPHS, arguments_of


def launch_description(graph: str) -> LaunchDescription:
    """The nodes of a graph; each argument of the table is a launch argument.  When one node ends, all end."""
    actions: list = []
    for name, argument in arguments_of(graph).items():
        default = argument.default
        text = str(default).lower() if isinstance(default, bool) else str(default)
        actions.append(DeclareLaunchArgument(name, default_value=text, description=argument.description))
    for entry in GRAPHS[graph]:
        parameters: dict = dict(entry.fixed)
        for name in entry.arguments:
            kind = type(ARGUMENTS[name].default)
            parameters[name] = ParameterValue(LaunchConfiguration(name), value_type=kind)
        actions.append(
            Node(
                package="vla_agent",
                executable=entry.executable,
                name=entry.executable,
                parameters=[parameters],
                output="screen",
                on_exit=None if entry.finishes else [Shutdown(reason=f"{entry.executable} ended")],
            )
        )
    return LaunchDescription(actions)
