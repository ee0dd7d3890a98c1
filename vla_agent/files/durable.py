"""What atomic writing needs of the system: data on the disk, locks that end with their process, exchange of folders."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
import sys
from pathlib import Path

_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)
_HERE = -100  # AT_FDCWD
_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


def sync(path: Path) -> None:
    """Have a regular file, or a folder's list of names, on the disk when this returns."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:  # a file system that cannot; anything else is a fault of the disk
            raise
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """`sync` for a folder and all regular files and folders in it; links are not followed."""
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            if stat.S_ISREG(path.lstat().st_mode):
                sync(path)
        sync(Path(place))


def try_lock(path: Path) -> int | None:
    """A descriptor that locks the file or folder at ``path`` until it is closed or its process has ended (flock(2)).

    Where the file system has no locks, nobody is kept out.

    Returns:
        None where a living process holds the lock, or nothing lies at ``path``.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError:
        pass
    if _lies_at(handle, path):
        return handle
    os.close(handle)  # it was renamed or deleted meanwhile
    return None


def unlock(handle: int) -> None:
    """Give back what `try_lock` gave, also where a forked process holds a copy of it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_UN)
    except OSError:
        pass
    finally:
        os.close(handle)


def _lies_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False


def exchange(a: Path, b: Path) -> bool:
    """Exchange two paths in one step; False where the system or the file system cannot (Linux: ``renameat2``)."""
    if not sys.platform.startswith("linux"):
        return False
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(_HERE, os.fsencode(a), _HERE, os.fsencode(b), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(b))
