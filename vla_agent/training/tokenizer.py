"""The small tokenizer: whole words of the training text, letters for everything else, so that no word is unknown."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast


def build_tokenizer(texts: Iterable[str], vocab_size: int = 700) -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer trained on ``texts``; pad 0, bos 1, eos 2, unk 3."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[a-z]+|[0-9]|[^a-z0-9\s]"), "removed", invert=True)
    tokenizer.decoder = decoders.WordPiece()
    letters = list("abcdefghijklmnopqrstuvwxyz0123456789,.?!-'")
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, initial_alphabet=letters, special_tokens=["<pad>", "<s>", "</s>", "<unk>"]
    )
    tokenizer.train_from_iterator(sorted(set(texts)), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
