"""Makes a benchmark's own Python: one package after the other, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

from vla_agent.environments.own.own_python import READY, Pins, own_folder
from vla_agent.errors import EnvironmentFault
from vla_agent.files.write_aside import write_text

Progress = Callable[[str, int, int], None]  # package, how many are done, how many there are
WORDS = 1200  # characters of pip's own words in an error


def missing_packages(folder: Path, packages: Sequence[str]) -> list[str]:
    """The pinned packages that are not there in their version."""
    sites = [str(site) for site in folder.glob("lib/python*/site-packages")]
    found = {
        f"{_plain(d.metadata['Name'])}=={d.version}" for d in importlib.metadata.distributions(path=sites) if sites
    }
    return [line for line in packages if f"{_plain(line.split('==')[0])}=={line.split('==')[1]}" not in found]


def install(name: str, pins: Pins, progress: Progress = lambda *_: None) -> Path:
    """Make the Python of ``name`` with exactly the pinned packages; what is already there is kept.

    Raises:
        EnvironmentFault: a package cannot be installed; says pip's own words.  The same call goes on.
    """
    folder = own_folder(name)
    ready = folder / READY
    ready.unlink(missing_ok=True)
    if not (folder / "bin" / "python").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        venv.create(folder, with_pip=False, symlinks=True)
    missing = missing_packages(folder, pins.packages)
    total = len(pins.packages)
    for number, package in enumerate(missing, total - len(missing)):
        progress(package, number, total)
        _pip(folder, package)
    progress("", total, total)
    write_text(ready, pins.sha256 + "\n")
    return folder


def _pip(folder: Path, package: str) -> None:
    """Install one package without its dependencies, which the list names itself."""
    command = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--no-deps"]
    command += ["--disable-pip-version-check", "--no-input", "--quiet", package]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip()[-WORDS:]
        raise EnvironmentFault(
            "a package cannot be installed",
            file=folder,
            key=package,
            expected="a package that pip finds and installs",
            found=words or f"exit code {done.returncode}",
            remedy="check network, disk and Python's version, then run the same command again: it goes on here",
        )


def _plain(name: str) -> str:
    """A package's name as registries compare it."""
    return name.lower().replace("_", "-").replace(".", "-")
