"""A dataset's files: regular, inside its folder, and known by what their bytes are.

The identity of a dataset is computed from the bytes of its files; ``meta/manifest.json`` is a claim that is compared
with them.  A file that changes after the dataset was opened is noticed by its status (size, times, inode; the time of
change cannot be set by a program): tables, images and identity are those of one and the same state of the folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from vla_agent.errors import DatasetError
from vla_agent.files.bounded_reading import KINDS, too_large
from vla_agent.files.input_limits import JSON_BYTES, LINES_BYTES

LARGEST = {".json": JSON_BYTES, ".jsonl": LINES_BYTES, ".parquet": 16 * 2**30}  # bytes, by a file's ending
MOST_BYTES = 64 * 2**30  # of any other: a video
READERS = 2  # threads that hash; one reads about 1.5 GB/s


class Status(NamedTuple):
    """What a file's status says of its content."""

    size: int
    modified: int  # ns
    changed: int  # ns
    inode: int


def list_files(root: Path) -> dict[str, Status]:
    """Every file below ``root`` by its path, with its status; nothing is opened.

    Raises:
        DatasetError: something is neither file nor folder, or a link that leaves the dataset.
    """
    found: dict[str, Status] = {}
    for folder, folders, files in os.walk(root):
        for name in folders:
            if os.path.islink(path := os.path.join(folder, name)):
                raise _not_a_file(path, "a link to a folder")
        for name in files:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                status = _linked(root, path)
            if not stat.S_ISREG(status.st_mode):
                raise _not_a_file(path, KINDS.get(stat.S_IFMT(status.st_mode), "something else"))
            found[Path(path).relative_to(root).as_posix()] = _status(status)
    return found


def _status(status: os.stat_result) -> Status:
    return Status(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _linked(root: Path, path: str) -> os.stat_result:
    """The status of what a link names, inside of the dataset or, in a snapshot of the hub's cache, of its blobs."""
    inside = [root.resolve()]
    if root.resolve().parent.name == "snapshots":
        inside.append(root.resolve().parent.parent / "blobs")
    target = Path(os.path.realpath(path))
    if not any(target.is_relative_to(folder) for folder in inside):
        raise _not_a_file(path, f"a link to {target}")
    try:
        return os.stat(target)
    except OSError as error:
        raise _not_a_file(path, f"a link to {target}, which cannot be read: {error.strerror}") from error


def _not_a_file(path: str, found: str) -> DatasetError:
    return DatasetError(
        "a dataset holds what is no file of its own",
        file=path,
        key="kind",
        expected="regular files inside of the dataset's folder",
        found=found,
        remedy="copy the dataset with the files that its links name: cp -rL",
    )


def hash_files(root: Path, files: Mapping[str, Status], leave_out: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of every file, computed from its bytes, by path in order.

    Raises:
        DatasetError: a file is not the one that ``files`` states any more.
    """
    names = sorted(name for name in files if name not in leave_out)
    with ThreadPoolExecutor(READERS) as pool:
        digests = list(pool.map(lambda name: _hash(root / name, files[name]), names))
    return {name: {"bytes": files[name].size, "sha256": digest} for name, digest in zip(names, digests, strict=True)}


def _hash(path: Path, expected: Status) -> str:
    if expected.size > LARGEST.get(path.suffix, MOST_BYTES):
        raise too_large(path, DatasetError, LARGEST.get(path.suffix, MOST_BYTES), f"{expected.size:,} bytes")
    try:
        with open(path, "rb") as file:
            before = _status(os.fstat(file.fileno()))
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            after = _status(os.fstat(file.fileno()))
    except OSError as error:
        raise _changed(path, error.strerror) from error
    if not before == after == expected:
        raise _changed(path, "another state of the file")
    return digest


def require_unchanged(root: Path, files: Mapping[str, Status]) -> None:
    """Raise where a file was added, removed or written since `list_files`.

    Raises:
        DatasetError: the first such file.
    """
    now = list_files(root)
    for name in sorted(now.keys() | files.keys()):
        if now.get(name) != files.get(name):
            found = "new" if name not in files else "removed" if name not in now else "another state of the file"
            raise _changed(root / name, found)


def _changed(path: Path, found: object) -> DatasetError:
    return DatasetError(
        "a file of the dataset has changed while the dataset was used",
        file=path,
        key="state",
        expected="the file as it was when the dataset was opened",
        found=found,
        remedy="stop what writes to the dataset, and run the command again",
    )


def compare_with_manifest(root: Path, manifest: str, claimed: Any, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise where the manifest states another digest than the file has.

    Args:
        manifest: its path below ``root``.
        claimed: its content, checked by `check_manifest`.
        found: from `hash_files`.

    Raises:
        DatasetError: the first such file.
    """
    for name, entry in claimed.items():
        digest = found[name]["sha256"] if name in found else "no such file"
        if entry["sha256"] != digest:
            raise DatasetError(
                "a file of the dataset is not the one that its manifest states",
                file=root / name,
                key="sha256",
                expected=f"{entry['sha256']} ({manifest})",
                found=digest,
                remedy="get the dataset again; where you changed it on purpose, write it again as a new dataset",
            )


def check_manifest(root: Path, manifest: str, claimed: Any) -> dict[str, dict[str, Any]]:
    """The manifest, where it has the form that is written: name -> bytes, sha256.

    Raises:
        DatasetError: another form, or a name outside of the dataset.
    """
    wrong = "no map" if not isinstance(claimed, dict) else next((n for n, e in claimed.items() if not _entry(n, e)), "")
    if wrong:
        raise DatasetError(
            "the manifest of the dataset is wrong",
            file=root / manifest,
            key=wrong[:200],
            expected="name of a file inside of the dataset -> bytes, sha256",
            found="another form, or a name outside of the dataset",
            remedy="get the dataset again",
        )
    return dict(claimed)


def _entry(name: str, entry: Any) -> bool:
    plain = not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts and "\\" not in name
    whole = isinstance(entry, dict) and type(entry.get("bytes")) is int and isinstance(entry.get("sha256"), str)
    return plain and "\0" not in name and whole


def identity(files: Mapping[str, Mapping[str, Any]]) -> str:
    """SHA-256 over the names, sizes and digests of the files."""
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
