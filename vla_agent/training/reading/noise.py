"""What people's texts have besides words: typing errors, courtesy, fillers, and no punctuation."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from vla_agent.training.reading.things import Segment, choose

ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm", "йцукенгшщзхъ", "фывапролджэ", "ячсмитьбю")
SHORTEST = 4  # letters of a word with a typing error


def with_typos(segments: Sequence[Segment], words: int, rng: np.random.Generator) -> list[Segment]:
    """Typing errors in that many words: two letters exchanged, one dropped, doubled, or its neighbour's key."""
    places = [
        (k, found.span())
        for k, (text, _) in enumerate(segments)
        for found in re.finditer(r"[^\W\d_]+", text)
        if len(found[0]) >= SHORTEST
    ]
    changed = list(segments)
    chosen = [places[int(i)] for i in rng.permutation(len(places))[:words]]
    for k, (start, end) in sorted(chosen, key=lambda place: -place[1][0]):
        text, role = changed[k]
        changed[k] = text[:start] + _typo(text[start:end], rng) + text[end:], role
    return changed


def _typo(word: str, rng: np.random.Generator) -> str:
    at = int(rng.integers(1, len(word) - 1))
    kind = rng.random()
    if kind < 0.5:  # the commonest error
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind < 0.7:
        return word[:at] + word[at + 1 :]
    if kind < 0.85:
        return word[:at] + word[at] + word[at:]
    row = next((row for row in ROWS if word[at] in row), word[at])
    near = row[max(0, min(len(row) - 1, row.index(word[at]) + (1 if rng.random() < 0.5 else -1)))]
    return word[:at] + near + word[at + 1 :]


def with_courtesy(
    segments: list[Segment],
    before: Sequence[str],
    after: Sequence[str],
    fillers: Sequence[str],
    rng: np.random.Generator,
) -> list[Segment]:
    """Words before and after, and a filler between."""
    made = list(segments)
    if fillers and len(made) > 1 and rng.random() < 0.06:
        made.insert(int(rng.integers(1, len(made))), (f" {choose(fillers, rng)} ", ""))
    if before and rng.random() < 0.35:
        made.insert(0, (choose(before, rng) + " ", ""))
        if rng.random() < 0.15:
            made.insert(0, (choose(before, rng) + " ", ""))
    if after and rng.random() < 0.35:
        made.append((" " + choose(after, rng), ""))
    return made


def plain(segments: Sequence[Segment], keep: bool) -> list[Segment]:
    """Without punctuation, unless it is kept, and without a space before it."""
    pattern, by = (r"\s+([,.:;?!])", r"\1") if keep else (r"[,.:;?!]|\s-\s", " ")
    return [(re.sub(pattern, by, text), role) for text, role in segments]


def joined(segments: Sequence[Segment]) -> tuple[str, list[tuple[str, int, int]]]:
    """The text with single spaces, and (role, start, end) of the words that fill roles."""
    text, spans = "", []
    for words, role in segments:
        words = re.sub(r"\s+", " ", words)
        if (not text or text.endswith(" ")) and words.startswith(" "):
            words = words[1:]
        if words and words[0] in ",.:;?!" and text.endswith(" "):
            text = text[:-1]
        if role and words.strip():
            spans.append((role, len(text), len(text) + len(words)))
        text += words
    return text.strip(), spans
