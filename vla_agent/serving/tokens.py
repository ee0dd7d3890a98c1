"""The token that a server requires of its clients, sent as openpi does: ``Authorization: Api-Key TOKEN``."""

from __future__ import annotations

import hmac
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from vla_agent.errors import OptionError
from vla_agent.files.bounded_reading import read_text

VARIABLE = "VLA_AGENT_TOKEN"
MIN_LENGTH = 16  # characters
LARGEST_FILE = 4096  # bytes
CREATE_TOKEN = 'umask 077; python -c "import secrets; print(secrets.token_urlsafe(32))" > token'


def read_token(file: Path | None) -> str | None:
    """The token in a file that only its owner can read or, without a file, in the environment; None without either.

    Raises:
        OptionError: the file cannot be read, is readable by others, or has no valid token.
    """
    source = f"the variable {VARIABLE}" if file is None else str(file)
    try:
        token = os.environ.get(VARIABLE, "") if file is None else read_text(file, OptionError, LARGEST_FILE)
        shared = file is not None and bool(file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))
        token.encode("ascii")
    except (OSError, UnicodeEncodeError) as error:
        raise _unusable(source, f"{type(error).__name__}: {error}") from error
    token = token.strip()
    if file is None and not token:
        return None
    if shared:
        raise _unusable(source, "a file that other users can read")
    if len(token) < MIN_LENGTH or not token.isprintable() or " " in token:
        raise _unusable(source, f"{len(token)} characters" + (", with spaces" if " " in token else ""))
    return token


def _unusable(source: str, found: str) -> OptionError:
    return OptionError(
        "the token cannot be used",
        file=source,
        key="--token-file",
        expected=f"at least {MIN_LENGTH} characters without spaces, in a file that only you can read",
        found=found,
        remedy=CREATE_TOKEN,
    )


def headers(token: str | None) -> dict[str, str]:
    """The headers that a client sends."""
    return {} if token is None else {"Authorization": f"Api-Key {token}"}


def authorised(token: str, sent: Sequence[str]) -> bool:
    """Whether the Authorization headers that a client sent contain the token; compared in constant time."""
    scheme, _, given = sent[0].partition(" ") if len(sent) == 1 else ("", "", "")
    same = hmac.compare_digest(given.strip().encode(), token.encode())
    return same and scheme.lower() in ("api-key", "bearer")
