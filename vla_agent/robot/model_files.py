"""The files that a robot's model names: they lie below one folder, and are regular files.

MuJoCo opens every file that a model (MJCF or URDF) names: includes, meshes, textures, height fields, other models.
Here they are looked at first, so that a model from elsewhere neither reads other files nor waits for one.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from xml.etree import ElementTree

from vla_agent.errors import RobotError
from vla_agent.files.bounded_reading import read_bytes

MOST_BYTES = 1 << 24  # of a model without its meshes; the largest of the usual ones has 200 kB
MOST_FILES = 64  # that include one another
FOLDERS = ("meshdir", "texturedir", "assetdir")  # attributes of ``compiler``: where files are looked for
NAMES = ("file", "filename", "fileright", "fileleft", "fileup", "filedown", "filefront", "fileback")
MODELS = ("include", "model")  # elements whose file is a model itself


def require_contained(model: Path, root: Path) -> None:
    """Check a model and every file that it names, directly or by the models that it includes.

    Args:
        model: MJCF or URDF.
        root: the folder that holds all of them.

    Raises:
        RobotError: a file lies elsewhere, is no regular file, or the model is not plain XML.
    """
    tops: dict[Path, ElementTree.Element] = {}
    waiting = [model]
    while waiting:
        file = waiting.pop()
        require_below(file, root, model, str(file))
        if file in tops or not file.is_file():
            continue
        if len(tops) == MOST_FILES:
            raise _refused(model, "include", f"at most {MOST_FILES} models in one", "more")
        tops[file] = _parsed(file)
        included = [element.get("file", "") for kind in MODELS for element in tops[file].iter(kind)]
        waiting += [folder / name for name in included if name for folder in (file.parent, model.parent)]
    folders = ["", *(e.get(key, "") for top in tops.values() for e in top.iter("compiler") for key in FOLDERS)]
    checked: set[Path] = set()
    for file, top in tops.items():
        bases = [place / folder for place in {file.parent, model.parent} for folder in dict.fromkeys(folders)]
        for name in folders + [value for element in top.iter() for key in NAMES if (value := element.get(key))]:
            for place in {base / _plain(name) for base in bases} - checked:
                require_below(place, root, file, name)
                checked.add(place)


def _plain(name: str) -> str:
    """MuJoCo looks for a ROS package's file in the model's own folders."""
    return name.removeprefix("file://").removeprefix("package://")


def _parsed(file: Path) -> ElementTree.Element:
    data = read_bytes(file, RobotError, MOST_BYTES)
    if b"<!" in data.replace(b"<!--", b""):
        raise _refused(file, "<!DOCTYPE>", "elements alone, no document type and no entities", "a declaration")
    try:
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise _refused(file, "XML", "an MJCF or URDF file", str(error)) from error


def require_below(found: Path, root: Path, file: Path, name: str) -> None:
    """Check that a file is below ``root``, links resolved, and no FIFO or device; ``file`` names it as ``name``.

    Raises:
        RobotError: it is not.
    """
    place, top = Path(os.path.abspath(found)), Path(os.path.abspath(root))
    outside = not place.is_relative_to(top) or not place.resolve().is_relative_to(top.resolve())
    if outside or "\\" in name:
        raise _refused(file, name, f"files below {root}", str(place))
    if place.exists() and not (stat.S_ISREG(place.stat().st_mode) or place.is_dir()):
        raise _refused(file, name, "regular files", "a FIFO, socket or device")


def _refused(file: Path, key: str, expected: str, found: str) -> RobotError:
    return RobotError(
        "the robot's model names what it may not read",
        file=file,
        key=key[:200],
        expected=expected,
        found=found[:200],
        remedy="put model, meshes and textures below the robot file's folder, or into a package (package://PACKAGE/PATH)",
    )
