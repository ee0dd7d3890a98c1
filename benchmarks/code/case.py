"""One planted case, and helpers that plant."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.code.watched_run import Action, Place
from benchmarks.inputs.badinput.good_inputs import Good

Spoil = Callable[[Path, Place], object]  # damages a folder


@dataclass(frozen=True)
class Case:
    """Something planted.

    Attributes:
        kind: policy, adapter, pretrained model, name, robot, gate, dataset, recipe.
        name: what is planted, in words.
        plant: plants it, and gives the actions that read it; each runs in a process of its own.
        harmless: whether it may load, because what is planted is never read.
    """

    kind: str
    name: str
    plant: Callable[[Place, Good], list[Action]]
    harmless: bool = False


class Marked:
    """An object whose unpickling leaves the mark."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def pickled(place: Place) -> bytes:
    """A pickle that leaves the mark where it is loaded."""
    return pickle.dumps(Marked(place.shell))


def edit(file: Path, **changes: Any) -> Path:
    """Change keys of a JSON file; a file that is missing begins empty, None removes a key."""
    data = json.loads(file.read_text()) if file.exists() else {}
    data |= changes
    file.write_text(json.dumps({key: value for key, value in data.items() if value is not None}))
    return file


def removed(file: Path) -> Path:
    """A file's place, where nothing is any more."""
    file.unlink(missing_ok=True)
    return file


def fifo(file: Path) -> Path:
    """A FIFO in a file's place."""
    os.mkfifo(removed(file))
    return file


def outside_copy(source: Path, place: Place, name: str) -> Path:
    """A valid copy of a file or folder, outside."""
    target = place.outside / name
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)
    return target


def linked(file: Path, place: Place) -> None:
    """Replace a file or folder by a link to a valid copy outside."""
    target = outside_copy(file, place, f"{file.name}.copy")
    if file.is_dir():
        shutil.rmtree(file)
    else:
        file.unlink()
    file.symlink_to(target)
