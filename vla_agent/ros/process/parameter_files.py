"""A ROS parameter file for the nodes of this package: every entry is for a node that has it, or it is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from ruamel.yaml.error import YAMLError

from vla_agent.errors import NodeError
from vla_agent.files.bounded_reading import read_text
from vla_agent.files.bounded_yaml import parse_yaml
from vla_agent.files.input_limits import YAML_BYTES
from vla_agent.ros.process.node_parameters import NODES
from vla_agent.ros.process.parameter_check import checked_value, is_of_ros, unknown_name

ENTRIES = "ros__parameters"
EXAMPLE = f"NODE: {{{ENTRIES}: {{NAME: VALUE}}}}, with /** for all nodes"


def read_parameters(file: str, namespace: str) -> dict[str, dict[str, Any]]:
    """Node -> its parameters, checked.  A section of one node comes before one with a wildcard.

    A name without a slash is the node's in any namespace; ``namespace``: that of the nodes, with its first slash.

    Raises:
        NodeError: the file cannot be read, or has a section or a parameter that no node of this package has.
    """
    found: dict[str, dict[str, Any]] = {node: {} for node in NODES}
    sections = sorted(_sections(file), key=lambda section: "*" not in section[0])
    for pattern, given in sections:
        nodes = [node for node in NODES if _matches(pattern, f"{namespace.rstrip('/')}/{node}")]
        if not nodes:
            nodes = _elsewhere(pattern, file)
        for name, value in given.items():
            takers = [node for node in nodes if is_of_ros(name) or name in NODES[node].parameters]
            if not takers:
                known = sorted({known for node in nodes for known in NODES[node].parameters})
                what = f"no node of the section {pattern} has such a parameter"
                raise _in_file(unknown_name(name, known, what, value, "NODE --help"), file)
            for node in takers:
                found[node][name] = value if is_of_ros(name) else _checked(node, name, value, file)
    return found


def _checked(node: str, name: str, value: Any, file: str) -> Any:
    try:
        return checked_value(node, name, value)
    except NodeError as error:
        raise _in_file(error, file) from None


def _in_file(error: NodeError, file: str) -> NodeError:
    """The same error, with the file."""
    fields = {"key": error.key, "expected": error.expected, "found": error.found, "remedy": error.remedy}
    return NodeError(error.what, file=file, **fields)


def _sections(file: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        data = parse_yaml(read_text(file, NodeError, YAML_BYTES), file, NodeError)
    except (OSError, YAMLError) as error:
        raise NodeError(
            "the parameter file cannot be read",
            file=file,
            key="params_file",
            expected=f"a YAML file: {EXAMPLE}",
            found=" ".join(str(error).split())[:300],
            remedy="check the path and the file",
        ) from error
    yield from _walk(data, "", file)


def _walk(data: Any, path: str, file: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Sections below a namespace: (pattern, parameters)."""
    if not isinstance(data, Mapping) or not data:
        raise NodeError(
            "the parameter file has no parameters there",
            file=file,
            key=path or "file",
            expected=EXAMPLE,
            found=type(data).__name__,
            remedy=f"write {ENTRIES}: below the node's name, and the parameters below that",
        )
    for key, value in data.items():
        name = str(key)
        if name == ENTRIES:
            yield path, dict(_flat(value or {}, "", file))
        else:
            yield from _walk(value, f"{path}/{name.lstrip('/')}" if path or name.startswith("/") else name, file)


def _flat(data: Any, path: str, file: str) -> Iterator[tuple[str, Any]]:
    """Parameters with their dotted names."""
    if not isinstance(data, Mapping):
        raise NodeError(
            "the parameters of a section are no map",
            file=file,
            key=ENTRIES,
            expected="NAME: VALUE",
            found=type(data).__name__,
            remedy=f"write {ENTRIES}: with NAME: VALUE below it",
        )
    for key, value in data.items():
        name = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping):
            yield from _flat(value, name, file)
        else:
            yield name, value


def _matches(pattern: str, full: str) -> bool:
    """Whether a section is for a node, by its full name: ``*`` is one name, ``**`` any number of them."""
    if "/" not in pattern and "*" not in pattern:
        return full.rsplit("/", 1)[-1] == pattern
    parts = {"**": r"(?:/[^/]+)*", "*": "/[^/]+"}
    words = pattern.strip("/").split("/")
    return re.fullmatch("".join(parts.get(word, "/" + re.escape(word)) for word in words), full) is not None


def _elsewhere(pattern: str, file: str) -> list[str]:
    """The node of a section in another namespace, where nothing matches: an error that says so."""
    last = pattern.rsplit("/", 1)[-1]
    near = get_close_matches(last, NODES, 1, 0.5)
    hint = f"did you mean {near[0]}? " if near and last not in NODES else ""
    raise NodeError(
        "a section of the parameter file is for no node",
        file=file,
        key=pattern,
        expected=f"/**, or one of: {', '.join(NODES)}" + (", in the nodes' namespace" if last in NODES else ""),
        found=pattern,
        remedy=hint + "parameters of other nodes belong into another file",
    )
