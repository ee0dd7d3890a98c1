"""The folder that an export may take: a new one, or an earlier export's, which it replaces."""

from __future__ import annotations

from pathlib import Path

from vla_agent.errors import OptionError
from vla_agent.files.policy.closed_list import EXPORTED, MANIFEST

POLICIES = ("policy.json", "adapter.json", MANIFEST)


def require_own(folder: Path) -> None:
    """Raise unless the folder is absent, empty or an earlier export, and not inside of a policy's.

    What stands there is deleted; a policy with another folder in it is refused, and its certificate covers it no more.

    Raises:
        OptionError: it is something else.
    """
    inside = [p for p in folder.absolute().parents if any((p / name).is_file() for name in POLICIES)]
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    known = {*EXPORTED.folders[""], *EXPORTED.folders, *EXPORTED.record_folders}
    others = [name for name in found if name not in known] or ([] if MANIFEST in found else found)
    if not others and not inside and (folder.is_dir() or not folder.exists()):
        return
    raise OptionError(
        "the export cannot be written there",
        file=folder,
        key="-o",
        expected="a new folder, or an earlier export, which is replaced",
        found=f"in the policy {inside[0]}" if inside else ", ".join(others[:5]) or "a file",
        remedy="name another folder, such as runs/exported",
    )
