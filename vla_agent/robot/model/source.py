"""Where a robot's model lies, and what the robot file says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vla_agent.errors import RobotError
from vla_agent.files.bounded_reading import read_bytes
from vla_agent.robot.model.packages import find_in_package, resolve
from vla_agent.robot.model_bounds import XML_BYTES, check_model
from vla_agent.robot.model_files import require_below, require_contained


@dataclass(frozen=True)
class ModelSource:
    """What a robot file says of its model.

    Args:
        path: MJCF, URDF or xacro file, which exists.
        root: the folder that it and its parts lie below.
        end_effector: name of a site, a link (body) or a frame.
        base_frame: of a URDF: the link whose frame positions are in; empty: the root.  Not used for MJCF.
        packages: name -> folder, of the robot file.
        xacro: arguments of a xacro file.
        srdf: file whose ``disable_collisions`` count, or None.
        installed: ``root`` is a package that the operator installed, whose files may be links to elsewhere.
    """

    path: Path
    root: Path
    end_effector: str = ""
    base_frame: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    xacro: Mapping[str, str] = field(default_factory=dict)
    srdf: Path | None = None
    installed: bool = False


def is_urdf(path: Path) -> bool:
    """Is a file URDF or xacro, by its ending or its first element?"""
    if path.suffix.lower() in (".urdf", ".xacro"):
        return True
    return b"<robot" in read_bytes(path, RobotError, XML_BYTES)[:4096]


def locate_model(uri: str, packages: Mapping[str, str], folder: Path | None) -> tuple[Path, Path, bool]:
    """(file, folder that it and its parts lie below, is that an installed package?) of a model, before MuJoCo opens it.

    Args:
        uri: path, or ``package://PACKAGE/PATH``.
        packages: name -> folder, of the robot file.
        folder: of the robot file; None for a description that was made here.

    Raises:
        RobotError: it is missing, exceeds a bound, or names files outside of the folder or the package.
    """
    path = resolve(uri, packages)
    inside = find_in_package(uri, packages) if uri.startswith("package://") else None
    # a file's model is below its folder; that of a description that was changed here may be elsewhere
    root = folder if folder and path.is_relative_to(folder) else path.parent
    root = root if inside is None else inside[1]
    installed = inside is not None and str(root) not in packages.values()
    if not installed or not is_urdf(path):  # an installed ROS package may consist of links
        require_below(path, root, path, str(path))  # before any of it is read
    check_model(path, root)
    if not is_urdf(path):  # of a URDF, the loader checks each file that it reads
        require_contained(path, root)
    return path, root, installed
