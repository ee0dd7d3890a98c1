"""As robot.launch.py, without motors.  Arguments: `ros2 launch vla_agent dry_run.launch.py --show-args`."""

from launch import LaunchDescription
from vla_agent.ros.process.launch_description import launch_description


def generate_launch_description() -> LaunchDescription:
    """The nodes of vla_agent/ros/process/graph_table.py."""
    return launch_description("dry_run")
