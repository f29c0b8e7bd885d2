"""Parts that bear a time, held against times that are known: each bound lies well under a frame's mistake (docs/decisions.md, 2026-11-26).

`tools/bench/offsets.py` measures the same and more on many takes.
"""

from __future__ import annotations

import base64
import random
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from stt_ft.audio.channel import add_pink_noise, phone_line
from stt_ft.audio.files import change_speed, read_audio, resample, write_wav
from stt_ft.audio.levels import speech_span_s
from stt_ft.audio.synthesis import Synthesizer, Utterance
from stt_ft.core.timing import FRAME_S, SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, frame_at
from stt_ft.metrics.transcripts import scoring_form
from stt_ft.simulation.casting import HELDOUT_CAST, perform
from stt_ft.simulation.glued import SpokenDigits, mixed_gaps, sounding
from stt_ft.text.prompts import ordinary_prompt


def speech_of(synthesizer: Synthesizer) -> Utterance:
    return synthesizer.speak("please send it to the office on friday", voice="en-us+m2", words_per_minute=150)


@pytest.fixture(scope="module")
def synthesizer() -> Synthesizer:
    return Synthesizer()


@pytest.fixture(scope="module")
def numbers(spoken_digits: SpokenDigits) -> list[Utterance]:
    """Two numbers of each of six people."""
    rng = random.Random(7)
    return [
        spoken_digits.number(speaker, "".join(rng.choices("0123456789", k=6)), mixed_gaps(rng, 5), rng)
        for speaker in spoken_digits.speakers
        for _ in range(2)
    ]


def delay_samples(sent: np.ndarray, heard: np.ndarray) -> int:
    size = 1 << (len(sent) + len(heard)).bit_length()
    correlation = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(sent, size)))
    lag = int(correlation.argmax())
    return lag if lag < size // 2 else lag - size


