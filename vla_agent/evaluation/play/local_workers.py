"""Worker processes of this machine, each with one `Player`; or, for one worker, a player in this process."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from vla_agent.errors import SimulatorError
from vla_agent.evaluation.play.player import Player, PlayerSettings
from vla_agent.evaluation.play.worker_protocol import ONE_THREAD, Item, Result, environment_variables, one_thread


class LocalWorkers:
    """`Workers` of this machine: spawned once; they keep world and policy from one `map` to the next."""

    def __init__(self, settings: PlayerSettings, count: int) -> None:
        self._settings, self.count = settings, count
        self._player: Player | None = None
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> LocalWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        if self._player is not None:
            self._player.close()

    def map(self, function: Callable[[Player, Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """`Workers.map`.  On Ctrl-C the running items are finished and yielded, then `KeyboardInterrupt` is raised.

        Raises:
            SimulatorError: a worker process died.
        """
        if self.count == 1:
            self._player = self._player or Player(self._settings)
            for item in items:
                with one_thread():
                    result = function(self._player, item)
                yield result
            return
        try:
            with environment_variables(ONE_THREAD):
                pending = {self._started().submit(_apply, function, item) for item in items}
            while pending:
                try:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                except KeyboardInterrupt:
                    for future in _running(pending):
                        yield future.result()
                    raise
                for future in done:
                    yield future.result()
        except BrokenProcessPool as error:
            raise SimulatorError(
                "a worker process died",
                expected="worker processes that live until the evaluation ends",
                found=str(error),
                remedy="is there enough memory? try fewer --workers, with --resume; or `vla-agent doctor`",
            ) from error

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.count, context, initializer=_start, initargs=(self._settings,))
        return self._pool


def _running(futures: set[Future[Result]]) -> list[Future[Result]]:
    """Cancel what has not started; the futures that run."""
    return [future for future in futures if not future.cancel()]


_settings: PlayerSettings | None = None
_player: Player | None = None


def _start(settings: PlayerSettings) -> None:
    """Initialise a worker process.  Ctrl-C is left to the parent."""
    global _settings
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _settings = settings


def _apply(function: Callable[[Player, Item], Result], item: Item) -> Result:
    """Apply the function in this worker process; the first call makes the player."""
    global _player
    if _player is None:
        assert _settings is not None
        _player = Player(_settings)
    with one_thread():
        return function(_player, item)
