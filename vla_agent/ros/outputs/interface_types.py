"""Message and action types of packages that need not be installed: control_msgs, franka_msgs, moveit_msgs."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from vla_agent.errors import NodeError

REMEDIES = {
    "control_msgs": "install ros-$ROS_DISTRO-control-msgs",
    "moveit_msgs": "install ros-$ROS_DISTRO-moveit-msgs",
    "franka_msgs": "build franka_msgs of franka_ros2 in your workspace, and source it",
}


def interface_type(package: str, kind: str, name: str, needed_by: str) -> Any:
    """The class ``package.kind.name``, such as control_msgs.action.GripperCommand.

    Args:
        needed_by: the key of the robot file that needs it.

    Raises:
        NodeError: the package is not installed, or lacks the type.
    """
    try:
        return getattr(import_module(f"{package}.{kind}"), name)
    except (ImportError, AttributeError) as error:
        raise NodeError(
            f"{package}/{kind}/{name} is not installed",
            key=needed_by,
            expected=f"{package}, a package of ROS 2",
            found=str(error),
            remedy=f"{REMEDIES[package]}; without ROS 2: "
            f"python scripts/build_interfaces.py tests/interfaces/packages/{package}",
        ) from error
