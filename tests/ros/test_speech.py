"""Spoken instructions: sound from files and ALSA, utterances, and a small random Whisper by the real loading path."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.shared.random_speech import quiet, save_small_whisper, tone, write_wav
from vla_agent.errors import NodeError
from vla_agent.ros.runtime.instructions import LONGEST, invalid_reason
from vla_agent.ros.runtime.speech import (
    RATE,
    SpeechRecogniser,
    UtteranceDetector,
    UtteranceSettings,
    clean_transcript,
    read_audio,
)

CUTTING = UtteranceSettings()


def cut(sound: np.ndarray, block: int = 333) -> tuple[list[np.ndarray], UtteranceDetector]:
    utterances = UtteranceDetector(CUTTING)
    found = [u for k in range(0, len(sound), block) for u in utterances.add(sound[k : k + block])]
    return found + utterances.end(), utterances


def test_speech_is_cut_at_its_pauses_and_keeps_its_beginning():
    speech = np.concatenate([quiet(1), tone(1.0), quiet(0.3), tone(0.5), quiet(1.5), tone(0.4), quiet(1)])
    found, utterances = cut(speech)
    lengths = [len(utterance) / RATE for utterance in found]
    pauses = CUTTING.before + CUTTING.pause
    assert lengths == pytest.approx([1.8 + pauses, 0.4 + pauses], abs=0.05), "a breath does not end an utterance"
    assert utterances.dropped == 0 and np.abs(found[0][: RATE // 5]).max() < 0.01
    whole, _ = cut(speech, block=len(speech))
    assert all(np.array_equal(a, b) for a, b in zip(found, whole, strict=True)), "whatever the blocks"


def test_clicks_silence_and_lasting_noise_are_no_utterances():
    assert cut(quiet(3))[0] == []
    found, utterances = cut(np.concatenate([quiet(1), tone(0.06), quiet(1)]))
    assert found == [] and utterances.dropped == 1
    lasting = tone(CUTTING.longest + 20)
    found, utterances = cut(np.concatenate([lasting, quiet(1), tone(0.5), quiet(1)]))
    assert len(found) == 1 and utterances.dropped == 1, "noise is dropped once, and what follows is heard"
    assert len(found[0]) < 2 * RATE


def test_an_utterance_at_the_end_of_the_audio_is_kept():
    found, _ = cut(np.concatenate([quiet(0.5), tone(0.5)]))
    assert len(found) == 1


def test_a_file_becomes_16_khz_mono_and_ends(tmp_path):
    file = tmp_path / "said.wav"
    write_wav(file, tone(0.3, rate=44_100), 44_100, channels=2)
    *blocks, last = read_audio(str(file))
    sound = np.concatenate(blocks)
    assert last == "ended" and sound.dtype == np.float32 and len(sound) == pytest.approx(0.3 * RATE, abs=20)
    assert np.abs(sound).max() == pytest.approx(0.1, rel=0.05)
    (tmp_path / "no.wav").write_bytes(b"no sound")
    (reason,) = read_audio(str(tmp_path / "no.wav"))
    assert "cannot be read" in reason


def test_a_microphone_that_is_not_there_says_so():
    source = read_audio("no_such_device")
    assert "cannot be read" in next(source)
    source.close()


def test_alsa_is_read_through_pyav(tmp_path):
    """ALSA's own device that plays a file, in a process of its own, because ALSA reads its settings once."""
    raw, conf = tmp_path / "raw", tmp_path / "alsa.conf"
    raw.write_bytes(np.repeat((tone(1.0, rate=48_000) * 32767).astype("<i2"), 2).tobytes())
    conf.write_text(
        f"pcm.spoken {{ type file slave.pcm none file /dev/null infile {raw} format raw }}\npcm.none {{ type null }}\n"
    )
    code = """
import numpy as np
from vla_agent.ros.runtime.speech import read_audio
source = read_audio("spoken")
sound = np.empty(0)
while len(sound) < 8000:
    block = next(source)
    assert not isinstance(block, str), block
    sound = np.concatenate([sound, block])
spectrum = np.abs(np.fft.rfft(sound[:8000]))
print(round(float(np.abs(sound).max()), 2), 2 * int(spectrum.argmax()))
"""
    env = dict(os.environ, ALSA_CONFIG_PATH=str(conf))
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout.split() == ["0.1", "440"], done.stderr


@pytest.mark.parametrize(
    ("heard", "text"),
    [
        (" Put the red mug in the tray. ", "put the red mug in the tray"),
        (" Stop! Stop.", "stop"),
        (" Stop the red button", "stop the red button"),
        ("[BLANK_AUDIO]", ""),
        ("(soft music) ...", ""),
        ("", ""),
    ],
)
def test_what_a_model_writes_becomes_what_one_types(heard, text):
    assert clean_transcript(heard) == text


def test_an_instruction_is_one_line_of_a_sane_length():
    assert (
        invalid_reason("")
        == invalid_reason("lege die rote Tasse aufs Tablett, bitte: süß")
        == invalid_reason("x" * LONGEST)
        == ""
    )
    assert "at most" in invalid_reason("x" * (LONGEST + 1))
    for text in ("two\nlines", "a\tb", "\x1b[31mred", "a\u2028b", "\ud800"):
        assert "control characters" in invalid_reason(text)


def test_a_small_whisper_is_loaded_and_writes_something(tmp_path):
    recognise = SpeechRecogniser(save_small_whisper(tmp_path / "whisper"))
    assert isinstance(recognise(tone(1.0)), str)
    weights = tmp_path / "whisper" / "model.safetensors"
    weights.unlink()
    with pytest.raises(NodeError, match="speech model cannot be loaded") as caught:
        SpeechRecogniser(str(tmp_path / "whisper"))
    assert caught.value.remedy


def test_a_speech_model_that_is_not_there_is_a_typed_error(tmp_path):
    with pytest.raises(NodeError, match="speech model cannot be loaded") as caught:
        SpeechRecogniser(str(tmp_path / "nothing"))
    assert caught.value.remedy and "openai/whisper-tiny" in caught.value.remedy
