"""Spoken instructions: audio from a microphone or a file, split into utterances, and their transcripts.

Audio is float32 (N,), -1 to 1, 16 kHz, one channel.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np

from vla_agent.errors import NodeError
from vla_agent.files.policy_folder import is_hub_id

RATE = 16_000  # samples a second
FRAME = RATE // 50  # samples whose level is measured together
RETRY = 1.0  # seconds between two attempts to open a microphone
TOKENS = 64  # at most in a transcript
SILENCE = -120.0  # dB, the least level that is reported
ALSA = Path("/usr/share/alsa/alsa.conf")  # PyAV's copy of ALSA looks for it in its build path


# -- from a microphone or a file -------------------------------------------------------------------------------------


def read_audio(source: str) -> Iterator[np.ndarray | str]:
    """Blocks of audio; instead of a block, the reason why there is none.

    ``source``: an audio file, played once at its own rate; else an ALSA device (`default`, `plughw:1`), read without
    end and reopened when it is lost.
    """
    is_file = Path(source).is_file()
    if ALSA.is_file():
        os.environ.setdefault("ALSA_CONFIG_PATH", str(ALSA))
    while True:
        try:
            with av.open(source, format=None if is_file else "alsa") as container:
                began, count = time.monotonic(), 0
                for block in _resampled(container):
                    count += len(block)
                    if is_file:
                        time.sleep(max(0.0, began + count / RATE - time.monotonic()))
                    yield block
        except (av.error.FFmpegError, OSError, IndexError) as error:
            yield f"cannot be read: {error}"
        else:
            yield "ended"
        if is_file:
            return
        time.sleep(RETRY)


def _resampled(container: av.container.InputContainer) -> Iterator[np.ndarray]:
    resampler = av.AudioResampler(format="fltp", rate=RATE)
    for frame in chain(container.decode(container.streams.audio[0]), [None]):  # None flushes the resampler
        yield from (part.to_ndarray().mean(0) for part in resampler.resample(frame))


# -- utterances ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class UtteranceSettings:
    """Start and end of an utterance: levels in dB of full scale, times in seconds."""

    start: float = -35.0  # a level above this starts one
    stop: float = -45.0  # it ends when the level has stayed below this
    pause: float = 0.7  # for so long
    before: float = 0.3  # audio that is kept from before the start
    shortest: float = 0.15  # of audio above `stop`; less is a click
    longest: float = 15.0  # more is noise: dropped, and nothing starts until it is quiet


class UtteranceDetector:
    """Splits audio into utterances.  ``level``: dB of the last 20 ms; ``dropped``: too short or too long ones."""

    def __init__(self, settings: UtteranceSettings) -> None:
        self._settings = settings
        self._rest = np.empty(0, np.float32)
        self._before: deque[np.ndarray] = deque(maxlen=self._frames(settings.before))
        self._parts: list[np.ndarray] = []  # of the utterance; empty: none has started
        self._loud = self._quiet = 0  # frames: louder than `stop` in the utterance, and quieter since
        self._noise = False  # the utterance is too long
        self.level, self.dropped = SILENCE, 0

    @staticmethod
    def _frames(seconds: float) -> int:
        return round(seconds * RATE / FRAME)

    def add(self, sound: np.ndarray) -> list[np.ndarray]:
        """Audio (N,) of any length -> the utterances that end in it."""
        sound = np.concatenate([self._rest, sound])
        whole = len(sound) // FRAME * FRAME
        self._rest = sound[whole:]
        ended = [self._frame(frame) for frame in sound[:whole].reshape(-1, FRAME)]
        return [utterance for utterance in ended if utterance is not None]

    def end(self) -> list[np.ndarray]:
        """The audio ends here: the utterance that has started, if there is one."""
        utterance = self._end() if self._parts else None
        return [] if utterance is None else [utterance]

    def _frame(self, frame: np.ndarray) -> np.ndarray | None:
        settings = self._settings
        self.level = max(SILENCE, 10 * float(np.log10(np.mean(np.square(frame, dtype=np.float64)) + 1e-12)))
        if not self._parts:
            if self.level <= settings.start:
                self._before.append(frame)
                return None
            self._parts = list(self._before)
            self._before.clear()
        quiet = self.level < settings.stop
        self._loud += not quiet
        self._quiet = self._quiet + 1 if quiet else 0
        self._noise = self._noise or len(self._parts) >= self._frames(settings.longest)
        if not self._noise:
            self._parts.append(frame)
        return self._end() if self._quiet >= self._frames(settings.pause) else None

    def _end(self) -> np.ndarray | None:
        parts, wrong = self._parts, self._noise or self._loud < self._frames(self._settings.shortest)
        self._parts, self._loud, self._quiet, self._noise = [], 0, 0, False
        self.dropped += wrong
        return None if wrong else np.concatenate(parts)


# -- transcripts -----------------------------------------------------------------------------------------------------


class SpeechRecogniser:
    """A speech-recognition model of Hugging Face, such as Whisper: its safetensors weights, on the CPU.

    Args:
        source: a folder, or ``hf://OWNER/NAME`` of the Hugging Face hub.

    Raises:
        NodeError: it cannot be loaded.
    """

    def __init__(self, source: str) -> None:
        if not Path(source).is_dir() and not is_hub_id(source):  # before torch and transformers are imported
            raise _not_loadable(source, "neither a folder nor hf://OWNER/NAME")
        import torch
        from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

        from vla_agent.models.backbones.configuration_checks import read_plain_model

        torch.set_num_threads(1)  # the other cores are for the robot
        plain: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
        try:
            with read_plain_model(source).view() as view:
                self._processor: Any = AutoProcessor.from_pretrained(view, **plain)
                model, loading = AutoModelForSpeechSeq2Seq.from_pretrained(
                    view, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **plain
                )
            if loading["missing_keys"]:
                raise ValueError(f"no weights for {', '.join(sorted(loading['missing_keys'])[:3])}")
            self._model: Any = model.eval()
            self(np.zeros(RATE, np.float32))  # now rather than at the first utterance
        except Exception as error:  # transformers raises many types of exceptions
            raise _not_loadable(source, " ".join(str(error).split())[:300]) from error

    def __call__(self, utterance: np.ndarray) -> str:
        """Transcript of the audio (N,), as the model writes it."""
        import torch

        inputs = self._processor(utterance, sampling_rate=RATE, return_tensors="pt", return_attention_mask=True)
        with torch.inference_mode():
            tokens = self._model.generate(**inputs, max_new_tokens=TOKENS)
        return str(self._processor.batch_decode(tokens, skip_special_tokens=True)[0])


def _not_loadable(source: str, found: str) -> NodeError:
    return NodeError(
        "the speech model cannot be loaded",
        key=source,
        expected="a model for speech recognition with its processor and safetensors weights",
        found=found,
        remedy="use hf://openai/whisper-tiny.en, or a folder that has one; the first use of the hub needs a network",
    )


def clean_transcript(heard: str) -> str:
    """A model's transcript -> an instruction as it would be typed.

    Empty where there are no words, as in ``(music)`` and ``...``; ``stop`` where this is the only word.
    """
    text = re.sub(r"\[[^\]]*\]|\([^)]*\)", " ", heard)
    text = " ".join(text.split()).strip(" .,!?;:-").lower()
    distinct = set(re.findall(r"\w+", text))
    if not distinct:
        return ""
    return "stop" if distinct == {"stop"} else text
