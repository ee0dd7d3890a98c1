"""Definitions of message types for bags: the standard ones of `rosbags`, and those of installed packages."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from vla_agent.errors import NodeError


class BagTypes:
    """A type store that grows with what is asked of it; ``store`` is that of `rosbags`.

    Raises:
        NodeError: the package `rosbags` is missing.
    """

    def __init__(self) -> None:
        try:
            from rosbags.typesys import Stores, get_typestore
        except ImportError as error:
            raise NodeError(
                "recording needs the package rosbags",
                key="rosbags",
                found=str(error),
                remedy="pip install 'vla_agent[ros-bags]'",
            ) from error
        self.store: Any = get_typestore(Stores.ROS2_JAZZY)

    def know(self, kind: str) -> None:
        """Make a type such as ``control_msgs/msg/JointJog`` known, with all that it contains.

        Raises:
            NodeError: its package, or its definition in the package, is not there.
        """
        from rosbags.typesys import get_types_from_msg

        if kind in self.store.fielddefs:
            return
        found = get_types_from_msg(definition(kind), kind)
        self.store.register({name: fields for name, fields in found.items() if name not in self.store.fielddefs})
        for inner in sorted(_named(found[kind][1])):
            self.know(inner)


def _named(fields: Any) -> set[str]:
    """The message types that a type's fields name."""
    if isinstance(fields, str):
        return {fields} if "/msg/" in fields else set()
    return {name for part in fields for name in _named(part)} if isinstance(fields, (list, tuple)) else set()


def definition(kind: str) -> str:
    """The text of a type's ``.msg`` file, from the ROS package that is installed.

    Raises:
        NodeError: there is none.
    """
    package, _, name = kind.partition("/msg/")
    for share in _shares(package):
        file = share / "msg" / f"{name}.msg"
        if name and file.is_file():
            return file.read_text()
    raise NodeError(
        "the definition of a message type is not there",
        key=kind,
        expected=f"share/{package}/msg/{name}.msg of an installed package",
        found="none",
        remedy="install the package, or leave the topic out: parameter exclude",
    )


def message_class(kind: str) -> Any:
    """The Python class of a type.

    Raises:
        NodeError: its package is not installed for this Python.
    """
    package, _, name = kind.partition("/msg/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError) as error:
        raise NodeError(
            "a message type is not installed",
            key=kind,
            expected=f"the package {package}",
            found=str(error),
            remedy=f"install {package}, or leave the topic out: parameter exclude",
        ) from error


def _shares(package: str) -> list[Path]:
    """Where a package's share folder may be: as ROS says, and beside its Python modules."""
    shares = []
    try:
        from ament_index_python.packages import get_package_share_directory

        shares.append(Path(get_package_share_directory(package)))
    except (ImportError, LookupError, OSError, ValueError):
        pass
    try:
        module = importlib.import_module(package)
        shares.append(Path(str(module.__file__)).parents[4] / "share" / package)
    except (ImportError, IndexError):
        pass
    return shares
