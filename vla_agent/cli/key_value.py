"""Options of the form ``KEY=VALUE`` that may be repeated."""

from __future__ import annotations

from collections.abc import Sequence

from vla_agent.errors import OptionError


def read_pairs(texts: Sequence[str], option: str, example: str, remedy: str) -> tuple[tuple[str, str], ...]:
    """The pairs, without blanks around the parts; a value may hold further equals signs.

    Args:
        option: its name, for the error.
        example: its form and an example of it, such as ``KEY=VALUE, such as size=128``.

    Raises:
        OptionError: one is no pair; names all of them.
    """
    pairs = []
    wrong = []
    for text in texts:
        key, _, value = (part.strip() for part in text.partition("="))
        pairs.append((key, value))
        if not key or not value:
            wrong.append(text)
    if wrong:
        raise OptionError(
            "an option has the wrong form",
            key=option,
            expected=example,
            found=", ".join(wrong),
            remedy=remedy,
        )
    return tuple(pairs)
