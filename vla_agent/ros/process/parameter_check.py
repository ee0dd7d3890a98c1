"""Checks the parameters that were given for a node, before ROS or the node takes them.  Needs neither ROS nor torch."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from vla_agent.errors import NodeError
from vla_agent.ros.process.node_parameters import NODES, Parameter

OF_ROS = ("use_sim_time", "start_type_description_service")  # parameters that rclpy declares itself
TYPES = {bool: "a boolean", int: "a whole number", float: "a number", str: "a string", list: "a list of whole numbers"}


def is_of_ros(name: str) -> bool:
    """Whether ROS itself has this parameter in every node."""
    return name in OF_ROS or name.startswith("qos_overrides.")


def checked_values(executable: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The given parameters with the types of the table; a whole number is taken for a double.

    Parameters of ROS itself are passed on as they are.

    Raises:
        NodeError: there is no such parameter, or its value is of another type or impossible; names the nearest.
    """
    declared = NODES[executable].parameters
    checked = {}
    for name, value in given.items():
        if is_of_ros(name):
            checked[name] = value
            continue
        if name not in declared:
            raise unknown_name(name, declared, f"{executable} has no such parameter", value, f"{executable} --help")
        checked[name] = checked_value(executable, name, value)
    return checked


def checked_value(executable: str, name: str, value: Any) -> Any:
    """One given value with its declared type.

    Raises:
        NodeError: it is of another type, or not one that the parameter may have.
    """
    parameter = NODES[executable].parameters[name]
    typed = _typed(value, type(parameter.default))
    if typed is None:
        raise _wrong(executable, name, f"{TYPES[type(parameter.default)]}, such as {parameter.default!r}", value)
    if expected := _expected(parameter, typed):
        raise _wrong(executable, name, expected, value)
    return typed


def _typed(value: Any, kind: type) -> Any:
    """The value as ``kind``; None where it is of another type."""
    if kind is float and type(value) in (int, float):
        return float(value)
    if kind is list and isinstance(value, (list, tuple, array)):
        return list(value) if all(type(item) is int for item in value) else None
    return value if type(value) is kind else None


def _expected(parameter: Parameter, value: Any) -> str:
    """What the parameter may be, where ``value`` is not that; empty where it is."""
    if parameter.choices and value not in parameter.choices:
        near = get_close_matches(str(value), parameter.choices, 1)
        named = ", ".join(choice or "nothing" for choice in parameter.choices)
        return f"one of: {named}" + (f"; did you mean {near[0]}?" if near else "")
    if isinstance(value, list) and len(value) != len(parameter.default):
        return f"{len(parameter.default)} numbers, such as {parameter.default!r}"
    numbers = value if isinstance(value, list) else [value]
    if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
        return "a finite number"
    bounds = [
        (parameter.low, "at least {:g}", lambda number, bound: number < bound),
        (parameter.above, "more than {:g}", lambda number, bound: number <= bound),
        (parameter.high, "at most {:g}", lambda number, bound: number > bound),
    ]
    texts = [(text.format(bound), bound, broken) for bound, text, broken in bounds if bound is not None]
    if any(broken(number, bound) for _, bound, broken in texts for number in numbers):
        return ", ".join(text for text, _, _ in texts)
    return ""


def _wrong(executable: str, name: str, expected: str, value: Any) -> NodeError:
    default = NODES[executable].parameters[name].default
    quote = f"write strings in quotes: -p '{name}:=\"{value}\"'; " if isinstance(default, str) else ""
    return NodeError(
        f"a parameter of {executable} has an impossible value",
        key=name,
        expected=expected,
        found="nothing" if value is None else f"{value!r}",
        remedy=f"{quote if not isinstance(value, str) else ''}`{executable} --help` shows the default",
    )


def unknown_name(
    name: str, known: Iterable[str], what: str, value: object, listing: str, expected: str = ""
) -> NodeError:
    """The error for a name that is not among ``known``.

    Args:
        listing: the command that lists them.
        expected: what is expected, in words; empty: all names.
    """
    names = list(known)
    nearest = get_close_matches(name, names, 1, 0.5)
    return NodeError(
        what,
        key=name,
        expected=expected or ", ".join(names),
        found=f"{name}:={value}",
        remedy=(f"did you mean {nearest[0]}? " if nearest else "") + f"`{listing}` lists all",
    )
