"""The token that a server asks of its clients.  It travels as openpi sends it: ``Authorization: Api-Key TOKEN``."""

from __future__ import annotations

import hmac
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from vla_agent.errors import OptionError

VARIABLE = "VLA_AGENT_TOKEN"
SHORTEST = 16  # characters
MAKE = 'umask 077; python -c "import secrets; print(secrets.token_urlsafe(32))" > token'


def read_token(file: Path | None) -> str | None:
    """The token in a file that nobody else can read, or, without a file, in the environment; None where there is none.

    Raises:
        OptionError: the file cannot be read, can be read by others, or holds no token.
    """
    source = f"the variable {VARIABLE}" if file is None else str(file)
    try:
        token = os.environ.get(VARIABLE, "") if file is None else file.read_text(encoding="ascii")
        shared = file is not None and bool(file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(source, f"{type(error).__name__}: {error}") from error
    token = token.strip()
    if file is None and not token:
        return None
    if shared:
        raise _unusable(source, "a file that other users can read")
    if len(token) < SHORTEST or not token.isprintable() or " " in token:
        raise _unusable(source, f"{len(token)} characters" + (", with spaces" if " " in token else ""))
    return token


def _unusable(source: str, found: str) -> OptionError:
    return OptionError(
        "the token cannot be used",
        file=source,
        key="--token-file",
        expected=f"at least {SHORTEST} characters without spaces, in a file that only you can read",
        found=found,
        remedy=MAKE,
    )


def headers(token: str | None) -> dict[str, str]:
    """What a client sends."""
    return {} if token is None else {"Authorization": f"Api-Key {token}"}


def knows(token: str, sent: Sequence[str]) -> bool:
    """Whether the Authorization headers that a client sent hold the token."""
    scheme, _, given = sent[0].partition(" ") if len(sent) == 1 else ("", "", "")
    same = hmac.compare_digest(given.strip().encode(), token.encode())
    return same and scheme.lower() in ("api-key", "bearer")
