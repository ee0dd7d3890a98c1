"""Named parts of an inference.  They cost nothing until somebody watches: see `vla_agent.policy.speed.profile`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

Watcher = Callable[[str], AbstractContextManager[None]]

_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)
_unwatched: AbstractContextManager[None] = nullcontext()


def part(name: str) -> AbstractContextManager[None]:
    """What runs inside belongs to the part ``name``; a part may come several times an inference."""
    watcher = _watcher.get()
    return _unwatched if watcher is None else watcher(name)


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Inside, ``watcher(name)`` is entered around every part of this thread."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)
