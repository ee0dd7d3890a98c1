"""Reads the words after ``vla-agent up GRAPH --ros-args``: remaps, parameters, parameter files, log level."""

from __future__ import annotations

from typing import Any

from ruamel.yaml.error import YAMLError

from vla_agent.errors import NodeError, OptionError
from vla_agent.files.bounded_yaml import parse_yaml
from vla_agent.ros.process.graph_plan import read_value
from vla_agent.ros.process.graph_table import GRAPHS, OPTIONS
from vla_agent.ros.process.node_parameters import NODES
from vla_agent.ros.process.parameter_check import is_of_ros, unknown_name

TAKEN = "-p [NODE:]NAME:=VALUE, -r [NODE:]FROM:=TO, --params-file FILE, --log-level LEVEL"
OPTIONS_OF_ROS = {
    **dict.fromkeys(("-p", "--param"), "param"),
    **dict.fromkeys(("-r", "--remap"), "remap"),
    "--params-file": "params_file",
    "--log-level": "log_level",
}
RENAMES, SPACES = ("__node", "__name"), ("__ns", "__namespace")


class RosArguments:
    """What the words say: ``parameters`` of single nodes, ``forwarded`` remaps, ``options`` of `graph_table.OPTIONS`.

    Raises:
        VlaAgentError: a word cannot be read, or is for no node of the graph.
    """

    def __init__(self, graph: str, words: list[str]) -> None:
        self._graph = graph
        self._nodes = [entry.executable for entry in GRAPHS[graph]]
        self.parameters: dict[tuple[str, str], Any] = {}
        self.forwarded: list[str] = []
        self.options: dict[str, str] = {}
        words = list(words)
        while words:
            word = words.pop(0)
            kind = OPTIONS_OF_ROS.get(word)
            if kind is None or not words:
                raise _wrong(word, "nothing after it" if kind else word)
            self._take(kind, word, words.pop(0))

    def _take(self, kind: str, word: str, text: str) -> None:
        if kind == "param":
            self._parameter(word, text)
        elif kind == "remap":
            self._remap(word, text)
        elif kind in self.options:
            raise _wrong(word, f"{word} twice")
        else:
            self.options[kind] = text.lower() if kind == "log_level" else text
            read_value(kind, OPTIONS[kind], self.options[kind])

    def _split(self, word: str, text: str) -> tuple[list[str], str, str]:
        """``[NODE:]LEFT:=RIGHT`` -> the nodes that it is for, left, right."""
        left, separator, right = text.partition(":=")
        node, _, name = left.rpartition(":")
        if not separator or not name:
            raise _wrong(word, text)
        if node and node not in self._nodes:
            raise unknown_name(node, self._nodes, f"the graph {self._graph} has no such node", text, "vla-agent up -h")
        return [node] if node else self._nodes, name, right

    def _parameter(self, word: str, text: str) -> None:
        nodes, name, right = self._split(word, text)
        try:
            value = parse_yaml(right, f"-p {text}", NodeError)
        except YAMLError as error:
            raise _wrong(word, text) from error
        takers = [node for node in nodes if is_of_ros(name) or name in NODES[node].parameters]
        if not takers:
            known = sorted({known for node in nodes for known in NODES[node].parameters})
            raise unknown_name(name, known, "no node of the graph has such a parameter", value, "NODE --help")
        self.parameters |= {(node, name): value for node in takers}

    def _remap(self, word: str, text: str) -> None:
        nodes, name, right = self._split(word, text)
        if name in RENAMES or (name in SPACES and len(nodes) != len(self._nodes)) or not right:
            raise _wrong(word, text, "the nodes of a graph keep their names and share one namespace")
        if name in SPACES:
            self.options["namespace"] = right
        else:
            self.forwarded += ["-r", text]


def _wrong(word: str, found: str, remedy: str = "") -> OptionError:
    return OptionError(
        "the arguments after --ros-args cannot be read",
        key=word,
        expected=TAKEN,
        found=found,
        remedy=remedy or "write them as for `ros2 run`",
    )
