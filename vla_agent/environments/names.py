"""From a name to the place of an environment.

=====================  ==========================================================================
name                   environment
=====================  ==========================================================================
metaworld, libero,     a shipped adapter (`SHIPPED`), in the benchmark's own Python
pusht                  (``vla-agent env setup NAME``)
squares                a toy for trying out, in this Python
FILE.py:FACTORY        what the class or function of that file returns
MODULE:FACTORY         the same of an installed module
FILE.yaml              a Gymnasium environment with a contract (`gymnasium_environment`)
NAME                   an entry point of the group ``vla_agent.environments`` of an installed package
OWN@PLACE              any of these, in the Python that ``vla-agent env setup OWN`` has made
=====================  ==========================================================================
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from vla_agent.errors import OptionError

GROUP = "vla_agent.environments"
ADAPTERS = "vla_agent.environments.adapters"
SHIPPED = {
    "metaworld": f"{ADAPTERS}.metaworld:MetaWorld",
    "libero": f"{ADAPTERS}.libero:Libero",
    "pusht": str(Path(__file__).parent / "adapters" / "pusht.yaml"),
    "squares": str(Path(__file__).parent / "adapters" / "squares.yaml"),
}
HERE = ("squares",)  # shipped, and played in this Python


@dataclass(frozen=True)
class Place:
    """Where an environment is: the name of its own Python (None: this one), and what is opened in it."""

    own: str | None
    opened: str


def absolute(name: str) -> str:
    """The same name, for processes that run in other folders: a file's path is made absolute."""
    own, at, rest = name.rpartition("@")
    file, colon, _ = rest.rpartition(":")
    is_file = rest.endswith((".yaml", ".yml")) or (bool(colon) and file.endswith(".py"))
    return f"{own}{at}{place_of(rest).opened}" if is_file else name


def place_of(name: str) -> Place:
    """Where the environment of a name is; files are made absolute.

    Raises:
        OptionError: no such environment.
    """
    own, at, rest = name.rpartition("@")
    if at:
        return Place(own, place_of(rest).opened)
    if name in SHIPPED:
        return Place(None if name in HERE else name, SHIPPED[name])
    file, colon, factory = name.rpartition(":")
    if colon and file.endswith(".py"):
        return Place(None, f"{Path(file).resolve()}:{factory}")
    if colon:
        return Place(None, name)
    if name.endswith((".yaml", ".yml")):
        return Place(None, str(Path(name).resolve()))
    for point in entry_points(group=GROUP):
        if point.name == name:
            return Place(None, point.value)
    known = ["tabletop", *SHIPPED, *(point.name for point in entry_points(group=GROUP))]
    near = difflib.get_close_matches(name, known, 1, 0.5)
    raise OptionError(
        "there is no such environment",
        key="--env",
        expected=f"{', '.join(known)}, FILE.py:FACTORY, MODULE:FACTORY or FILE.yaml",
        found=name,
        remedy=f"did you mean {near[0]}?" if near else "docs/environments.md says how to write one",
    )
