"""A file's bytes, taken into memory once, so that what is hashed is what is loaded.

On Linux the memory is a sealed memfd: nobody can write to it any more, and libraries that want a path open it as
``/proc/self/fd/N``.  Elsewhere it is a copy in a folder that only this user can enter.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import tempfile
from dataclasses import dataclass
from typing import IO, Any

from vla_agent.errors import CheckpointError

CHUNK = 1 << 23  # bytes copied at a time


@dataclass(frozen=True)
class SealedMemory:
    """Bytes that do not change; they live as long as this object.

    Attributes:
        path: opens the bytes, in this process.
        sha256: of the bytes, hexadecimal.
        size: in bytes.
    """

    path: str
    sha256: str
    size: int
    _held: Any

    def read(self) -> bytes:
        """All bytes."""
        with open(self.path, "rb") as file:
            return file.read()


def seal(source: int, name: str) -> SealedMemory:
    """The bytes of an open regular file.

    Args:
        source: file descriptor, read from its start.
        name: of the file, for errors.

    Raises:
        CheckpointError: the file changed while it was read.
        OSError: it cannot be read, or the memory is used up.
    """
    size = os.fstat(source).st_size
    if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
        held: IO[bytes] = os.fdopen(os.memfd_create("vla-agent", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "w+b", 0)
        path = f"/proc/self/fd/{held.fileno()}"
        _copy(source, held.fileno(), size, name)
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        fcntl.fcntl(held.fileno(), fcntl.F_ADD_SEALS, seals)
    else:
        held = tempfile.NamedTemporaryFile("w+b", buffering=0, prefix="vla-agent-")  # noqa: SIM115 - held open; 0600
        path = held.name
        _copy(source, held.fileno(), size, name)
    return SealedMemory(path, _hash(held.fileno(), size), size, held)


def hash_open_file(source: int, name: str) -> str:
    """SHA-256 of an open regular file, without keeping its bytes.

    Raises:
        CheckpointError: the file changed while it was read.
    """
    size = os.fstat(source).st_size
    with os.fdopen(os.dup(source), "rb", 0) as file:
        file.seek(0)
        found = hashlib.file_digest(file, "sha256").hexdigest()
        _require_size(file.tell(), size, name)
    return found


def _copy(source: int, target: int, size: int, name: str) -> None:
    done = 0
    while done <= size:  # one more than the size: a file that has grown is noticed
        data = os.pread(source, min(CHUNK, size + 1 - done), done)
        if not data:
            break
        done += len(data)
        while data:
            data = data[os.write(target, data) :]
    _require_size(done, size, name)


def _require_size(found: int, size: int, name: str) -> None:
    if found != size:
        raise CheckpointError(
            "a file changed while it was read",
            file=name,
            expected=f"{size} bytes from start to end",
            found=f"{found} bytes",
            remedy="let its writer finish, then try again",
        )


def _hash(descriptor: int, size: int) -> str:
    if size == 0:
        return hashlib.sha256().hexdigest()
    with mmap.mmap(descriptor, size, prot=mmap.PROT_READ) as data:
        return hashlib.sha256(data).hexdigest()
