"""The scratch file of a gate that still runs: every finished episode as a signed line that holds the hash before it.

The first line follows a hash of the run, its line in the ledger, policy, gate file, seed, versions and simulator, so
that no line of another run fits.  The ledger keeps length and last hash of the file at each interruption that could be
written, so that lines cut off its end are missed.  After a kill alone the end is not known: episodes whose lines were
cut off then are played once more, with the same seeds.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vla_agent.errors import GateError
from vla_agent.evaluation.play.player import PlayedEpisode
from vla_agent.files.bounded_reading import raw_lines
from vla_agent.files.canonical_json import canonical, digest
from vla_agent.files.input_limits import SCRATCH_BYTES
from vla_agent.gate.evidence.played_actions import actions_hash
from vla_agent.gate.evidence.signed_lines import BrokenLine, Signer, next_line, read_line, shown

FOLDER, EPISODES = ".partial", "episodes.jsonl"
KIND = "episode"


class EpisodeLog:
    """The finished episodes of one attempt in ``out/.partial``.

    Args:
        out: the gate's output folder.
        origin: everything that the episodes depend on; see the module.
        signer: the key of this attempt; only its own lines count.
        ends: (number of lines, hash of the last) that the ledger names for this attempt.

    Raises:
        GateError: a line was changed, removed, moved or added, or comes from another run; names file and line.  Or the
            file is no regular file, or larger than any.
    """

    def __init__(self, out: Path, origin: Mapping[str, Any], signer: Signer, ends: Sequence[tuple[int, str]]) -> None:
        self.file = out / FOLDER / EPISODES
        self.records: dict[str, dict[str, Any]] = {}
        self.actions: dict[str, np.ndarray] = {}
        self.looks: dict[str, np.ndarray] = {}
        self.seconds = 0.0
        self._signer = signer
        self._heads = [digest(origin)]
        self._stream: BinaryIO | None = None  # opened by the first episode
        self._load()
        for count, head in ends:
            if count >= len(self._heads) or self._heads[count] != head:
                raise self._changed(len(self), f"at least {count} lines, as the ledger says", f"{len(self)} lines")

    def __len__(self) -> int:
        return len(self._heads) - 1

    @property
    def end(self) -> dict[str, Any]:
        """``episodes`` and ``head`` for the ledger."""
        return {"episodes": len(self), "head": self._heads[-1]}

    def _load(self) -> None:
        whole = 0
        try:
            for _, line in raw_lines(self.file, GateError, SCRATCH_BYTES):
                if not line.endswith(b"\n"):  # a line that a kill left half written
                    os.truncate(self.file, whole)
                    return
                self._keep(self._checked(line.removesuffix(b"\n")))
                whole += len(line)
        except FileNotFoundError:
            return

    def _checked(self, line: bytes) -> dict[str, Any]:
        number = len(self._heads)
        try:
            entry = read_line(line, KIND, number, self._heads[-1], self._signer)
        except BrokenLine as error:
            raise self._changed(number, str(error), shown(line)) from error
        if entry["key"] != self._signer.fingerprint:
            raise self._changed(number, f"a line of the key {self._signer.fingerprint}", entry["key"])
        return entry

    def _changed(self, number: int, expected: str, found: str) -> GateError:
        return GateError(
            "the episodes of the unfinished gate were changed, or are of another run",
            file=f"{self.file}:{number}",
            key="--resume",
            expected=expected,
            found=found,
            remedy="begin a new attempt in another folder; this one cannot be continued",
        )

    def _keep(self, entry: Mapping[str, Any]) -> None:
        key = entry["episode"]
        self.records[key] = entry["record"]
        self.actions[key] = np.frombuffer(base64.b64decode(entry["actions"]), np.float32).reshape(entry["shape"])
        self.looks[key] = np.array(entry["looks"], np.int32)
        self.seconds += entry["seconds"]
        self._heads.append(entry["hash"])

    def add(self, played: PlayedEpisode) -> None:
        """Keep one finished episode, with the hash of its actions in its row; on disk when this returns."""
        actions, looks = np.asarray(played.actions, np.float32), np.array(played.looks, np.int32)
        says = {
            "episode": played.job.key,
            "record": played.record | {"actions_hash": actions_hash(actions, looks)},
            "actions": base64.b64encode(actions.tobytes()).decode(),
            "shape": list(actions.shape),
            "looks": looks.tolist(),
            "seconds": played.seconds,
        }
        entry = next_line(says, KIND, len(self._heads), self._heads[-1], self._signer)
        if self._stream is None:
            self.file.parent.mkdir(exist_ok=True)
            self._stream = self.file.open("ab")
        self._stream.write(canonical(entry) + b"\n")
        self._stream.flush()
        self._keep(entry)

    def close(self) -> None:
        """Close the file; it stays."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
