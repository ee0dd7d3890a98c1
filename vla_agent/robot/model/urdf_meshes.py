"""The meshes of a URDF's collision shapes: found, read within bounds, and handed to MuJoCo as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from vla_agent.errors import RobotError
from vla_agent.files.bounded_reading import read_bytes
from vla_agent.files.input_limits import MIB
from vla_agent.robot.model.packages import find_in_package, no_package, package_folders
from vla_agent.robot.model.source import ModelSource
from vla_agent.robot.model.urdf import Urdf, wrong_urdf
from vla_agent.robot.model_files import require_below

MESH_BYTES = 64 * MIB  # one mesh; the largest collision mesh of the usual robots has 2 MiB
ALL_BYTES = 512 * MIB
MESHES = 500
KINDS = (".stl", ".obj")  # what MuJoCo reads


def collect_meshes(urdf: Urdf, source: ModelSource, folders: Sequence[Path] = ()) -> dict[str, bytes]:
    """Name -> bytes of every mesh; the URDF's own elements then hold these names.

    Args:
        urdf: with mesh elements that name files; they are changed in place.
        source: plain names are relative to its file; they and ``file://`` stay below its root.
        folders: installed packages that a xacro file named, which ``file://`` and absolute paths may lie below.

    Raises:
        RobotError: meshes are missing or of another format (each is named), lie elsewhere, or are too large.
    """
    file, found = source.path, dict[str, bytes]()
    names: dict[Path, str] = {}
    missing: list[str] = []
    for link in urdf.top.iter("link"):
        for mesh in link.iter("mesh"):
            uri = mesh.get("filename", "")
            place = _place(uri, source, folders)
            if place is None or place.suffix.lower() not in KINDS:
                missing.append(f"{link.get('name')}: {uri} ({'not found' if place is None else 'not read here'})")
                continue
            if place not in names:
                if len(names) == MESHES:
                    raise wrong_urdf(file, "mesh", f"at most {MESHES} meshes", "more")
                names[place] = f"{len(names)}{place.suffix.lower()}"
                found[names[place]] = read_bytes(place, RobotError, MESH_BYTES)
                if sum(map(len, found.values())) > ALL_BYTES:
                    raise wrong_urdf(file, "mesh", f"at most {ALL_BYTES // MIB} MiB of meshes", "more")
            mesh.set("filename", names[place])
    if missing:
        raise RobotError(
            "meshes of the robot's collision shapes cannot be read",
            file=file,
            key="; ".join(sorted(set(missing)))[:2000],
            expected="STL or OBJ files (.stl, .obj) that are there",
            found=f"{len(set(missing))} that are missing or of another format",
            remedy="install the description package that holds them; convert .dae to .stl, for example with "
            "`pip install trimesh pycollada` and trimesh.load(FILE, force='mesh').export('FILE.stl'), and name that "
            "file in the URDF's <collision>; or use a box, cylinder or capsule there",
        )
    return found


def _place(uri: str, source: ModelSource, folders: Sequence[Path]) -> Path | None:
    """The file of a mesh; None where there is none.

    An installed package may hold links, as ``colcon build --symlink-install`` makes them; what the robot file brings
    along may not lead elsewhere.
    """
    file, packages = source.path, source.packages
    if uri.startswith("package://"):
        inside = find_in_package(uri, packages)
        if inside is None:
            name = uri.removeprefix("package://").partition("/")[0]
            if ".." in Path(uri).parts:
                raise wrong_urdf(file, uri, "a path below the package", "a path with ..")
            if next(package_folders(name, packages), None) is None:
                raise no_package(name, file, packages)
            return None
        if str(inside[1]) in packages.values():
            require_below(*inside, file, uri)
        return inside[0]
    path = Path(unquote(uri.removeprefix("file://")) if uri.startswith("file://") else uri)
    place = path if path.is_absolute() else file.parent / path
    trusted = [*folders, *([source.root] if source.installed else [])]
    if ".." in path.parts or not any(place.is_relative_to(folder) for folder in trusted):
        require_below(place, source.root, file, uri)
    return place if place.is_file() else None
