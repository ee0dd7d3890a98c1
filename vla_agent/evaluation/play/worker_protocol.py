"""The protocol of workers: functions applied to items, in processes with a `Player` and one thread each."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

from vla_agent.evaluation.play.player import Player

Item = TypeVar("Item")
Result = TypeVar("Result")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "LP_NUM_THREADS": "0", "TOKENIZERS_PARALLELISM": "false"}


class Workers(Protocol):
    """A context in which functions ``(player, item) -> result`` are applied to items, in ``count`` processes."""

    count: int

    def __enter__(self) -> Workers: ...

    def __exit__(self, *_: object) -> None: ...

    def map(self, function: Callable[[Player, Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Results in the order of completion.

        Raises:
            SimulatorError: a worker process died, and its item could not be moved to another.
        """


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread inside, where torch is loaded: same bits on every machine, and one process per core."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 1
    if torch and before != 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if torch and before != 1:
            torch.set_num_threads(before)


@contextmanager
def environment_variables(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the processes that are started inside."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
