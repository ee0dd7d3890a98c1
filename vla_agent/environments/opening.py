"""Opens an environment by its name: in this process, or in its own."""

from __future__ import annotations

from collections.abc import Mapping

from sim.tasks.task import select
from vla_agent.environments.names import place_of
from vla_agent.environments.opening_here import Opened, open_here
from vla_agent.environments.own.own_python import python_of
from vla_agent.environments.process.hosted import HostedEnvironment
from vla_agent.environments.tabletop import NAME, Tabletop


def open_environment(name: str, options: Mapping[str, str]) -> Opened:
    """Open an environment by its name: in this process, or in its own.

    Raises:
        OptionError: no such environment.
        EnvironmentFault: it cannot be opened, or its own Python is not there.
    """
    if name == NAME:
        return Opened(Tabletop(select(None)), {"name": "sim", "sha256": ""})
    place = place_of(name)
    if place.own is None:
        return open_here(place.opened, options)
    hosted = HostedEnvironment(python_of(place.own), place.opened, options)
    return Opened(hosted, hosted.source)
