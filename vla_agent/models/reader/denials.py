"""Instructions that say what is *not* to be done.

A reader that was trained on what to do takes "do not open the drawer" for "open the drawer".  Such texts are refused by
their words, before they are read.  A denial beside something that is to be done ("push it, don't lift it") is none, and
neither is one that asks for the opposite ("do not let the drawer stand open").
"""

from __future__ import annotations

import re

REASON = "that says what I am not to do; say what I am to do"
_MODALS = r"(?:you|i|we|it)\s+(?:(?:want you to|would like you to)\s+)?"
_DENIES = (  # English, at the beginning
    r"(?:do|must|should|can|may|would)\s*(?:not|n[’' ]?t)\b|dont\b|don[’' ]t\b|cannot\b|can[’' ]t\b"
    r"|never\b|avoid\b|refrain\b|not\s+to\b|no\s+(?:opening|closing|pushing|pressing|putting|moving|touching|stacking)\b"
)
_PATTERNS = (
    rf"^\W*(?:please\s+|kindly\s+|and\s+|but\s+|{_MODALS})*(?:{_DENIES})(?!\s+(?:let|leave|forget|hesitate)\b)",
    r"\b(?:anything|everything|all|any|every\w*|nothing)\s+(?:but|except|save)\b|\bexcept\b",
    r"\b(?:no,?\s+wait|never\s*mind|forget\s+(?:it|that)|cancel\s+(?:it|that))\b|[,.;!?]\s*stop\W*$",
    r"\b(?:nicht|nie|niemals|keine?[mnrs]?)\b",  # German
    r"^\W*(?:por favor,?\s+)?no\s|\b(?:nunca|jamás)\b",  # Spanish
    r"\bn[’']\s?\w+|\bne\s+\w+.*\b(?:pas|jamais|plus|rien)\b|\bjamais\b",  # French
    r"(?:^|\s)(?:не|никогда|нельзя)\s",  # Russian
)
_ANY = re.compile("|".join(f"(?:{pattern})" for pattern in _PATTERNS), re.IGNORECASE)


def denies(instruction: str) -> bool:
    """Whether an instruction says what is not to be done, or takes back what it said."""
    return _ANY.search(instruction) is not None
