"""The small tokenizer: words of the training text, and letters for all other words, so that no word is unknown."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789,.?!-'"
WORD = r"[a-z]+|[0-9]|[^a-z0-9\s]"


def build_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer with the words of ``texts`` (the same for the same texts); pad 0, bos 1, eos 2, unk 3."""
    words = sorted({word for text in texts for word in re.findall(WORD, text.lower())} - set(LETTERS))
    pieces = [*SPECIAL, *LETTERS, *("##" + letter for letter in LETTERS), *words]
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), "removed", invert=True)
    tokenizer.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