def test_a_click_is_in_the_frame_that_holds_it_and_in_none_before(tiny_model, synthesizer):
    import torch

    from stt_ft.model.codes import MimiCodec

    mimi = MimiCodec.load(tiny_model)._mimi
    samples = speech_of(synthesizer).samples[: 20 * SAMPLES_PER_FRAME]

    def latents(sound: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return mimi.encode_to_latent(torch.from_numpy(sound)[None, None], quantize=False)[0].numpy()

    plain = latents(samples)
    for place in (0, 1, 5 * 1920 - 1, 5 * 1920, 5 * 1920 + 900, 12 * 1920 + 1919):
        clicked = samples.copy()
        clicked[place] += 0.1
        changed = np.flatnonzero(np.abs(latents(clicked) - plain).max(axis=0) > 1e-6)
        assert changed[0] == frame_at(place / SAMPLE_RATE_HZ)


def test_a_frame_is_known_to_the_row_after_it_and_to_none_before(tiny_model, synthesizer):
    from stt_ft.model.codes import MimiCodec
    from stt_ft.model.streaming import stream_codes
    from stt_ft.model.stt_lm import load_lm

    lm, codes = load_lm(tiny_model), MimiCodec.load(tiny_model).encode([speech_of(synthesizer).samples[: 20 * SAMPLES_PER_FRAME]])[0]
    changed = codes.copy()
    changed[:, 9] = (changed[:, 9] + 7) % 256
    before, after = stream_codes(lm, [codes, changed])
    assert int(np.flatnonzero(np.abs(before.head_probs - after.head_probs).max(axis=(1, 2)) > 1e-6)[0]) == 10


def test_words_that_the_model_writes_begin_and_end_where_they_are_said(synthesizer):
    from stt_ft.model.transcriber import Transcriber

    rng, tiny, starts_s, ends_s = random.Random(3), Transcriber.open("tiny", device="cpu"), [], []
    takes = [perform(synthesizer, ordinary_prompt(rng).text, {}, HELDOUT_CAST, rng)[0] for _ in range(6)]
    for take, heard in zip(takes, tiny.transcribe([take.samples for take in takes]), strict=True):
        if scoring_form([word.text for word in heard.words]) == [word.text for word in take.words]:
            starts_s += [told.start_s - true.start_s for told, true in zip(heard.words, take.words, strict=True)]
            ends_s += [told.end_s - true.end_s for told, true in zip(heard.words, take.words, strict=True)]
    assert len(starts_s) > 15
    assert abs(np.median(starts_s)) < FRAME_S / 4
    assert abs(np.median(ends_s)) < FRAME_S / 2


@pytest.mark.parametrize("carry", [phone_line, lambda sound: add_pink_noise(sound, 10.0, seed=1)], ids=["phone", "noise"])
def test_voices_come_through_a_channel_in_time(numbers, carry):
    assert [delay_samples(number.samples, carry(number.samples)) for number in numbers] == [0] * len(numbers)


@pytest.mark.parametrize("speed", [0.87, 0.9, 1.1])
def test_a_click_of_a_faster_take_lies_at_its_time_over_the_speed(speed):
    sound = np.zeros(6 * SAMPLE_RATE_HZ, np.float32)
    sound[5 * SAMPLE_RATE_HZ] = 1.0
    assert np.abs(change_speed(sound, speed)).argmax() / SAMPLE_RATE_HZ == pytest.approx(5 / speed, abs=1e-3)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
@pytest.mark.parametrize("rate_hz", [8_000, 44_100])
@pytest.mark.parametrize("suffix", [".flac", ".mp3", ".ogg", ".opus", ".webm", ".m4a"])
def test_coded_sound_is_read_in_time(tmp_path: Path, synthesizer, suffix: str, rate_hz: int):
    """Coders put sound of their own first, and readers must leave it out: 25 to 138 ms of an MP3 that does not say how much."""
    speech = speech_of(synthesizer).samples
    write_wav(tmp_path / "in.wav", resample(speech, SAMPLE_RATE_HZ, rate_hz), rate_hz)
    made = subprocess.run(["ffmpeg", "-v", "error", "-i", tmp_path / "in.wav", tmp_path / f"out{suffix}"], capture_output=True)
    if made.returncode != 0:
        pytest.skip(f"this ffmpeg writes no {suffix}")
    assert abs(delay_samples(speech, read_audio(tmp_path / f"out{suffix}"))) <= SAMPLE_RATE_HZ // 1000


def test_a_pages_sound_lies_under_its_words(tmp_path: Path, synthesizer):
    from stt_ft.pages.offline_page import PageSounds

    speech = speech_of(synthesizer).samples
    (tmp_path / "page.mp3").write_bytes(base64.b64decode(PageSounds(tmp_path).source(tmp_path / "a.wav", speech).partition(",")[2]))
    assert abs(delay_samples(speech, read_audio(tmp_path / "page.mp3"))) <= SAMPLE_RATE_HZ // 1000


def test_the_span_of_speech_is_that_of_people(numbers):
    spans = [(speech_span_s(number.samples, SAMPLE_RATE_HZ), number.words) for number in numbers]
    assert abs(np.median([begin_s - words[0].start_s for (begin_s, _), words in spans])) < 0.05
    assert abs(np.median([end_s - words[-1].end_s for (_, end_s), words in spans])) < 0.06


def test_silero_hears_people_begin_and_end_in_time(numbers):
    pytest.importorskip("silero_vad")
    from stt_ft.audio.silero_vad import CHUNK_S, SileroVad
    from stt_ft.metrics.endpointing import silent_for_s

    padded = [np.pad(number.samples, (0, SAMPLE_RATE_HZ)) for number in numbers]
    starts_s, ends_s = [], []
    for number, probs in zip(numbers, SileroVad.load().speech_probs(padded), strict=True):
        starts_s.append(np.flatnonzero(probs >= 0.5)[0] * CHUNK_S - number.words[0].start_s)
        ends_s.append(np.flatnonzero(silent_for_s(probs, CHUNK_S) == 0)[-1] * CHUNK_S - number.words[-1].end_s)
    assert -CHUNK_S < np.median(starts_s) < 0.07
    assert 0.0 < np.median(ends_s) < 0.12


def test_espeaks_word_times_are_those_of_its_sound(synthesizer):
    """One word at a time, so that nothing but the word sounds; none of them begins with the closure of a stop."""
    starts_s, ends_s = [], []
    for voice in HELDOUT_CAST.voices[:6]:
        for text in ("one", "eight", "nine", "number", "room", "six", "zero"):
            said = synthesizer.speak(text, voice=voice, words_per_minute=150)
            begin, end = sounding(said.samples)
            starts_s.append(said.words[0].start_s - begin / SAMPLE_RATE_HZ)
            ends_s.append(said.words[0].end_s - end / SAMPLE_RATE_HZ)
    assert np.abs(starts_s).max() < 0.03
    assert abs(np.median(ends_s)) < 0.02
