"""What an exported policy does with words: reads an instruction, encodes it, and refuses what it cannot or must not do.

The reading, the claims and the doubt are the modules of the whole policy; graphs take the place of its networks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vla_agent.contract.contract import Contract
from vla_agent.export.exported.graphs import Graph, Read
from vla_agent.export.exported.wordpiece import WordPiece
from vla_agent.models.backbones.pointing.sight_maps import SightMaps
from vla_agent.models.reader.reader import Reader, Reading
from vla_agent.models.reader.reader_settings import ROLES, ReaderSettings, ReadOutputs
from vla_agent.models.state_fields import hand_columns
from vla_agent.policy.doubt.doubt_settings import Doubt, DoubtSettings
from vla_agent.policy.doubt.doubter import Doubter

Encode = Callable[[str], dict[str, np.ndarray] | None]  # read instruction -> the graph's text inputs; None: unknown


class Words:
    """The words of one policy.

    Args:
        encode: an instruction in the policy's own words -> inputs of its graph.
        reader: puts other words into its own; None: there is none.
        doubter: doubts what an instruction takes for granted; None: nothing is doubted.
        hand: columns of the state with the end effector's position, or None.

    Attributes:
        reading: of the instruction, where there is a reader.
    """

    def __init__(self, encode: Encode, reader: Reader | None, doubter: Doubter | None, hand: slice | None) -> None:
        self._encode, self.reader, self.doubter, self._hand = encode, reader, doubter, hand
        self.reading: Reading | None = None

    def encode(self, instruction: str) -> dict[str, np.ndarray]:
        """Begin an instruction: the text inputs of the graph.

        For one that is refused or cannot be encoded, the arm is held still; see `refusal`.
        """
        self.reading = self.reader.read_task(instruction) if self.reader is not None else None
        words = instruction if self.reading is None else self.reading.text
        text = self._encode("" if self.reading is not None and self.reading.refusal else words)
        if text is None:
            why = "the exported policy has no such words: say it in the policy's own"
            self.reading = Reading(instruction, instruction, "other", (), 0.0, why)
            text = self._encode("")
            assert text is not None  # nothing is always encoded
        if self.doubter is not None:
            self.doubter.reset(text["queries"], instruction, words)
        return text

    def refuses(self, outputs: Mapping[str, np.ndarray], state: np.ndarray) -> bool:
        """Look at the graph's outputs for an observation with a state (D,): whether the arm is to be held still."""
        if self._unread is not None:
            return True
        if self.doubter is None:
            return False
        self.doubter.look(outputs, None if self._hand is None else state[self._hand][:2])
        return self.doubter.holds

    @property
    def _unread(self) -> Reading | None:
        """The reading, where it is refused; what the words themselves say is unsafe goes before."""
        unsafe = self.doubter is not None and self.doubter.unsafe
        return self.reading if self.reading is not None and self.reading.refusal and not unsafe else None

    @property
    def doubt(self) -> Doubt | None:
        """That the instruction can not be done in the scene of the last observation."""
        if self._unread is not None:
            return Doubt(self._unread.doubt, self._unread.refusal)
        return self.doubter.doubt if self.doubter is not None else None

    @property
    def refusal(self) -> str | None:
        """Why the last chunk holds the arm still; None where it does not."""
        if self._unread is not None:
            return self._unread.refusal
        return self.doubter.doubt.reason if self.doubter and self.doubter.holds and self.doubter.doubt else None


def open_words(about: Mapping[str, Any], read: Read, open_graph: Callable[[str], Graph]) -> Words:
    """The words of the policy that a manifest describes.

    Args:
        read: a file's bytes.  open_graph: a graph by its name.
    """
    reader = _reader(about["reader"], read, open_graph) if about["reader"] else None
    doubter = None
    if about["doubt"]:
        plane = open_graph("plane")
        settings = DoubtSettings.from_dict(about["doubt"])
        doubter = Doubter(
            _Sight(), settings, lambda points, heights: plane({"points": points, "heights": heights})["xy"]
        )
    encode = _small_encoder(about, read, open_graph) if about["text"]["kind"] == "wordpiece" else _table(about, read)
    return Words(encode, reader, doubter, hand_columns(Contract.from_dict(about["contract"])))


class _Sight:
    """The maps among the graph's outputs."""

    def look(self, stem: Any) -> SightMaps:
        return SightMaps(*(stem[f"sight.{name}"] for name in SightMaps._fields))


class _Plane:
    """Positions in metres of points of the first view."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def __call__(self, points: np.ndarray, heights: np.ndarray) -> np.ndarray:
        return self._graph({"points": points, "heights": heights})["xy"]


class _ReaderGraph:
    """The reader's network, opened when it is first needed: the policy's own words need none."""

    def __init__(self, open_graph: Callable[[str], Graph]) -> None:
        self._open = open_graph
        self._graph: Graph | None = None

    def read(self, ids: np.ndarray) -> ReadOutputs:
        self._graph = self._graph or self._open("reader")
        out = self._graph({"ids": ids[None]})
        return ReadOutputs(out["kinds"], {role: out[f"value.{role}"] for role in ROLES}, out["pointers"])


class _LazyWordPiece:
    """As `_ReaderGraph`."""

    def __init__(self, read: Read, name: str, longest: int) -> None:
        self._open = lambda: WordPiece(read(name), longest)
        self._tokenizer: WordPiece | None = None

    def encode(self, text: str) -> Any:
        self._tokenizer = self._tokenizer or self._open()
        return self._tokenizer.encode(text)


def _reader(described: Mapping[str, Any], read: Read, open_graph: Callable[[str], Graph]) -> Reader:
    tokenizer = _LazyWordPiece(read, "reader_tokenizer.json", int(described["longest"]))
    return Reader(_ReaderGraph(open_graph), tokenizer, ReaderSettings.from_dict(described["settings"]))


def _small_encoder(about: Mapping[str, Any], read: Read, open_graph: Callable[[str], Graph]) -> Encode:
    """Words of the small backbone: WordPiece, then the graph ``text``."""
    length = int(about["text"]["length"])
    tokenizer, graph = WordPiece(read("tokenizer.json"), 10**6), open_graph("text")

    def encode(instruction: str) -> dict[str, np.ndarray] | None:
        ids = tokenizer.encode(instruction).ids
        if len(ids) > length or tokenizer.unknown in ids:
            return None
        row = np.zeros((1, length), np.int64)
        row[0, : len(ids)] = ids
        mask = (np.arange(length) < max(1, len(ids)))[None].astype(np.int64)
        return graph({"ids": row, "mask": mask}) | {"text_mask": mask}

    return encode


def _table(about: Mapping[str, Any], read: Read) -> Encode:
    """Instructions that were encoded at export."""
    table = json.loads(read("instructions.json"))
    length = int(about["text"]["length"])

    def encode(instruction: str) -> dict[str, np.ndarray] | None:
        if instruction and instruction not in table:
            return None
        ids = table.get(instruction, [0])
        row = np.zeros((1, length), np.int64)
        row[0, : len(ids)] = ids
        return {"ids": row, "mask": (np.arange(length) < len(ids))[None]}

    return encode
