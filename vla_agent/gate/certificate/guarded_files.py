"""Files that decide what a robot obeys (keys, revocation list, demands): read only where nobody else may change them.

A file or folder must belong to this user or to root, may not be writable by its group or by others, and may not be a
link.  The same holds for the folders above, except that sticky ones such as ``/tmp`` may be writable, and links may be
among them.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from vla_agent.errors import CertificateError

WRITABLE, READABLE = 0o022, 0o077
SHOWN = 0o7777


def require_guarded(folder: Path) -> None:
    """Raise where somebody else could put files into ``folder``, or another folder in its place; a missing one passes.

    Raises:
        CertificateError: a link, no folder, another owner, or writable by others; or a folder above is.
    """
    try:
        status = folder.lstat()
    except FileNotFoundError:
        pass
    else:
        if not stat.S_ISDIR(status.st_mode):
            kind = "a link" if stat.S_ISLNK(status.st_mode) else "no folder"
            raise _unguarded(folder, "kind", "a folder", kind, "put the folder itself there")
        _require_owned(folder, status, WRITABLE)
    for above in dict.fromkeys((*folder.absolute().parents, *folder.resolve().parents)):
        if above.exists():
            _require_owned(above, above.lstat(), 0)  # of a link: whoever owns it can point it elsewhere
            status = above.stat()
            _require_owned(above, status, 0 if status.st_mode & stat.S_ISVTX else WRITABLE)


def make_guarded(folder: Path) -> None:
    """Make ``folder`` and what is missing above it, for this user alone whatever the umask; nothing where it exists.

    Raises:
        CertificateError: as `require_guarded`.
    """
    require_guarded(folder)
    for place in (*reversed(folder.parents), folder):
        place.mkdir(exist_ok=True, mode=0o700)


def read_guarded(file: Path, most: int, secret: bool = False) -> bytes:
    """The file's bytes, of the file that was checked.

    Args:
        most: bytes that it may have.
        secret: others may not even read it.

    Raises:
        FileNotFoundError: there is none.
        CertificateError: a link, no regular file, too large, another owner, or open to others.
    """
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        kind = "a link" if file.is_symlink() else f"{type(error).__name__}: {error.strerror}"
        raise _unguarded(file, "kind", "a regular file that can be read", kind, "put the file itself there") from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise _unguarded(file, "kind", "a regular file", "none", "put the file itself there")
        _require_owned(file, status, READABLE if secret else WRITABLE)
        with os.fdopen(handle, "rb", closefd=False) as stream:
            content = stream.read(most + 1)
    finally:
        os.close(handle)
    if len(content) > most:
        raise _unguarded(file, "size", f"at most {most} bytes", "more", "get the file again")
    return content


def _require_owned(path: Path, status: os.stat_result, forbidden: int) -> None:
    if status.st_uid not in (os.geteuid(), 0):
        remedy = f"chown it to the user who runs this, after you made sure what is in '{path}'"
        raise _unguarded(path, "owner", f"this user ({os.geteuid()}) or root", status.st_uid, remedy)
    if status.st_mode & forbidden:
        secret = forbidden == READABLE
        expected = "0600" if secret else "writable by its owner alone"
        remedy = f"chmod go{'-rwx' if secret else '-w'} '{path}', after you made sure what is in it"
        if secret:
            remedy += "; if somebody may have read it, revoke the key and make a new one"
        raise _unguarded(path, "permissions", expected, oct(status.st_mode & SHOWN), remedy)


def _unguarded(path: Path, key: str, expected: object, found: object, remedy: str) -> CertificateError:
    return CertificateError(
        "others could have written or read what keys and robots depend on"
        if key in ("owner", "permissions")
        else "a file that keys and robots depend on is not as it should be",
        file=path,
        key=key,
        expected=expected,
        found=found,
        remedy=remedy,
    )
