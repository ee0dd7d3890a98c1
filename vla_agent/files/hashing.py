"""SHA-256 of files: the identity of weights, datasets, gates and certificates.  Imports no torch."""

from __future__ import annotations

import hashlib
from os import PathLike


def hash_file(path: str | PathLike[str]) -> str:
    """SHA-256 of a file's bytes, hexadecimal; a large file is not held in memory."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
