"""Folders of packages: what ``package://NAME/PATH`` and xacro's ``$(find NAME)`` mean, with and without ROS installed.

A name is looked for in this order, and the first folder that holds the file counts:

1. ``packages:`` of the robot file, folders below that file's own;
2. Python packages that are installed here; they are found and never imported;
3. the ament index of every prefix in ``AMENT_PREFIX_PATH``: ``share/NAME``;
4. ``ROS_PACKAGE_PATH``: a folder NAME with a ``package.xml``, at most three levels below an entry.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from vla_agent.errors import RobotError

DEPTH = 3  # levels of folders below an entry of ROS_PACKAGE_PATH
FOLDERS = 2000  # looked at below one entry
INDEX = Path("share/ament_index/resource_index/packages")


def package_folders(name: str, own: Mapping[str, str] | None = None) -> Iterator[Path]:
    """Every folder of a package of this name, the first to count first; none for a name that is not plain.

    Args:
        name: letters, digits, ``_`` and ``-``; no path and no dots.
        own: name -> folder, of the robot file.
    """
    if not name.replace("-", "_").isidentifier():
        return
    if own and name in own:
        yield Path(own[name])
    spec = find_spec(name) if name.isidentifier() else None  # a dotted name would import its parent
    yield from (Path(folder) for folder in (spec.submodule_search_locations or () if spec else ()))
    for prefix in _entries("AMENT_PREFIX_PATH"):
        if (prefix / INDEX / name).is_file():
            yield prefix / "share" / name
    for entry in _entries("ROS_PACKAGE_PATH"):
        yield from (folder for folder in _below(entry) if folder.name == name and (folder / "package.xml").is_file())


def find_in_package(uri: str, own: Mapping[str, str] | None = None) -> tuple[Path, Path] | None:
    """(file, folder of its package) of ``package://NAME/PATH``; None where there is none.

    The path stays below the package's folder, as it is written.
    """
    name, _, rest = uri.removeprefix("package://").partition("/")
    if Path(rest).is_absolute() or ".." in Path(rest).parts:
        return None
    return next(((folder / rest, folder) for folder in package_folders(name, own) if (folder / rest).exists()), None)


def resolve(uri: str, packages: Mapping[str, str] | None = None) -> Path:
    """A path, or ``package://PACKAGE/PATH``, as this module finds it.

    Args:
        uri: path or URI.
        packages: name -> folder, of the robot file.

    Raises:
        RobotError: there is no such package or file.
    """
    inside = find_in_package(uri, packages) if uri.startswith("package://") else (Path(uri), None)
    if inside is not None and inside[0].exists():
        return inside[0]
    name = uri.removeprefix("package://").partition("/")[0]
    near = get_close_matches(name, _known(packages), 3) if uri.startswith("package://") else []
    raise RobotError(
        "a file of the robot file is missing",
        file=uri,
        expected=f"a package such as {', '.join(near)}"
        if near and next(package_folders(name, packages), None) is None
        else "a path, or package://PACKAGE/PATH of an installed Python or ROS package",
        found="no such file",
        remedy="install the package (and source its workspace's setup.bash), name its folder as "
        "packages: {NAME: FOLDER}, or fix the path",
    )


def no_package(name: str, file: Path, own: Mapping[str, str] | None = None) -> RobotError:
    """The error for a package that is not found."""
    near = get_close_matches(name, _known(own), 3)
    return RobotError(
        "a package of the robot's model is not found",
        file=file,
        key=f"package://{name[:200]}",
        expected=f"a package; nearest: {', '.join(near)}" if near else "a package in AMENT_PREFIX_PATH",
        found="no such package here",
        remedy=f"install it (apt install ros-DISTRO-{name[:80].replace('_', '-')}) and source its workspace's "
        "setup.bash in this terminal, or name its folder in the robot file: packages: {NAME: FOLDER}",
    )


def _known(own: Mapping[str, str] | None) -> list[str]:
    """Names of packages: of the robot file, the ament index and ROS_PACKAGE_PATH."""
    index = [prefix / INDEX for prefix in _entries("AMENT_PREFIX_PATH")]
    names = {entry.name for folder in index if folder.is_dir() for entry in folder.iterdir()}
    below = {f.name for top in _entries("ROS_PACKAGE_PATH") for f in _below(top) if (f / "package.xml").is_file()}
    return sorted({*(own or {}), *names, *below})


def _entries(variable: str) -> list[Path]:
    return [Path(entry) for entry in os.environ.get(variable, "").split(os.pathsep) if entry]


def _below(top: Path) -> Iterator[Path]:
    """Folders from ``top`` downwards, hidden ones left out."""
    level, seen = [top], 0
    for _ in range(DEPTH + 1):
        following: list[Path] = []
        for folder in level:
            if not folder.is_dir() or (seen := seen + 1) > FOLDERS:
                continue
            yield folder
            following += sorted(f for f in folder.iterdir() if not f.name.startswith(".") and f.is_dir())
        level = following
