"""The name of a file that a command writes."""

from __future__ import annotations

from pathlib import Path

from vla_agent.errors import OptionError


def require_suffix(file: Path | None, suffix: str, key: str) -> None:
    """Check an output's name before anything is computed for it; None, no output, is fine.

    Args:
        suffix: with its dot, in small letters.
        key: the option that gives the name.

    Raises:
        OptionError: the name has another ending.
    """
    if file is not None and file.suffix.lower() != suffix:
        raise OptionError(
            "the file cannot have this format",
            key=key,
            expected=f"a name that ends in {suffix}",
            found=file,
            remedy=f"{key} {file.with_suffix(suffix) if file.name else 'FILE' + suffix}",
        )
