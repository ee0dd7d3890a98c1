"""The meshes of a URDF's collision shapes: found, read within bounds, and handed to MuJoCo as bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

from vla_agent.errors import RobotError
from vla_agent.files.bounded_reading import read_bytes
from vla_agent.files.input_limits import MIB
from vla_agent.robot.model.packages import find_in_package, no_package, package_folders
from vla_agent.robot.model.urdf import Urdf, wrong_urdf
from vla_agent.robot.model_files import require_below

MESH_BYTES = 64 * MIB  # one mesh; the largest collision mesh of the usual robots has 2 MiB
ALL_BYTES = 512 * MIB
MESHES = 500
KINDS = (".stl", ".obj")  # what MuJoCo reads


def collect_meshes(
    urdf: Urdf, file: Path, root: Path, packages: Mapping[str, str], folders: Sequence[Path] = ()
) -> dict[str, bytes]:
    """Name -> bytes of every mesh; the URDF's own elements then hold these names.

    Args:
        urdf: with mesh elements that name files; they are changed in place.
        file: the URDF, relative to which plain names are meant.
        root: the folder that plain names and ``file://`` stay below.
        packages: name -> folder, of the robot file.
        folders: further ones that ``file://`` and absolute paths may lie below: packages that a xacro file named.

    Raises:
        RobotError: meshes are missing or of another format (each is named), lie elsewhere, or are too large.
    """
    found: dict[str, bytes] = {}
    names: dict[Path, str] = {}
    missing: list[str] = []
    for link in urdf.top.iter("link"):
        for mesh in link.iter("mesh"):
            uri = mesh.get("filename", "")
            place = _place(uri, file, root, packages, folders)
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


def _place(uri: str, file: Path, root: Path, packages: Mapping[str, str], folders: Sequence[Path]) -> Path | None:
    """The file of a mesh; None where there is none."""
    if uri.startswith("package://"):
        inside = find_in_package(uri, packages)
        if inside is None:
            name = uri.removeprefix("package://").partition("/")[0]
            if ".." in Path(uri).parts:
                raise wrong_urdf(file, uri, "a path below the package", "a path with ..")
            if next(package_folders(name, packages), None) is None:
                raise no_package(name, file, packages)
            return None
        require_below_package(*inside, file, uri, packages)
        return inside[0]
    path = Path(unquote(uri.removeprefix("file://")) if uri.startswith("file://") else uri)
    place = path if path.is_absolute() else file.parent / path
    if not any(place.is_relative_to(folder) and ".." not in place.parts for folder in folders):
        require_below(place, root, file, uri)
    return place if place.is_file() else None


def require_below_package(place: Path, folder: Path, file: Path, name: str, packages: Mapping[str, str]) -> None:
    """Check a file of a package.

    A package that the operator has installed may hold links, as ``colcon build --symlink-install`` makes them; one that
    the robot file brings along may not lead elsewhere.

    Raises:
        RobotError: it leads elsewhere.
    """
    if str(folder) in packages.values():
        require_below(place, folder, file, name)
