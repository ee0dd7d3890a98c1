"""Atomic writing: beside the target first, then one rename.  A killed process leaves the old copy or the new one.

Beside ``NAME`` lie, while it is written and after a kill::

    .NAME.PID-K.tmp    a file that is being written, or a folder that is being deleted
    .NAME.new/NAME     a folder that is being written; after the exchange, the old copy
    .NAME.new/.renames says that NAME becomes .NAME.old next, and .NAME.new/NAME then NAME
    .NAME.old          the last whole copy of a folder, between these two renames

A writer locks its ``.tmp`` or ``.new`` until it ends: where the lock is free, it is a dead writer's, and the next write
deletes it.  Folders are exchanged in one step where the system can (Linux, ``RENAME_EXCHANGE``).  Elsewhere there are
two renames; after a kill between them, `recover` and the next write put ``.NAME.old`` back.  Data is on the disk before
a name points at it, so that a power cut, too, leaves one of the two copies.
"""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vla_agent.errors import VlaAgentError
from vla_agent.files.durable import exchange, sync, sync_tree, try_lock, unlock

RENAMES = ".renames"
PATIENCE = 10.0  # seconds that a reader waits for a writer between its two renames
_numbers = itertools.count()


@contextmanager
def file_aside(file: Path) -> Iterator[Path]:
    """A path to write to; it becomes ``file`` at the end, and is deleted where an exception is raised inside.

    Raises:
        IsADirectoryError: a folder stands there.
    """
    if file.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))
    file.parent.mkdir(parents=True, exist_ok=True)
    aside, handle = _claim_file(file)
    try:
        yield aside
        sync(aside)
        os.replace(aside, file)
        sync(file.parent)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    finally:
        unlock(handle)


def write_text(file: Path, text: str) -> None:
    """Write a text file in UTF-8, atomically."""
    write_bytes(file, text.encode("utf-8"))


def write_bytes(file: Path, data: bytes) -> None:
    """Write a file, atomically."""
    with file_aside(file) as aside:
        aside.write_bytes(data)


@contextmanager
def folder_aside(folder: Path, keep: bool = False) -> Iterator[Path]:
    """A folder to write into; it becomes ``folder`` at the end, and is deleted where an exception is raised inside.

    Args:
        folder: what is written; what stands there stays until the new one is complete.  A link is followed.
        keep: begin with a copy of the files that stand there; links among them stay links.

    Raises:
        VlaAgentError: another process is writing the folder, or two copies stand there (see `recover`).
        NotADirectoryError: a file stands there.
    """
    folder = folder.resolve()
    if folder.is_file():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    folder.parent.mkdir(parents=True, exist_ok=True)
    _delete_leftovers(folder)
    handle = _claim_folder(folder)
    claim = _beside(folder, "new")
    aside = claim / folder.name
    try:
        _settle(folder)
        for leftover in claim.iterdir():
            _delete(leftover)
        if keep and folder.exists():
            shutil.copytree(folder, aside, symlinks=True)
        else:
            aside.mkdir()
        yield aside
        sync_tree(aside)
        _replace(aside, folder)
    except OSError as error:
        if error.errno is not None and error.filename is None:  # of a library in C: the disk is full
            error.filename = str(folder)
        raise
    finally:
        if not _beside(folder, "old").exists():  # else ``.new`` tells `recover` that the second rename did not happen
            remove_folder(claim)
        unlock(handle)


def name_aside(path: Path) -> Path:
    """A name beside ``path`` for something else to write to; what dead writers left under such names is deleted.

    `durable.try_lock` keeps it from other writers once it is there; `place_folder` gives it its name.
    """
    _delete_leftovers(path)
    return path.with_name(f"{_hidden(path)}.{_unique()}.tmp")


def place_folder(new: Path, folder: Path) -> None:
    """Give a written folder its name; both on one file system.

    Raises:
        FileExistsError: something stands there; it stays as it is.
    """
    sync_tree(new)
    if folder.exists():
        raise FileExistsError(f"{folder} exists")
    new.rename(folder)
    sync(folder.parent)


