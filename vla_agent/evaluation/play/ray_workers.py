"""Workers on the machines of a Ray cluster.  Every episode is a task, which Ray moves to another process when one dies.

The machines need this release and the policy's folder at the same path (or its name on the hub, or a server); each
process checks both before it plays, so that the results equal those of a single machine.
"""

from __future__ import annotations

import logging
import os
import platform
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from vla_agent.environments.choice import Choice
from vla_agent.environments.names import absolute
from vla_agent.errors import OptionError, SimulatorError
from vla_agent.evaluation import provenance
from vla_agent.evaluation.play.player import Player, PlayerSettings
from vla_agent.evaluation.play.worker_protocol import ONE_THREAD, Item, Result, one_thread
from vla_agent.evaluation.played_world import world_of_choice

RETRIES = 5  # of an episode whose process or machine was lost


class RayWorkers:
    """`worker_protocol.Workers` of the cluster at ``address``; ``count`` None: all of its cores.

    Raises:
        OptionError: Ray is not installed, or there is no cluster.
    """

    def __init__(self, settings: PlayerSettings, count: int | None, address: str) -> None:
        self._ray, self._own = _connect(address)
        folder = Path(settings.policy)
        if folder.is_dir():  # the processes of the cluster run in other folders
            settings = replace(settings, policy=str(folder.resolve()))
        if isinstance(settings.environment, Choice):
            choice = replace(settings.environment, name=absolute(settings.environment.name))
            settings = replace(settings, environment=choice)
        self.count = count or max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        self._run = uuid.uuid4().hex
        self._shared = self._ray.put((settings, _identity(settings)))
        self._task = self._ray.remote(num_cpus=1, max_retries=RETRIES)(_apply)

    def __enter__(self) -> RayWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._own:
            self._ray.shutdown()

    def map(self, function: Callable[[Player, Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """`Workers.map`.  On Ctrl-C the running items are finished and yielded, then `KeyboardInterrupt` is raised.

        Raises:
            SimulatorError: an item's process died `RETRIES` times, or a machine has another release or policy.
        """
        waiting = list(reversed(items))
        pending: list[Any] = []
        while waiting or pending:
            while waiting and len(pending) < self.count:
                pending.append(self._task.remote(self._run, self._shared, function, waiting.pop()))
            try:
                done, pending = self._ray.wait(pending)
            except KeyboardInterrupt:
                for reference in pending:
                    yield self._result(reference)
                raise
            for reference in done:
                yield self._result(reference)

    def _result(self, reference: Any) -> Any:
        from ray.exceptions import RayError, RayTaskError

        try:
            return self._ray.get(reference)
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            raise SimulatorError(
                "an episode's worker process died repeatedly",
                expected=f"a process that lives through an episode, in {1 + RETRIES} tries",
                found=str(error).splitlines()[0],
                remedy="check the machines' memory (`ray status`), then run the same command with --resume",
            ) from error


def _connect(address: str) -> tuple[Any, bool]:
    """The module `ray`, connected; and whether this call made the connection.  An existing one is reused."""
    try:
        import ray
    except ImportError as error:
        raise OptionError(
            "Ray is not installed",
            key="--ray",
            expected="the extra ray",
            found=str(error),
            remedy="pip install 'vla_agent[ray]', or leave --ray out",
        ) from error
    if ray.is_initialized():
        return ray, False
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise OptionError(
            "there is no Ray cluster",
            key="--ray",
            expected="HOST:PORT of a cluster that can be reached, or auto on one of its machines",
            found=f"{address}: {str(error).splitlines()[0]}",
            remedy="start one: `ray start --head`, and `ray start --address HOST:PORT` on every other machine",
        ) from error
    return ray, True


def _identity(settings: PlayerSettings) -> dict[str, Any]:
    """What must be equal on all machines so that they play the same episodes."""
    import mujoco

    folder = Path(settings.policy)
    files = provenance.hash_policy(folder) if folder.is_absolute() else {}
    choice = settings.environment
    if isinstance(choice, Choice):
        return {"policy": files, "environment": world_of_choice(choice).simulator}
    return {"policy": files, "simulator": provenance.hash_simulator(), "mujoco": mujoco.__version__}


_player: tuple[str, Player] | None = None  # of this worker process: the run that it plays for, its world and policy


def _apply(
    run: str, shared: tuple[PlayerSettings, Mapping[str, Any]], function: Callable[[Player, Any], Any], item: Any
) -> Any:
    """Apply the function in a process of the cluster, which keeps its player from one task to the next."""
    global _player
    os.environ.update(ONE_THREAD)
    if _player is None or _player[0] != run:
        if _player is not None:
            with suppress(Exception):  # the earlier run's renderer may be gone
                _player[1].close()
        settings, identity = shared
        _require_same(identity, _identity(settings))
        _player = run, Player(settings)
    with one_thread():
        return function(_player[1], item)


def _require_same(expected: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    different = [key for key in expected if expected[key] != found[key]]
    if different:
        raise SimulatorError(
            f"the machine {platform.node()} would play other episodes",
            key=", ".join(different),
            expected="; ".join(f"{key} {_short(expected[key])}" for key in different),
            found="; ".join(f"{key} {_short(found[key])}" for key in different),
            remedy="install the same release there, and put the policy's folder at the same path",
        )


def _short(value: Any) -> str:
    return f"{len(value)} files" if isinstance(value, Mapping) else str(value)[:16]
