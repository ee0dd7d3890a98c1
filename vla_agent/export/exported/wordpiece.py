"""WordPiece (Schuster and Nakajima 2012) in plain Python, for the tokenizers of small policies and of BERT.

It reads ``tokenizer.json`` of the package tokenizers, of which it knows two forms; another one is refused.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

_CJK = (  # as BERT has them
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
_SPACE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # Unicode's White_Space; Python has more
_IS_SPACE = re.compile(f"[{_SPACE}]")
_OWN = r"[a-z]+|[0-9]|[^a-z0-9\s]"  # how the small backbone's tokenizers split; any other pattern could take for ever


@dataclass(frozen=True)
class Encoding:
    """Ids of the tokens of a text, and where each lies in it: first character, and the one after its last."""

    ids: list[int]
    offsets: list[tuple[int, int]]


class WordPiece:
    """A tokenizer.

    Args:
        data: of ``tokenizer.json``.
        longest: tokens, after which a text is cut.

    Raises:
        ValueError: it is of another form.
    """

    def __init__(self, data: bytes, longest: int) -> None:
        described = json.loads(data)
        model, before = described["model"], described["pre_tokenizer"]
        if model.get("type") != "WordPiece":
            raise ValueError(f"the tokenizer is {model.get('type')}, not WordPiece")
        self.vocabulary: dict[str, int] = model["vocab"]
        self.unknown, self._prefix = self.vocabulary[model["unk_token"]], model["continuing_subword_prefix"]
        self._most, self.longest = int(model["max_input_chars_per_word"]), longest
        self._pattern = None if before["type"] == "BertPreTokenizer" else _split_pattern(before)
        if self._pattern is None and described["normalizer"]["type"] != "BertNormalizer":
            raise ValueError("the tokenizer has words of BERT, and another normaliser")
        self._first, self._last = _around(described)

    def encode(self, text: str) -> Encoding:
        """The tokens of a text."""
        characters = [(c, k) for k, original in enumerate(text) for c in self._plain(original)]
        found: list[tuple[int, tuple[int, int]]] = []
        for word in self._words(characters):
            found += self._pieces(word)
        found = found[: self.longest - len(self._first) - len(self._last)]
        ids = [*self._first, *(token for token, _ in found), *self._last]
        none = (0, 0)
        return Encoding(
            ids, [*(none for _ in self._first), *(place for _, place in found), *(none for _ in self._last)]
        )

    def _plain(self, character: str) -> str:
        """A character in lower case, without accents; of BERT: control characters are nothing, CJK are words."""
        if self._pattern is not None:
            return "".join(
                c for c in unicodedata.normalize("NFKD", character) if unicodedata.category(c)[0] != "M"
            ).lower()
        if character not in "\t\n\r" and (unicodedata.category(character).startswith("C") or character == "\ufffd"):
            return ""
        if _IS_SPACE.match(character):
            return " "
        if any(low <= ord(character) <= high for low, high in _CJK):
            return f" {character} "
        plain = (c for c in unicodedata.normalize("NFD", character) if unicodedata.category(c) != "Mn")
        return "".join(plain).lower()

    def _words(self, characters: list[tuple[str, int]]) -> list[list[tuple[str, int]]]:
        if self._pattern is not None:
            text = "".join(c for c, _ in characters)
            return [characters[m.start() : m.end()] for m in self._pattern.finditer(text)]
        words: list[list[tuple[str, int]]] = [[]]
        for character, place in characters:
            if character.isspace():
                words.append([])
            elif _is_punctuation(character):
                words += [[(character, place)], []]
            else:
                words[-1].append((character, place))
        return [word for word in words if word]

    def _pieces(self, word: list[tuple[str, int]]) -> list[tuple[int, tuple[int, int]]]:
        text, found, start = "".join(c for c, _ in word), [], 0
        whole = (self.unknown, (word[0][1], word[-1][1] + 1))
        if len(text) > self._most:
            return [whole]
        while start < len(text):
            prefix = self._prefix if start else ""
            ends = (end for end in range(len(text), start, -1) if prefix + text[start:end] in self.vocabulary)
            if (end := next(ends, 0)) == 0:
                return [whole]
            found.append((self.vocabulary[prefix + text[start:end]], (word[start][1], word[end - 1][1] + 1)))
            start = end
        return found


def _split_pattern(before: dict[str, Any]) -> re.Pattern[str]:
    same = before["type"] == "Split" and before["behavior"] == "Removed" and before["invert"]
    if not same or before["pattern"].get("Regex") != _OWN:
        raise ValueError(f"the tokenizer splits words in another way: {str(before)[:200]}")
    return re.compile(_OWN.replace(r"\s", _SPACE))


def _around(described: dict[str, Any]) -> tuple[list[int], list[int]]:
    """Ids before and after every text."""
    after = described.get("post_processor") or {}
    if after.get("type") == "BertProcessing":
        return [after["cls"][1]], [after["sep"][1]]
    single = after.get("single", [{"Sequence": {}}])
    middle = next(k for k, part in enumerate(single) if "Sequence" in part)
    ids = [after["special_tokens"][part["SpecialToken"]["id"]]["ids"] for part in single if "SpecialToken" in part]
    flat = [i for each in ids for i in each]
    return flat[:middle], flat[middle:]


def _is_punctuation(character: str) -> bool:
    ascii_mark = character.isascii() and character.isprintable() and not character.isalnum() and character != " "
    return ascii_mark or unicodedata.category(character).startswith("P")
