"""Atomic writing: beside the target first, then one rename.  A killed process leaves the old copy or the new one.

Folders are exchanged in one step where the system can (Linux, ``RENAME_EXCHANGE``).  Elsewhere there are two renames; a
process that is killed between them leaves the old copy as ``.NAME.old``, which `recover` and the next write put back.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)
_HERE = -100  # AT_FDCWD


@contextmanager
def file_aside(file: Path) -> Iterator[Path]:
    """A path to write to; it becomes ``file`` at the end, and is deleted where an exception is raised inside."""
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        yield aside
        os.replace(aside, file)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_text(file: Path, text: str) -> None:
    """Write a text file in UTF-8, atomically."""
    with file_aside(file) as aside:
        aside.write_text(text, encoding="utf-8")


def write_bytes(file: Path, data: bytes) -> None:
    """Write a file, atomically."""
    with file_aside(file) as aside:
        aside.write_bytes(data)


@contextmanager
def folder_aside(folder: Path, keep: bool = False) -> Iterator[Path]:
    """A folder to write into; it becomes ``folder`` at the end, and is deleted where an exception is raised inside.

    Args:
        folder: what is written; what stands there stays until the new one is complete.
        keep: begin with a copy of the files that stand there.
    """
    recover(folder)
    aside = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        if keep and folder.exists():
            shutil.copytree(folder, aside)
        else:
            aside.mkdir()
        yield aside
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    replace_folder(aside, folder)


def replace_folder(new: Path, folder: Path) -> None:
    """Put ``new`` in the place of ``folder``, which may not exist yet; both on one file system."""
    if not folder.exists():
        new.rename(folder)
        return
    if _exchange(new, folder):
        shutil.rmtree(new)
        return
    old = _old(folder)
    folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old)


def recover(folder: Path) -> None:
    """Restore the last complete copy of a folder whose writer was killed between two renames."""
    old = _old(folder)
    if old.exists() and not folder.exists():
        old.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _exchange(a: Path, b: Path) -> bool:
    """Exchange two paths in one step; False where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(_HERE, os.fsencode(a), _HERE, os.fsencode(b), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(b))
