"""Where a benchmark's own Python is, and what belongs into it: one pinned list of packages for each (`pins/`)."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import vla_agent
from vla_agent.errors import EnvironmentFault, OptionError
from vla_agent.files.hashing import hash_file

PINS = Path(__file__).parent / "pins"
READY = "ready.txt"  # SHA-256 of the pinned list that was installed
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Pins:
    """A pinned list: ``packages`` as ``NAME==VERSION``, and what its first comment says of size and time."""

    file: Path
    about: str
    packages: tuple[str, ...]

    @property
    def sha256(self) -> str:
        return hash_file(self.file)


def own_folder(name: str) -> Path:
    """``$VLA_AGENT_ENVIRONMENTS/NAME``, or ``~/.local/share/vla_agent/environments/NAME``."""
    if not NAME.fullmatch(name):
        raise OptionError(
            "an environment's own Python has no such name",
            key="NAME",
            expected="letters, digits, _ . -",
            found=name,
            remedy="vla-agent env list shows them",
        )
    chosen = os.environ.get("VLA_AGENT_ENVIRONMENTS")
    return (Path(chosen) if chosen else Path.home() / ".local" / "share" / "vla_agent" / "environments") / name


def is_ready(name: str) -> bool:
    """Whether its Python is there, whole."""
    return (own_folder(name) / READY).is_file()


def python_of(name: str) -> Path:
    """The interpreter, which finds this release of ``vla_agent``.

    Raises:
        EnvironmentFault: it was not made, or not to its end.
    """
    folder = own_folder(name)
    python = folder / "bin" / "python"
    if not is_ready(name) or not python.exists():
        raise EnvironmentFault(
            f"{name} has no Python of its own here",
            file=folder,
            expected="a finished one",
            found="an unfinished one" if folder.exists() else "nothing",
            remedy=f"vla-agent env setup {name}",
        )
    _link_package(folder)
    return python


def read_pins(name: str, file: Path | None = None) -> Pins:
    """The pinned list of a shipped environment, or of ``file``.

    Raises:
        OptionError: there is none.
        EnvironmentFault: a line is no pinned package.
    """
    path = file or PINS / f"{name}.txt"
    if not path.is_file():
        raise OptionError(
            "there is no pinned list for this environment",
            key="NAME",
            expected=", ".join(sorted(p.stem for p in PINS.glob("*.txt"))) + "; or a list of your own: --pins FILE",
            found=name if file is None else str(file),
            remedy="choose one of these, or write one with `pip freeze`",
        )
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    packages = tuple(line for line in lines if line and not line.startswith("#"))
    loose = [line for line in packages if not re.fullmatch(r"[A-Za-z0-9_.-]+==[^\s;]+", line)]
    if loose or not packages:
        raise EnvironmentFault(
            "the list has lines that pin nothing",
            file=path,
            expected="NAME==VERSION on every line",
            found=", ".join(loose) or "no packages",
            remedy="write it with `pip freeze` in an environment that works",
        )
    about = " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))
    return Pins(path, about, packages)


def _link_package(folder: Path) -> None:
    """Make ``vla_agent`` of this process importable there, and nothing else of this Python."""
    package = Path(vla_agent.__file__).parent
    for site in folder.glob("lib/python*/site-packages"):
        link = site / "vla_agent"
        if link.is_symlink() and link.resolve() == package.resolve():
            continue
        with suppress(FileNotFoundError):
            link.unlink()
        with suppress(FileExistsError):  # another worker was faster
            link.symlink_to(package, target_is_directory=True)
