"""The package vla_agent_interfaces, where it is installed; without it every node works, and offers less."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

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
    """Import the package; a broken or missing one is no error."""
    try:
        action, srv = (importlib.import_module(f"vla_agent_interfaces.{kind}") for kind in ("action", "srv"))
        return Interfaces(action, srv)
    except ImportError as error:
        return Interfaces(None, None, f"{error}; build it: {BUILD}")
