"""YAML from elsewhere: size, nodes, depth, aliases and tags are checked on the parser's events, before it is built."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

from vla_agent.errors import VlaAgentError
from vla_agent.files.bounded_reading import File, read_text, too_deep
from vla_agent.files.input_limits import DEPTH, INTEGER_BITS, YAML_BYTES, YAML_EXPANDED, YAML_NODES

SURROGATE = re.compile("[\ud800-\udfff]")  # half a letter, which no file can hold


def read_yaml(file: File, error: type[VlaAgentError], kind: Literal["safe", "rt"] = "safe") -> Any:
    """The content of a YAML file.

    Args:
        file: its path.
        error: raised where a bound is exceeded.
        kind: ``safe``: plain data; ``rt``: the same with line numbers (ruamel's round-trip types).

    Raises:
        OSError: it is missing, a folder, or may not be read.
        YAMLError: it is not YAML.
        VlaAgentError: ``error``: too large, too deep, too many nodes, a tag, an alias that contains itself, a number
            that is not finite, or half a letter.
    """
    return parse_yaml(read_text(file, error, YAML_BYTES), file, error, kind)


def parse_yaml(text: str, source: File, error: type[VlaAgentError], kind: Literal["safe", "rt"] = "safe") -> Any:
    """YAML from text whose size has been checked; ``source``: the file or option, for the error.  See `read_yaml`."""
    try:
        _Bounds(source, error).check(text)
        data = YAML(typ=kind, pure=True).load(text)
    except (YAMLError, VlaAgentError):
        raise
    except Exception as reason:  # a value that looks like a date or number and is none, an unfinished document
        raise YAMLError(f"{type(reason).__name__}: {reason}"[:300]) from reason
    for key, value in _leaves(data):
        if isinstance(value, float) and not math.isfinite(value):
            raise _refused(source, error, key, "finite numbers", str(value))
        if isinstance(value, int) and value.bit_length() > INTEGER_BITS:
            raise _refused(source, error, key, f"whole numbers of at most {INTEGER_BITS} bits", "more")
        if isinstance(value, str) and SURROGATE.search(value):
            raise _refused(
                source, error, key, "letters as they are (UTF-8), not as two escapes \\u", ascii(value)[:100]
            )
    return data


def _refused(source: File, error: type[VlaAgentError], key: str, expected: str, found: str) -> VlaAgentError:
    remedy = "write the values out, or check that it is the right file"
    return error(
        "YAML holds what is not read here", file=source, key=key, expected=expected, found=found, remedy=remedy
    )


@dataclass
class _Part:
    """A map or list whose end has not come: its anchor, nodes so far, and levels below it."""

    anchor: str | None
    nodes: int = 1
    levels: int = 1


class _Bounds:
    """Counts nodes and levels, with every alias counted as what it stands for."""

    def __init__(self, source: File, error: type[VlaAgentError]) -> None:
        self._source, self._error = source, error
        self._open: list[_Part] = [_Part(None)]
        self._named: dict[str, _Part] = {}
        self._count = 0

    def check(self, text: str) -> None:
        """Raise the first bound that the text exceeds."""
        for event in YAML(typ="safe", pure=True).parse(text):
            line = f"line {event.start_mark.line + 1}"
            if isinstance(event, AliasEvent):
                self._add(self._meant(event.anchor, line), line)
            elif isinstance(event, CollectionEndEvent):
                self._add(self._open.pop(), line)
            elif isinstance(event, (CollectionStartEvent, ScalarEvent)):
                self._begin(event, line)

    def _begin(self, event: Any, line: str) -> None:
        self._count += 1
        if self._count > YAML_NODES:
            raise _refused(self._source, self._error, "nodes", f"at most {YAML_NODES:,} keys and values", "more")
        if event.tag is not None:
            raise _refused(self._source, self._error, line, "plain values", f"the tag {event.tag}"[:100])
        if isinstance(event, ScalarEvent):
            self._add(_Part(event.anchor, levels=0), line)
            return
        if len(self._open) > DEPTH:
            raise too_deep(f"{self._source}", self._error, DEPTH, "more")
        self._named.pop(event.anchor, None)  # until it ends, the anchor means nothing
        self._open.append(_Part(event.anchor))

    def _meant(self, anchor: str, line: str) -> _Part:
        if anchor not in self._named:
            raise _refused(self._source, self._error, line, "an anchor that is complete", f"*{anchor}"[:100])
        part = self._named[anchor]
        return _Part(None, part.nodes, part.levels)

    def _add(self, part: _Part, line: str) -> None:
        """Enter a complete part into the one that contains it."""
        outer = self._open[-1]
        outer.nodes, outer.levels = outer.nodes + part.nodes, max(outer.levels, part.levels + 1)
        if outer.nodes > YAML_EXPANDED:
            expected = f"at most {YAML_EXPANDED:,} keys and values after every alias is replaced"
            raise _refused(self._source, self._error, line, expected, "more")
        if len(self._open) - 1 + part.levels > DEPTH:
            raise too_deep(f"{self._source}", self._error, DEPTH, "more")
        if part.anchor:
            self._named[part.anchor] = part


def _leaves(data: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value that is no map or list, with the dotted keys that it stands below."""
    rest: list[tuple[str, Any]] = [("", data)]
    while rest:
        key, value = rest.pop()
        prefix = f"{key}." if key else ""
        if isinstance(value, dict):
            rest += [(f"{prefix}{k}"[:200], v) for k, v in value.items()] + [(key, k) for k in value]
        elif isinstance(value, (list, tuple, set)):
            rest += [(f"{prefix}{k}", item) for k, item in enumerate(value)]
        else:
            yield key, value
