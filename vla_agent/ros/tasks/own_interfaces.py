"""The package vla_agent_interfaces, where it is installed; without it every node works, and offers less."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

PACKAGE = "vla_agent_interfaces"
BUILD = (
    "colcon build --packages-select vla_agent_interfaces, or python scripts/build_interfaces.py vla_agent_interfaces"
)


@dataclass(frozen=True)
class Interfaces:
    """The package's modules ``action`` and ``srv``; None, and the reason, where they are not there."""

    action: Any
    srv: Any
    missing: str = ""

    def offered(self, name: str) -> str:
        """What /diagnostics says about an action or service."""
        return f"not offered: {self.missing}" if self.missing else f"offered as {name}"


def own_interfaces() -> Interfaces:
    """Import the package; a broken or missing one is no error.

    A folder of its sources, such as that of this repository, is no package of Python: it has no ``__init__.py``.
    """
    try:
        found = importlib.util.find_spec(PACKAGE)
        if found is None or found.origin is None:
            raise ModuleNotFoundError(f"No module named '{PACKAGE}'")
        action, srv = (importlib.import_module(f"{PACKAGE}.{kind}") for kind in ("action", "srv"))
        return Interfaces(action, srv)
    except ImportError as error:
        return Interfaces(None, None, f"{error}; build it: {BUILD}")
