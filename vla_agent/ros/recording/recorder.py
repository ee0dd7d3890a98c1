"""Records demonstrations: one MCAP bag an episode, as serialized messages, with instruction, outcome and what is known.

A folder of recordings is a session: ``session.json`` names it, and a recorder that is started again goes on in it::

    session.json                         its id, robot, and when it began
    episode-0000/episode-0000.mcap       a whole episode, with metadata.yaml
    episode-0001.partial/                an episode that is being recorded; what a dead recorder left is deleted
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from vla_agent.errors import NodeError
from vla_agent.files.bounded_reading import read_json
from vla_agent.files.durable import try_lock, unlock
from vla_agent.files.write_aside import place_folder, write_text
from vla_agent.ros.recording.bag_types import BagTypes

FREE = 2 * 2**30  # bytes that must stay free on the disk
OUTCOMES = ("success", "failure")
PREFIX = "episode-"
SESSION = "session.json"
TRIES = 10  # bags that are begun; each that is lost takes another recorder that begins in that moment


class Recorder:
    """Writes ``FOLDER/episode-0000`` and so on; a bag appears under its name when it is complete.

    Args:
        folder: created if it is missing; new episodes are numbered after those in it.
        topics: topic -> message type, such as ``sensor_msgs/msg/Image``; `add` takes more.
        free: bytes that must stay free on the disk.

    Raises:
        NodeError: the package `rosbags` is missing.
    """

    def __init__(self, folder: Path, topics: Mapping[str, str], free: int = FREE) -> None:
        self._types = BagTypes()
        self._folder, self._topics, self._free = folder, dict(topics), free
        self._writer: Any = None
        self._lock: int | None = None
        self._connections: dict[str, Any] = {}
        self._facts: dict[str, object] = {}
        self.messages = self.bytes = 0  # of this episode
        self.slowest = 0.0  # largest seconds of a write; the reader may reset it
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def recording(self) -> bool:
        """Whether an episode is being recorded."""
        return self._writer is not None

    def add(self, topic: str, kind: str) -> None:
        """Record another topic from now on.

        Raises:
            NodeError: nobody knows the definition of its type.
        """
        self._types.know(kind)
        self._topics[topic] = kind
        if self._writer is not None:
            self._connections[topic] = self._connect(topic)

    def begin(self, instruction: str, facts: Mapping[str, object] | None = None) -> str:
        """Start an episode; returns its name.

        Args:
            instruction: of the episode.
            facts: what else is known of it, such as ``run`` and ``contract``: it becomes the bag's custom data.

        Raises:
            NodeError: one is being recorded, there is no instruction, the disk is full, or others delete each new bag.
        """
        if self.recording:
            raise NodeError("an episode is being recorded", remedy="end it first: record/success, /failure or /discard")
        if not instruction.strip():
            raise NodeError("there is no instruction", key="instruction", remedy="publish one on the topic instruction")
        self._require_space()
        self._facts = {**(facts or {}), "instruction": instruction.strip()}
        self.messages = self.bytes = 0
        self._writer = self._open_bag()
        self._connections = {topic: self._connect(topic) for topic in self._topics}
        return self._name

    def _connect(self, topic: str) -> Any:
        return self._writer.add_connection(topic, self._topics[topic], typestore=self._types.store)

    def _open_bag(self) -> Any:
        """A bag in a locked folder ``NAME.partial``, which holds the name, too; a dead recorder's is deleted.

        Until it is locked, another recorder that begins takes it for a dead one's: then there is a next.
        """
        from rosbags.rosbag2 import StoragePlugin, Writer

        number, tries = next_number(self._folder), 0
        while tries < TRIES:
            self._name = f"{PREFIX}{number:04d}"
            self._partial = self._folder / f"{self._name}.partial"
            if (self._folder / self._name).exists() or not _claim(self._partial):
                number += 1
                continue
            tries += 1
            self._lock = try_lock(self._partial)
            if self._lock is None:
                continue
            writer = Writer(self._partial / self._name, version=9, storage_plugin=StoragePlugin.MCAP)
            with suppress(FileNotFoundError):  # something else deletes what lies here
                writer.open()
                return writer
            unlock(self._lock)
            self._lock = None
        raise NodeError(
            "the new bag was deleted again and again before it could be locked",
            file=self._folder,
            expected="one folder for each recorder",
            found=f"{TRIES} bags that something else deleted or locked",
            remedy="record to a folder of its own, and end what deletes .partial folders there",
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
        self._facts["outcome"] = outcome
        for key, value in self._facts.items():
            self._writer.set_custom_data(key, json.dumps(value))
        self._writer.close()
        self._writer = None
        try:
            return self._place()
        finally:
            self._release()

    def _place(self) -> Path:
        number = int(self._name.removeprefix(PREFIX))
        while True:
            path = self._folder / f"{PREFIX}{number:04d}"
            number += 1
            try:
                place_folder(self._partial / self._name, path)
                return path
            except FileExistsError:  # somebody put one there meanwhile: it stays
                continue

    def discard(self) -> None:
        """Discard the episode."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self._release()

    def _release(self) -> None:
        shutil.rmtree(self._partial, ignore_errors=True)
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


def next_number(folder: Path) -> int:
    """The number after those of the whole episodes in ``folder``."""
    numbers = [path.name.removeprefix(PREFIX) for path in folder.glob(f"{PREFIX}*")]
    return max((int(number) for number in numbers if number.isdigit()), default=-1) + 1


def open_session(folder: Path, robot: str) -> dict[str, Any]:
    """The session of a folder of recordings: begun where there is none, else gone on with.

    Returns:
        ``id``, ``robot``, ``began`` (seconds since 1970) and ``episodes``, the number of whole ones.

    Raises:
        NodeError: the folder holds another robot's recordings, or its ``session.json`` cannot be read.
    """
    file = folder / SESSION
    folder.mkdir(parents=True, exist_ok=True)
    try:
        session = _read_session(file)
    except FileNotFoundError:
        session = {"id": uuid.uuid4().hex, "robot": robot, "began": round(time.time(), 3)}
        write_text(file, json.dumps(session, indent=1) + "\n")
    if session["robot"] != robot:
        raise NodeError(
            "the folder holds recordings of another robot",
            file=file,
            key="robot",
            expected=robot,
            found=session["robot"],
            remedy="record to another folder: parameter output",
        )
    return session | {"episodes": sum(path.name[len(PREFIX) :].isdigit() for path in folder.glob(f"{PREFIX}*"))}


def _read_session(file: Path) -> dict[str, Any]:
    try:
        session = read_json(file, NodeError)
        if isinstance(session, dict) and all(isinstance(session.get(key), str) for key in ("id", "robot")):
            return session
        found = f"{type(session).__name__} without them"
    except ValueError as error:
        found = str(error)
    raise NodeError(
        "the session of the recordings cannot be read",
        file=file,
        expected="a JSON object with id and robot",
        found=found,
        remedy="delete the file: the next recorder begins a session",
    )


def _claim(partial: Path) -> bool:
    """Make the folder ``partial``; a dead recorder's is deleted first.  Whether it is this recorder's now."""
    for _ in range(2):
        try:
            partial.mkdir()
            return True
        except FileExistsError:
            lock = try_lock(partial)
            if lock is None:  # a living recorder's, or gone
                return False
            shutil.rmtree(partial, ignore_errors=True)
            unlock(lock)
    return False
