"""A small random Whisper model with all files that loading needs; and sound that is not speech."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

from vla_agent.ros.runtime.speech import RATE


def tone(seconds: float, level: float = 0.1, rate: int = RATE) -> np.ndarray:
    """A tone (N,)."""
    return (level * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def quiet(seconds: float) -> np.ndarray:
    """The noise of a quiet room (N,)."""
    return np.random.default_rng(0).normal(0, 1e-4, round(seconds * RATE)).astype(np.float32)


def write_wav(file: Path, sound: np.ndarray, rate: int, channels: int = 1) -> None:
    """Sound (N,) as 16-bit samples, the same in every channel."""
    with wave.open(str(file), "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(np.repeat((sound * 32767).astype("<i2"), channels).tobytes())


def save_small_whisper(folder: Path) -> str:
    """A random Whisper of a few thousand weights with a tokenizer of single bytes, as `save_pretrained` writes them."""
    import torch
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import (
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
        WhisperTokenizer,
    )

    end, start = "<|endoftext|>", "<|startoftranscript|>"
    special = [end, start, "<|en|>", "<|transcribe|>", "<|translate|>", "<|notimestamps|>"]
    vocabulary = {piece: k for k, piece in enumerate([*sorted(ByteLevel.alphabet()), *special])}
    tokenizer = WhisperTokenizer(vocab=vocabulary, merges=[])
    sizes = {f"{part}_{what}": n for part in ("encoder", "decoder") for what, n in (("layers", 1), ("ffn_dim", 16))}
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        d_model=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        decoder_start_token_id=vocabulary[start],
        bos_token_id=vocabulary[end],
        eos_token_id=vocabulary[end],
        pad_token_id=vocabulary[end],
        **sizes,
    )
    torch.manual_seed(0)
    WhisperForConditionalGeneration(config).save_pretrained(folder)
    WhisperProcessor(WhisperFeatureExtractor(), tokenizer).save_pretrained(folder)
    return str(folder)