def remove_folder(folder: Path) -> None:
    """Delete a folder if it is there, and what a killed deletion has left of it.

    After a kill it is there as a whole, or not at all under its name.
    """
    gone = name_aside(folder)
    with suppress(FileNotFoundError):
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def recover(folder: Path) -> None:
    """Restore the last whole copy of a folder whose writer was killed between two renames; delete what it has left.

    Raises:
        VlaAgentError: something else was put in the folder's place since, or a living writer does not go on.
    """
    if not folder.name or folder.is_symlink():
        folder = folder.resolve()
    deadline = time.monotonic() + PATIENCE
    while _beside(folder, "old").exists():
        claim = _beside(folder, "new")
        handle = try_lock(claim)
        if handle is not None or not claim.exists():
            try:
                _settle(folder)
            finally:
                if handle is not None:
                    unlock(handle)
            break
        if time.monotonic() > deadline:
            raise _busy(folder)
        time.sleep(0.01)
    with suppress(OSError):  # a reader may not be allowed to
        _delete_leftovers(folder)


def _settle(folder: Path) -> None:
    """End what a dead writer began with two renames: the old copy goes back, or away where the new one is in place."""
    old, claim = _beside(folder, "old"), _beside(folder, "new")
    if not old.exists():
        return
    if not folder.exists():
        with suppress(FileNotFoundError):  # another reader did it
            old.rename(folder)
    elif (claim / RENAMES).exists() and not (claim / folder.name).exists():  # the second rename has happened
        remove_folder(old)
    else:
        raise VlaAgentError(
            "a folder stands where the last whole copy belongs, whose writer was killed",
            file=folder,
            expected=f"nothing, so that {old} can be put back",
            found="a folder that something else has made since",
            remedy=f"move it away and run the command again, which puts {old.name} back; or delete {old.name}",
        )


def _replace(new: Path, folder: Path) -> None:
    """Put ``new``, which is on the disk, in the place of ``folder``, which may not exist yet."""
    if not folder.exists():
        new.rename(folder)
    elif not exchange(new, folder):
        old = _beside(folder, "old")
        (new.parent / RENAMES).touch()
        folder.rename(old)
        try:
            new.rename(folder)
        except OSError:
            if not folder.exists():
                old.rename(folder)
            raise
        sync(folder.parent)
        remove_folder(old)
    sync(folder.parent)


def _claim_folder(folder: Path) -> int:
    """Make ``.NAME.new``, or take the one of a dead writer; its lock."""
    claim = _beside(folder, "new")
    while True:
        with suppress(FileExistsError):
            claim.mkdir()
        handle = try_lock(claim)
        if handle is not None:
            return handle
        if claim.exists():
            raise _busy(folder)


def _claim_file(file: Path) -> tuple[Path, int]:
    """A new file beside ``file`` and its lock."""
    while True:
        aside = name_aside(file)
        try:
            os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666))
        except FileExistsError:  # a process of the same number, in another container
            continue
        handle = try_lock(aside)
        if handle is not None:
            return aside, handle


def _delete_leftovers(file: Path) -> None:
    """Delete what dead writers of a file have left beside it."""
    with os.scandir(file.parent) as entries:
        names = [e.name for e in entries if e.name.startswith(f"{_hidden(file)}.") and e.name.endswith(".tmp")]
    for name in names:
        leftover = file.with_name(name)
        handle = try_lock(leftover)
        if handle is not None:
            _delete(leftover)
            unlock(handle)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _busy(folder: Path) -> VlaAgentError:
    return VlaAgentError(
        "another process is writing this folder",
        file=folder,
        expected="one writer at a time",
        found=f"{_beside(folder, 'new')}, locked by a living process",
        remedy="wait until it has ended, or write to another folder",
    )


def _beside(folder: Path, what: str) -> Path:
    return folder.with_name(f".{folder.name}.{what}")


def _hidden(path: Path) -> str:
    return f".{path.name.removeprefix('.')}"


def _unique() -> str:
    return f"{os.getpid()}-{next(_numbers)}"
