"""Reads recordings of `ros.runtime.recorder`: the actions of an episode, and the arm's posture at its start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vla_agent.errors import NodeError
from vla_agent.robot.joint_states import JointJoiner


@dataclass(frozen=True)
class RecordedActions:
    """``actions`` (N, A), one a control period, with components ``names``; ``start`` (J,) rad: joints before them."""

    names: tuple[str, ...]
    actions: np.ndarray
    start: np.ndarray


def read_actions(
    folder: Path,
    actions: str,
    joint_states: Sequence[str],
    joints: Sequence[str],
    decode: Callable[[bytes, str], Any],
) -> RecordedActions:
    """The actions of a recorded episode.

    Args:
        folder: of the bag, such as ``recordings/episode-0000``.
        actions: topic of the actions, such as ``/policy/action``.
        joint_states: topics of the joint states.
        joints: names of the joints, in the order wanted.
        decode: serialized bytes and type name -> message (`ros.messages.conversions.deserialize`).

    Raises:
        NodeError: no bag, no actions in it, or no joint states; or the package `rosbags` is missing.
    """
    try:
        from rosbags.rosbag2 import Reader
    except ImportError as error:
        remedy = "pip install 'vla_agent[ros-bags]'"
        raise NodeError(
            "replaying needs the package rosbags", key="rosbags", found=str(error), remedy=remedy
        ) from error
    topics, names, rows = (actions, *joint_states), [], []
    start: np.ndarray | None = None
    joiner = JointJoiner(joints)
    before = True
    try:
        with Reader(folder) as reader:
            for connection, _, raw in reader.messages([c for c in reader.connections if c.topic in topics]):
                message = decode(bytes(raw), connection.msgtype)
                if connection.topic == actions and len(message.points):
                    names.append(tuple(message.joint_names))
                    rows.append(np.array(message.points[0].positions))
                    before = False
                elif connection.topic != actions and before and (state := joiner.add(message)) is not None:
                    start = state.positions
    except Exception as error:  # rosbags raises many types of exceptions for damaged files
        raise _unusable(folder, actions, f"{type(error).__name__}: {error}") from error
    if not rows or len(set(names)) > 1 or start is None:
        found = f"{len(rows)} actions of {len(set(names))} kinds"
        raise _unusable(folder, actions, found if start is not None else f"{found}, no joint state before them")
    return RecordedActions(names[0], np.stack(rows), start)


def _unusable(folder: Path, actions: str, found: str) -> NodeError:
    return NodeError(
        "the recording cannot be replayed",
        file=folder,
        key=actions,
        expected="an episode of recorder_node with actions of one policy, and joint states before them",
        found=found,
        remedy="record with the graph running: vla-agent up sim, and recorder_node at the same time",
    )
