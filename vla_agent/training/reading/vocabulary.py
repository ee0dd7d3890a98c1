"""Words of other languages in an English encoder's vocabulary, which begin with the meaning of their English gloss.

Without them a word such as *Schublade* is read as five pieces whose English meanings mislead (Minixhofer et al. 2022
begin the embeddings of a new language in this way).  Only a vocabulary of WordPiece is extended.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from tokenizers import Tokenizer

from vla_agent.training.reading.grammar_file import Grammar


def extend_vocabulary(encoder: Any, tokenizer: Tokenizer, grammars: Iterable[Grammar]) -> Tokenizer:
    """A tokenizer with the grammars' words, for which rows are added to the encoder's embeddings in place."""
    described = json.loads(tokenizer.to_str())
    if described["model"]["type"] != "WordPiece":
        return tokenizer
    vocabulary = described["model"]["vocab"]
    weights = encoder.get_input_embeddings().weight.data
    rows: dict[str, torch.Tensor] = {}
    for word, gloss in (pair for grammar in grammars for pair in glossed_words(grammar)):
        for plain in re.findall(r"\w+", tokenizer.normalizer.normalize_str(word)):
            if plain not in vocabulary and plain not in rows and len(plain) > 1:
                ids = tokenizer.encode(gloss, add_special_tokens=False).ids
                rows[plain] = weights[ids].mean(0)
    if not rows:
        return tokenizer
    first = max(vocabulary.values()) + 1
    vocabulary.update({word: first + k for k, word in enumerate(rows)})
    encoder.resize_token_embeddings(first + len(rows), mean_resizing=False)
    encoder.get_input_embeddings().weight.data[first:] = torch.stack(list(rows.values()))
    return Tokenizer.from_str(json.dumps(described))


def glossed_words(grammar: Grammar) -> Iterator[tuple[str, str]]:
    """(word, English word) of a grammar that has glosses: its shapes, colours and glosses."""
    if not grammar.glosses:
        return
    yield from _shape_words(grammar)
    for colour, entries in grammar.colours.items():
        for entry in entries:
            for form in dict.fromkeys(grammar.colour(entry).values()):
                yield form, colour
    for gloss, words in grammar.glosses.items():
        for word in words:
            yield word, gloss


def _shape_words(grammar: Grammar) -> Iterator[tuple[str, str]]:
    """(word, English word) of each form of a shape that is one word."""
    for shape, entries in grammar.shapes.items():
        for entry in entries:
            forms = dict.fromkeys(grammar.nouns(entry)[1].values())
            yield from ((form, shape) for form in forms if " " not in form)
