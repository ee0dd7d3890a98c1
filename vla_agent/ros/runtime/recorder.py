"""Records demonstrations: one MCAP bag an episode, as serialized messages, with instruction and outcome."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from vla_agent.errors import NodeError
from vla_agent.files.durable import try_lock, unlock
from vla_agent.files.write_aside import name_aside, place_folder

FREE = 2 * 2**30  # bytes that must stay free on the disk
OUTCOMES = ("success", "failure")
TRIES = 10  # bags that are begun; each that is lost takes another recorder that begins in that moment


class Recorder:
    """Writes ``FOLDER/episode-0000`` and so on; a bag appears under its name when it is complete.

    Args:
        folder: created if it is missing; new episodes are numbered after those in it.
        topics: topic -> message type, such as ``sensor_msgs/msg/Image``.
        free: bytes that must stay free on the disk.

    Raises:
        NodeError: the package `rosbags` is missing.
    """

    def __init__(self, folder: Path, topics: Mapping[str, str], free: int = FREE) -> None:
        try:
            import rosbags.rosbag2  # noqa: F401
        except ImportError as error:
            raise NodeError(
                "recording needs the package rosbags",
                key="rosbags",
                found=str(error),
                remedy="pip install 'vla_agent[ros-bags]'",
            ) from error
        self._folder, self._topics, self._free = folder, dict(topics), free
        self._writer: Any = None
        self._lock: int | None = None
        self._connections: dict[str, Any] = {}
        self.messages = self.bytes = 0  # of this episode
        self.slowest = 0.0  # largest seconds of a write; the reader may reset it
        folder.mkdir(parents=True, exist_ok=True)
        numbers = [int(p.name[8:]) for p in folder.glob("episode-*") if p.name[8:].isdigit()]
        self._number = max(numbers, default=-1) + 1

    @property
    def recording(self) -> bool:
        """Whether an episode is being recorded."""
        return self._writer is not None

    def begin(self, instruction: str) -> str:
        """Start an episode; returns its name.

        Raises:
            NodeError: one is being recorded, there is no instruction, the disk is full, or others delete each new bag.
        """
        from rosbags.typesys import Stores, get_typestore

        if self.recording:
            raise NodeError("an episode is being recorded", remedy="end it first: record/success, /failure or /discard")
        if not instruction.strip():
            raise NodeError("there is no instruction", key="instruction", remedy="publish one on the topic instruction")
        self._require_space()
        self._name, self._instruction = f"episode-{self._number:04d}", instruction.strip()
        self.messages = self.bytes = 0
        writer = self._open_bag()
        types = get_typestore(Stores.ROS2_JAZZY)
        self._connections = {t: writer.add_connection(t, kind, typestore=types) for t, kind in self._topics.items()}
        self._writer = writer
        return self._name

    def _open_bag(self) -> Any:
        """A bag beside the episode's name, locked, so that another recorder in this folder leaves it alone.

        Until it is locked, another one that begins takes it for a dead writer's and deletes it: then there is a next.
        """
        from rosbags.rosbag2 import StoragePlugin, Writer

        for _ in range(TRIES):
            self._aside = name_aside(self._folder / self._name)
            writer = Writer(self._aside, version=9, storage_plugin=StoragePlugin.MCAP)
            try:
                writer.open()
            except FileNotFoundError:  # deleted between the folder and the file in it
                continue
            self._lock = try_lock(self._aside)
            if self._lock is not None:
                return writer
            with suppress(OSError):  # its folder is gone
                writer.close()
        raise NodeError(
            "the new bag was deleted again and again before it could be locked",
            file=self._folder,
            expected="one folder for each recorder",
            found=f"{TRIES} bags that something else deleted or locked",
            remedy="record to a folder of its own, and end what deletes .tmp folders there",
        )

    def write(self, topic: str, nanoseconds: int, data: bytes) -> None:
        """Write one serialized message; nothing happens between episodes.

        Raises:
            NodeError: the disk is full; the episode is discarded.
        """
        if self._writer is None:
            return
        if self.messages % 256 == 0:
            try:
                self._require_space()
            except NodeError:
                self.discard()
                raise
        began = time.monotonic()
        self._writer.write(self._connections[topic], nanoseconds, data)
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.messages += 1
        self.bytes += len(data)

    def end(self, outcome: str) -> Path:
        """Finish the episode with its outcome, ``success`` or ``failure``; returns the bag's folder.

        An episode that is there is never replaced: this one then gets the next free number.

        Raises:
            NodeError: nothing is being recorded.
        """
        if self._writer is None:
            raise NodeError("nothing is being recorded", remedy="call record/start first")
        assert outcome in OUTCOMES
        self._writer.set_custom_data("instruction", json.dumps(self._instruction))
        self._writer.set_custom_data("outcome", json.dumps(outcome))
        self._close()
        while True:
            path = self._folder / f"episode-{self._number:04d}"
            self._number += 1
            try:
                place_folder(self._aside, path)
                return path
            except FileExistsError:  # another recorder's: its episode stays
                continue

    def discard(self) -> None:
        """Discard the episode."""
        if self._writer is not None:
            self._close()
            shutil.rmtree(self._aside, ignore_errors=True)

    def _close(self) -> None:
        self._writer.close()
        self._writer = None
        if self._lock is not None:
            unlock(self._lock)
            self._lock = None

    @property
    def free(self) -> int:
        """Free bytes of the disk."""
        return shutil.disk_usage(self._folder).free

    def _require_space(self) -> None:
        free = self.free
        if free < self._free:
            raise NodeError(
                "the disk is full",
                file=self._folder,
                expected=f"at least {self._free / 2**30:.1f} GiB free",
                found=f"{free / 2**30:.1f} GiB",
                remedy="free some space, or record to another disk",
            )
