"""Opening workers: processes of this machine, or of a Ray cluster."""

from __future__ import annotations

from vla_agent.evaluation.play.local_workers import LocalWorkers
from vla_agent.evaluation.play.player import PlayerSettings
from vla_agent.evaluation.play.ray_workers import RayWorkers
from vla_agent.evaluation.play.worker_protocol import Workers


def open_workers(settings: PlayerSettings, count: int | None, ray: str | None = None) -> Workers:
    """``count`` processes of this machine, or of the Ray cluster at the address ``ray`` (None: all of its cores).

    Raises:
        OptionError: Ray is not installed, or there is no cluster.
    """
    if ray is None:
        return LocalWorkers(settings, count or 1)
    return RayWorkers(settings, count, ray)
