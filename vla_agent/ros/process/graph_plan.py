"""How each node of a graph is started, from what a person gives: for `vla-agent up` and the launch files alike.

Needs neither ROS nor torch.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any

from vla_agent.errors import NodeError, OptionError
from vla_agent.ros.process.graph_table import ARGUMENTS, GRAPHS, OPTIONS, Argument, Entry, Value, arguments_of
from vla_agent.ros.process.node_parameters import NODES
from vla_agent.ros.process.parameter_check import checked_value, is_of_ros
from vla_agent.ros.process.parameter_files import read_parameters

CLOCK = ("-r", "/clock:=clock")  # a simulated robot's clock stays in its namespace


@dataclass(frozen=True)
class Choices:
    """What a person gives besides the graph's arguments; see `graph_table.OPTIONS`.

    ``parameters``: (node, name) -> value, of single nodes.  ``forwarded``: ROS arguments that every node gets.
    """

    without: tuple[str, ...] = ()
    params_file: str = ""
    log_level: str = ""
    namespace: str = ""
    discovery: str = ""
    parameters: Mapping[tuple[str, str], Any] = field(default_factory=dict)
    forwarded: tuple[str, ...] = ()


@dataclass(frozen=True)
class NodeStart:
    """A node with its parameters, and further ROS arguments."""

    entry: Entry
    parameters: Mapping[str, Any]
    more: tuple[str, ...] = ()

    @property
    def ros_arguments(self) -> list[str]:
        """What stands after ``--ros-args``."""
        words = [word for name, value in self.parameters.items() for word in parameter_arguments(name, value)]
        return [*words, *self.more]


def parameter_arguments(name: str, value: Any) -> list[str]:
    """Command-line arguments for one ROS parameter, with the type of the value."""
    text = repr(value) if isinstance(value, float) else json.dumps(value)
    return ["-p", f"{name}:={text}"]


def plan(graph: str, given: Mapping[str, Value], choices: Choices, pushed: str = "") -> list[NodeStart]:
    """The nodes of a graph, in the order of their start, each with its parameters.

    What is given comes before the parameter file, and that before the defaults; a parameter of a single node comes
    first.  What the graph fixes stays.

    Args:
        given: the graph's arguments that were given.
        pushed: namespace around that of ``choices``.

    Raises:
        VlaAgentError: a name or value is wrong.
    """
    require_nodes(graph, choices.without)
    inner = checked_namespace(choices.namespace)
    file = read_parameters(choices.params_file, f"{pushed.rstrip('/')}{inner}") if choices.params_file else {}
    simulated = any(entry.executable == "sim_robot_node" for entry in GRAPHS[graph])
    level = ("--log-level", choices.log_level) if choices.log_level else ()
    starts = []
    for entry in GRAPHS[graph]:
        node = entry.executable
        if node in choices.without or not is_installed(entry.needs):
            continue
        single = {name: value for (of, name), value in choices.parameters.items() if of == node}
        values: dict[str, Any] = {name: ARGUMENTS[name].default for name in entry.arguments}
        values |= file.get(node, {}) | {name: given[name] for name in entry.arguments if name in given}
        values = {n: v if is_of_ros(n) else checked_value(node, n, v) for n, v in (values | single).items()}
        _require_fixed(graph, entry, values)
        more = (*choices.forwarded, *(CLOCK if simulated else ()), *level)
        starts.append(NodeStart(entry, values | dict(entry.fixed), more))
    return starts


def is_installed(package: str) -> bool:
    """Whether a package that a node needs is there; an empty name needs none."""
    return not package or find_spec(package) is not None


def left_out(graph: str, choices: Choices) -> list[str]:
    """A line for each node that is left out because a package is missing, or that the graph does not have."""
    entries = [e for e in GRAPHS[graph] if e.executable not in choices.without and not is_installed(e.needs)]
    others = [name for name in choices.without if name not in {entry.executable for entry in GRAPHS[graph]}]
    return [
        *(f"{entry.executable} is not started: {entry.needs} is not installed" for entry in entries),
        *(f"without {name}: the graph {graph} does not start it anyway" for name in others),
    ]


def _require_fixed(graph: str, entry: Entry, values: Mapping[str, Any]) -> None:
    for name, fixed in entry.fixed:
        if values.get(name, fixed) != fixed:
            raise NodeError(
                f"the graph {graph} sets this parameter itself",
                key=f"{entry.executable}.{name}",
                expected=json.dumps(fixed),
                found=json.dumps(values[name]),
                remedy="leave it out, or start the node by hand",
            )


def require_nodes(graph: str, names: Sequence[str]) -> None:
    """Raise where there is no such node; another graph's may be left out of every one.

    Raises:
        OptionError: naming the nearest.
    """
    known = [entry.executable for entry in GRAPHS[graph]]
    if wrong := [name for name in names if name not in NODES]:
        near = get_close_matches(wrong[0], known, 1, 0.5)
        raise OptionError(
            "the graph has no such node",
            key="without",
            expected=", ".join(known),
            found=", ".join(wrong),
            remedy=(f"did you mean {near[0]}? " if near else "") + "use the names of its nodes",
        )


def checked_namespace(name: str) -> str:
    """A namespace with its first slash; empty where there is none.

    Raises:
        OptionError: ROS allows no such name.
    """
    inner = name.strip("/")
    if name and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*(?:/[A-Za-z_][A-Za-z0-9_]*)*", inner):
        raise OptionError(
            "ROS allows no such namespace",
            key="namespace",
            expected="names of letters, digits and _, separated by /, such as arm1",
            found=name,
            remedy="choose another",
        )
    return f"/{inner}" if inner else ""


def read_value(name: str, argument: Argument, text: str) -> Value:
    """A value from its text, by the type of the argument's default.

    Raises:
        OptionError: it is of another type, or not one of the choices.
    """
    kind = type(argument.default)
    value: Value | None = text
    if kind is bool:
        value = {"true": True, "false": False}.get(text.lower())
    elif kind in (int, float):
        try:
            value = int(text) if kind is int else float(text)
        except ValueError:
            value = None
        value = None if value is None or not math.isfinite(value) else value
    if value is None or (argument.choices and value not in argument.choices):
        expected = {bool: "true or false", int: "a whole number", float: "a number"}.get(kind, "")
        near = get_close_matches(text, argument.choices, 1)
        raise OptionError(
            "an argument has an impossible value",
            key=name,
            expected=expected or f"one of: {', '.join(choice for choice in argument.choices if choice)}",
            found=text or "nothing",
            remedy=(f"did you mean {near[0]}? " if near else "") + f"the default is {argument.default!r}",
        )
    return value


def single_parameters(graph: str) -> dict[str, tuple[str, str]]:
    """``NODE.PARAMETER`` -> (node, parameter), of all nodes of a graph, without what the graph fixes."""
    found: dict[str, tuple[str, str]] = {}
    for entry in GRAPHS[graph]:
        fixed = {name for name, _ in entry.fixed}
        names = [name for name in NODES[entry.executable].parameters if name not in fixed]
        found |= {f"{entry.executable}.{name}": (entry.executable, name) for name in names}
    return found


def choices_of(options: Mapping[str, str], more: Choices) -> Choices:
    """`Choices` from the texts of `OPTIONS`; ``more``: parameters of single nodes, and what is forwarded.

    Raises:
        OptionError: a value is not one of an option's choices.
    """
    read = {name: str(read_value(name, OPTIONS[name], text)) for name, text in options.items()}
    words = read.pop("without", "").replace(",", " ").split()
    return Choices(without=tuple(words), parameters=more.parameters, forwarded=more.forwarded, **read)


def known_arguments(graph: str) -> list[str]:
    """All names that a graph's launch file takes."""
    return [*arguments_of(graph), *OPTIONS, *single_parameters(graph)]
