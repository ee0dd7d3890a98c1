"""Named sections of an inference.  They cost nothing until a watcher is set: see `latency_profile`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

# What is timed: it names an object, so that a policy that doubts has to look for it.
INSTRUCTION = "put the red mug in the tray"
Watcher = Callable[[str], AbstractContextManager[None]]

_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)
_unwatched: AbstractContextManager[None] = nullcontext()


def timed_section(name: str) -> AbstractContextManager[None]:
    """A context for the code of section ``name``; a section may run several times in one inference."""
    watcher = _watcher.get()
    return _unwatched if watcher is None else watcher(name)


@contextmanager
def watch_sections(watcher: Watcher) -> Iterator[None]:
    """Inside, ``watcher(name)`` is entered around every section of this thread."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)
