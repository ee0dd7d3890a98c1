"""Opens an environment in this process.  Imports neither torch nor the simulator: a benchmark's own Python uses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_agent.contract import Contract
from vla_agent.environments.factory import factory_of
from vla_agent.environments.protocol import NEEDED, Environment
from vla_agent.errors import EnvironmentFault
from vla_agent.files.hashing import hash_file


@dataclass(frozen=True)
class Opened:
    """An open environment, and the file that defines it: ``name`` and ``sha256``."""

    environment: Environment
    source: dict[str, str]


def open_here(place: str, options: Mapping[str, str]) -> Opened:
    """Open an environment in this process.  ``place``: as in `Place.opened`.

    Raises:
        EnvironmentFault: it cannot be imported, its factory fails, or what it returns is no environment.
    """
    if place.endswith((".yaml", ".yml")):
        from vla_agent.environments.gymnasium_environment import open_file

        return Opened(open_file(Path(place)), _source(Path(place)))
    factory, file = factory_of(place)
    try:
        environment = factory(**options)
    except TypeError as error:
        remedy = "give it these options with --env-option KEY=VALUE, and no others"
        raise _fault("the factory takes other options", place, "its arguments", error, remedy) from error
    _require_protocol(environment, place)
    return Opened(environment, _source(file))


def _require_protocol(environment: Any, place: str) -> None:
    missing = [name for name in NEEDED if not hasattr(environment, name)]
    if not missing:
        if not isinstance(environment.contract, Contract):
            raise _fault("the environment's contract is none", place, "a vla_agent.contract.Contract",
                         type(environment.contract).__name__, "write one: docs/environments.md")  # fmt: skip
        return
    gymnasium = hasattr(environment, "observation_space") and hasattr(environment, "action_space")
    remedy = (
        "a Gymnasium environment needs a YAML file with its contract: docs/environments.md#a-gymnasium-environment"
        if gymnasium
        else "write what is missing: docs/environments.md"
    )
    raise _fault("the factory returned no environment", place, ", ".join(NEEDED), f"without {', '.join(missing)}",
                 remedy)  # fmt: skip


def _source(file: Path | None) -> dict[str, str]:
    return {"name": file.name, "sha256": hash_file(file)} if file else {"name": "built in", "sha256": ""}


def _fault(what: str, file: str, expected: str, found: object, remedy: str) -> EnvironmentFault:
    return EnvironmentFault(what, file=file, expected=expected, found=found, remedy=remedy)
