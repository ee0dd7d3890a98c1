"""Files that come with the project, found from any folder: policies, recipes, gate files, robot files, mappings.

In a source tree they lie beside the package.  An installed package has them in ``share/vla_agent`` of its prefix: of
the virtual environment after ``pip install``, of the workspace after colcon.
"""

from __future__ import annotations

import os
import site
import sys
from os import PathLike
from pathlib import Path

FOLDERS = ("policies", "gates", "config", "launch")
SOURCE = Path(__file__).resolve().parents[2]


def shipped_folders() -> list[Path]:
    """Where shipped files may lie, the first match counts: the source tree, then each prefix's share."""
    ament = [Path(prefix) for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]
    user = [Path(site.getuserbase())] if site.ENABLE_USER_SITE else []
    shares = [prefix / "share" / "vla_agent" for prefix in (*ament, Path(sys.prefix), *user)]
    return [SOURCE, *shares] if (SOURCE / "package.xml").is_file() else shares


def find_shipped(path: str | PathLike[str]) -> Path:
    """The path itself where it exists or is not one of `FOLDERS`; else the shipped file or folder of that name.

    ``policies/tabletop-nano`` is this folder's own where there is one, and else the policy that was installed.
    """
    given = Path(path)
    if given.exists() or given.is_absolute() or not given.parts or given.parts[0] not in FOLDERS:
        return given
    candidates = (folder / given for folder in shipped_folders())
    return next((candidate for candidate in candidates if candidate.exists()), given)
