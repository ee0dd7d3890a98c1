"""Joint values of one ROS 2 message, decoded by rclpy or by `rosbags`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vla_agent.errors import ObservationError
from vla_agent.files.input_limits import JOINTS, NAME


def joint_positions(message: Any, names: Sequence[str], of: str = "position") -> np.ndarray:
    """(len(names),) values of a sensor_msgs/JointState in the order of ``names``; other joints are ignored.

    Args:
        of: the quantity, ``position``, ``velocity`` or ``effort``.

    Raises:
        ObservationError: a name is missing or there twice, or there are fewer or more values than names.
    """
    values = getattr(message, of)
    if max(len(values), len(message.name)) > JOINTS:
        raise ObservationError(
            "a joint state is too large",
            key="name",
            expected=f"at most {JOINTS} joints",
            found=f"{len(message.name)} names, {len(values)} values",
            remedy="check what publishes it",
        )
    places = {name: k for k, name in enumerate(message.name)}
    missing = [name for name in names if places.get(name, len(values)) >= len(values)]
    if missing:
        raise ObservationError(
            "joints are missing in a joint state",
            key=", ".join(missing),
            expected=", ".join(names),
            found=", ".join(message.name)[: 10 * NAME],
            remedy="configure the joint state broadcaster to publish them, or fix the names in the robot file",
        )
    twice = [name for name in names if message.name.count(name) > 1]
    if twice or len(values) > len(message.name):
        raise ObservationError(
            "a joint state does not say which value is which joint's",
            key=", ".join(twice) or of,
            expected="each joint once, and one value for each",
            found=f"{', '.join(message.name)[: 10 * NAME]}: {len(values)} values",
            remedy="check what publishes it: two drivers may be merged in one message",
        )
    return np.array([values[places[name]] for name in names])
