"""What is fuzzed: files and the reader of each, or messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.inputs.fuzz.mutations import Rng, change_file


@dataclass(frozen=True)
class Target:
    """One format or protocol.

    Args:
        name: of the format, and of what reads it.
        make: writes a good input into an empty folder, once.
        read: reads the input in a folder; what it writes, it writes to ``out`` there.
        files: patterns of the files that are changed, the more often the earlier; none: ``read`` gets a generator of
            random numbers, and makes the message itself.
        finish: called after a file was changed, for example to state its new hash.
    """

    name: str
    make: Callable[[Path], Any]
    read: Callable[..., Any]
    files: tuple[str, ...] = ()
    finish: Callable[[Path], Any] = lambda folder: None

    def change(self, folder: Path, rng: Rng) -> None:
        """Change one file of a copy of the good input."""
        found = [sorted(path for path in folder.glob(pattern) if path.is_file()) for pattern in self.files]
        found = [paths for paths in found if paths]  # a layout may have no such file
        weights = [2.0**-k for k in range(len(found))]
        paths = found[int(rng.choice(len(weights), p=[w / sum(weights) for w in weights]))]
        change_file(paths[int(rng.integers(len(paths)))], rng)
        self.finish(folder)


def nothing(folder: Path) -> None:
    """The message is made where it is read."""
