"""Frames in which a person commanded the robot: they correct the policy, and the policy's own are not learned from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vla_agent.data.convert.bag_messages import SWITCH
from vla_agent.data.convert.bag_reader import open_bag
from vla_agent.data.lerobot import dataset_schema
from vla_agent.errors import DatasetError

Marks = list[tuple[float, bool]]  # when a bag received a mark, seconds; whether a person commands from then on


def read_interventions(path: Path, topic: str) -> Marks | None:
    """The marks of a bag (std_msgs/Bool) in order of time; None where it has no such topic.

    Raises:
        DatasetError: the bag is damaged, or the topic has another type.
    """
    with open_bag(path) as reader:
        found = [connection for connection in reader.connections if connection.topic == topic]
        if not found:  # an empty list would mean every topic
            return None
        for connection in found:
            if connection.msgtype != SWITCH:
                raise DatasetError(
                    "a topic has another message type than its use needs",
                    file=path,
                    key=topic,
                    expected=f"{SWITCH} for intervention",
                    found=connection.msgtype,
                    remedy="name the right topic in the mapping file, or leave intervention out",
                )
        return [
            (nanoseconds * 1e-9, bool(reader.deserialize(raw, connection.msgtype).data))
            for connection, nanoseconds, raw in reader.messages(found)
        ]


def intervention_columns(marks: Marks | None, times: np.ndarray) -> dict[str, np.ndarray]:
    """``annotation.intervention`` and ``annotation.clean``, (n, 1) each, for control periods at ``times`` (n,) s.

    Where a person corrects a policy within an episode, only the person's frames are to be learned from (clean).  An
    episode of the policy alone, or of a person alone, is clean throughout.
    """
    known = marks or []
    begins = np.array([time for time, _ in known])
    states = np.array([False, *(state for _, state in known)])
    commands = states[np.searchsorted(begins, times + 1e-6, side="right")]  # 1e-6: rounded stamps
    clean = commands if commands.any() else np.ones(len(times), bool)
    return {
        dataset_schema.CLEAN: clean.astype(np.float32)[:, None],
        dataset_schema.INTERVENTION: commands.astype(np.float32)[:, None],
    }
