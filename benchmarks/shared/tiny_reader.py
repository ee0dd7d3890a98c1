"""A reader with a tiny random encoder, for tests: everything but what it says is as in the shipped one."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

from sim.world.scene import COLOURS, SHAPES
from vla_agent.models.reader.reader import Reader
from vla_agent.models.reader.reader_net import ReaderNet
from vla_agent.models.reader.reader_settings import ReaderSettings

WORDS = "put the in tray red blue green mug cube star left right of front push to zone open drawer is".split()  # noqa: SIM905
SETTINGS = ReaderSettings(
    tasks={
        "put_in_tray": "put the {target} in the tray",
        "place_beside": "put the {target} {direction} the {other}",
        "push_to_zone": "push the {target} to the {colour} zone",
        "open_drawer": "open the drawer",
    },
    questions={"exists": "is there a {target}?"},
    shapes=tuple(SHAPES),
    colours=tuple(COLOURS),
    directions=("left of", "right of", "in front of"),
    templates=("put the {thing} in the tray", "put the {thing} {direction} the {thing}", "press the {colour} button"),
)


def tiny_tokenizer() -> Tokenizer:
    """WordPiece of a few words and all letters."""
    letters = "abcdefghijklmnopqrstuvwxyz?.,"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *("##" + letter for letter in letters), *WORDS]
    vocabulary = {piece: k for k, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_truncation(64)
    return tokenizer


def tiny_encoder(seed: int = 0) -> BertModel:
    """An untrained encoder of 16 channels and one layer."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return BertModel(BertConfig(vocab_size=tiny_tokenizer().get_vocab_size(), max_position_embeddings=64, **sizes))


def tiny_reader(settings: ReaderSettings = SETTINGS, seed: int = 0) -> Reader:
    """A reader that says what its random weights say."""
    return Reader(ReaderNet(tiny_encoder(seed), settings).eval(), tiny_tokenizer(), settings)


def save_encoder(folder: Path) -> Path:
    """The tiny encoder as a folder of a pretrained model."""
    tiny_encoder().save_pretrained(folder)
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    return folder
