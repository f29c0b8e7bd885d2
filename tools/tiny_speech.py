"""The speech that the tiny model is trained on, with true word times: espeak-ng, and people's voices where they are at hand.

Every clip follows from its seed. Voices are *bent*, so that a few of them stand for many: vocal tract, pitch, speed, microphone, line and
room are each drawn apart. `tiny_people.py` gathers the people.
"""

from __future__ import annotations

import dataclasses
import json
import math
import multiprocessing
import random
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stt_ft.audio.channel import phone_line
from stt_ft.audio.files import change_speed, read_audio
from stt_ft.audio.synthesis import Synthesizer, Utterance, add_noise, insert_silence
from stt_ft.core.timing import SAMPLE_RATE_HZ, num_samples, samples_to_s
from stt_ft.dataset.sidecar import Word
from stt_ft.simulation.casting import BASE_CAST, perform
from stt_ft.simulation.glued import SpokenDigits
from stt_ft.text import prompts
from stt_ft.text.digit_words import ENGLISH_DIGITS

SEED = 20261126
TAIL_S = (1.8, 3.4)
"""Silence after the last word: the heads learn there what the end of a turn is like."""

NUM_LANES = 16
CLIPS_ASKED = 640
"""Clips asked for ahead, a multiple of the lanes: twice as many are kept in memory, under a gigabyte."""

ESPEAK_NUMBERS, ESPEAK_SENTENCES, GLUED_DIGITS = 0.24, 0.27, 0.37
"""Shares of the clips where people are at hand; the rest are utterances of neural voices. Without people, espeak's two parts share all."""


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """A clip with what was said."""

    samples: np.ndarray  # [num_samples] float32, 24 kHz
    words: tuple[Word, ...]
    prompt: prompts.Prompt
    voice: str


class Voices:
    """All voices at hand. One instance a process: espeak-ng keeps a global state."""

    def __init__(self, people: Path | None) -> None:
        self._espeak = Synthesizer()
        self._digits = SpokenDigits(people / "digits") if people else None
        self._utterances = sorted((people / "utterances").glob("*.json")) if people else []

    def speak(self, seed: int) -> Spoken:
        """Speak one random training clip; everything about it follows from `seed`."""
        rng = random.Random(seed)
        kind = rng.random()
        if self._digits is None:
            kind *= ESPEAK_NUMBERS + ESPEAK_SENTENCES
        if kind < ESPEAK_NUMBERS + ESPEAK_SENTENCES:
            return self._speak_with_espeak(rng, is_number=kind < ESPEAK_NUMBERS)
        if kind < ESPEAK_NUMBERS + ESPEAK_SENTENCES + GLUED_DIGITS:
            return self._glue(rng)
        return self._bend_utterance(rng)

    def _speak_with_espeak(self, rng: random.Random, *, is_number: bool) -> Spoken:
        prompt = prompts.number_prompt(rng, allowed=may_be_learnt) if is_number else prompts.ordinary_prompt(rng)
        manner = rng.choice(tuple(prompts.Manner))
        pace = manner.pace if is_number else 1.0
        spoken, voice = perform(self._espeak, prompt.text, _pauses(rng, prompt, manner), BASE_CAST, rng, pace=pace, tail_s=TAIL_S)
        if rng.random() < 0.6:
            samples = _through_a_room(colour(spoken.samples, rng, bend=0.12), rng)
            spoken = dataclasses.replace(spoken, samples=samples / max(1.0, float(np.abs(samples).max())))
        return Spoken(samples=spoken.samples, words=spoken.words, prompt=prompt, voice=voice)

    def _glue(self, rng: random.Random) -> Spoken:
        """A number of single digits by one speaker, as `SpokenDigits.number` makes them, each said at its own pace."""
        assert self._digits is not None
        digits = "".join(rng.choices("0123456789", k=rng.choice((3, 4, 5, 6, 7, 8, 9, 10, 10))))
        if not may_be_learnt(digits):
            return self._glue(rng)
        prompt = prompts.spoken_digits(rng, digits)
        pauses_s = _pauses(rng, prompt, rng.choice(tuple(prompts.Manner)))
        speaker, pitch, pace = rng.choice(self._digits.speakers), rng.uniform(0.84, 1.2), rng.uniform(0.75, 1.3)
        pieces, words = [_silence(rng.uniform(0.2, 1.2))], []
        begin = len(pieces[0])
        for index, digit in enumerate(digits):
            take = self._digits.take(speaker, digit, rng)
            take = stretch(change_speed(take, pitch), min(max(pitch / pace * rng.uniform(0.9, 1.1), 0.6), 1.6))
            start_s, begin = samples_to_s(begin), begin + len(take)
            words.append(Word(text=ENGLISH_DIGITS[int(digit)], start_s=start_s, end_s=samples_to_s(begin)))
            gap_s = rng.uniform(*TAIL_S) if index == len(digits) - 1 else rng.uniform(0.0, 0.15) + pauses_s.get(index + 1, 0.0)
            pieces += [take * np.float32(rng.uniform(0.7, 1.0)), _silence(gap_s)]
            begin += len(pieces[-1])
        return self._recorded(np.concatenate(pieces), tuple(words), prompt, speaker, rng)

    def _bend_utterance(self, rng: random.Random) -> Spoken:
        path = rng.choice(self._utterances)
        stored = json.loads(path.read_text())
        words = tuple(Word(text=text, start_s=start_s, end_s=end_s) for text, start_s, end_s in stored["words"])
        prompt = prompts.Prompt(
            words=tuple(word.text for word in words),
            kind="ordinary" if stored["number_span"] is None else "number",
            breaks=frozenset(stored["breaks"]),
            digits=stored["digits"],
            number_span=None if stored["number_span"] is None else tuple(stored["number_span"]),
        )
        samples = read_audio(path.with_suffix(".flac"))
        samples = samples[: num_samples(words[-1].end_s + 0.05)]
        pitch, pace = rng.uniform(0.85, 1.2), rng.uniform(0.8, 1.25)
        samples = stretch(change_speed(samples, pitch), pitch / pace)
        words = tuple(word.at_speed(pace) for word in words)
        pauses_s = _pauses(rng, prompt, rng.choice(tuple(prompts.Manner)))
        spoken = insert_silence(
            Utterance(samples=samples, words=words), pauses_s, lead_s=rng.uniform(0.0, 0.8), tail_s=rng.uniform(*TAIL_S)
        )
        return self._recorded(spoken.samples, spoken.words, prompt, path.stem.split("_")[0], rng)

    def _recorded(self, samples: np.ndarray, words: tuple[Word, ...], prompt: prompts.Prompt, voice: str, rng: random.Random) -> Spoken:
        """Bend the voice's tract and hear it through a microphone in a room."""
        samples = _through_a_room(colour(samples, rng, bend=0.15), rng)
        peak = float(np.abs(samples).max())
        samples = add_noise(
            samples,
            gain=rng.uniform(0.15, 0.9) / max(peak, 1e-3),
            noise_rms=10 ** rng.uniform(-4.0, -2.3),
            rng=np.random.default_rng(rng.getrandbits(64)),
        )
        return Spoken(samples=samples, words=words, prompt=prompt, voice=voice)


def may_be_learnt(digits: str) -> bool:
    """Say whether the base may learn this digit string: those of other casts are kept from it."""
    return prompts.belongs_to(digits, BASE_CAST.digit_shares)


def _pauses(rng: random.Random, prompt: prompts.Prompt, manner: prompts.Manner) -> dict[int, float]:
    return prompts.pauses(rng, prompt, manner, sentence_pause_prob=0.6, max_sentence_pause_s=0.7)  # more than people are measured on


def _silence(duration_s: float) -> np.ndarray:
    return np.zeros(num_samples(duration_s), dtype=np.float32)


_WINDOW, _HOP = 1024, 256
_LIFTER = 56
"""Cepstral coefficients that make the envelope: below the pitch of all but the highest voices (24,000 / 56 = 430 Hz)."""


def colour(samples: np.ndarray, rng: random.Random, *, bend: float) -> np.ndarray:
    """Return `samples` from another vocal tract through another microphone: as many samples, none late.

    Formants move by up to `bend` (a share) while the pitch stays; a tilt and three ripples of up to 5 dB colour the spectrum; one clip in
    four loses what lies above 3.4 to 8 kHz, as old recordings have, and one in twelve goes through a telephone line.
    """
    factor = math.exp(rng.uniform(-bend, bend))
    frequencies_hz = np.fft.rfftfreq(_WINDOW, 1 / SAMPLE_RATE_HZ)
    octaves = np.log2(np.maximum(frequencies_hz, 60.0) / 1000.0)
    gain_db = rng.uniform(-4, 4) * octaves
    for _ in range(3):
        gain_db += rng.uniform(0, 5) * np.cos(2 * math.pi * (octaves * rng.uniform(0.15, 0.8) + rng.random()))
    if rng.random() < 0.25:
        gain_db -= np.clip((frequencies_hz - rng.uniform(3400, 8000)) / 200, 0, 1) * 50
    if rng.random() < 0.5:
        gain_db -= np.clip((rng.uniform(50, 300) - frequencies_hz) / 60, 0, 1) * 25
    is_phone = rng.random() < 1 / 12

    window = np.sqrt(np.hanning(_WINDOW + 1)[:-1])
    padded = np.pad(samples.astype(np.float64), (_WINDOW, _WINDOW + (-len(samples)) % _HOP))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP] * window
    spectrum = np.fft.rfft(frames, axis=1)
    cepstrum = np.fft.irfft(np.log(np.abs(spectrum) + 1e-5), axis=1)
    cepstrum[:, _LIFTER : _WINDOW - _LIFTER + 1] = 0
    envelope = np.fft.rfft(cepstrum, axis=1).real
    places = np.minimum(np.arange(len(frequencies_hz)) / factor, len(frequencies_hz) - 1.001)
    below = places.astype(int)
    moved = envelope[:, below] + (places - below) * (envelope[:, below + 1] - envelope[:, below])
    spectrum *= np.exp(np.clip(moved - envelope, -3.5, 3.5) + gain_db * (math.log(10) / 20))
    shaped = np.fft.irfft(spectrum, axis=1) * window
    out = np.zeros(len(padded) + _WINDOW)
    for offset in range(_WINDOW // _HOP):  # frames that do not overlap are laid down together
        part = shaped[offset :: _WINDOW // _HOP].reshape(-1)
        out[offset * _HOP : offset * _HOP + len(part)] += part
    result = (out[_WINDOW : _WINDOW + len(samples)] / (_WINDOW / _HOP / 2)).astype(np.float32)
    return phone_line(result) if is_phone else result


def stretch(samples: np.ndarray, factor: float) -> np.ndarray:
    """Return `samples` played over `factor` times the time at the same pitch (WSOLA: Verhelst and Roelands, ICASSP 1993)."""
    half, reach = num_samples(0.016), num_samples(0.006)
    if abs(factor - 1) < 0.02 or len(samples) < 6 * half:
        return samples
    padded = np.pad(samples, (reach, 3 * half + reach))
    window = np.hanning(2 * half + 1)[:-1].astype(np.float32)
    count = round(len(samples) * factor)
    out = np.zeros(count + 3 * half, dtype=np.float32)
    follows: np.ndarray | None = None
    for begin in range(0, count, half):
        place = min(int(begin / factor), len(samples)) + reach
        fade = window if begin else np.maximum(window, np.arange(2 * half) < half)  # nothing lies under the first half
        if follows is not None:
            searched = padded[place - reach : place + half + reach]
            place += int(np.argmax(np.correlate(searched, follows, "valid"))) - reach
        out[begin : begin + 2 * half] += padded[place : place + 2 * half] * fade
        follows = padded[place + half : place + 2 * half]
    return out[:count]


def _through_a_room(samples: np.ndarray, rng: random.Random) -> np.ndarray:
    """Two clips in five are heard in a small room: an echo of noise that dies away within 0.1 to 0.5 s, 8 to 24 dB below the voice."""
    if rng.random() >= 0.4:
        return samples
    decay_s, level = rng.uniform(0.1, 0.5), 10 ** (-rng.uniform(8, 24) / 20)
    length = num_samples(decay_s)
    echo = np.random.default_rng(rng.getrandbits(64)).standard_normal(length) * np.exp(-6.9 * np.arange(length) / length)
    echo[: num_samples(0.002)] = 0
    echo *= level / np.linalg.norm(echo)
    echo[0] = 1.0
    size = 1 << (len(samples) + length - 1).bit_length()
    return np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(echo, size), size)[: len(samples)].astype(np.float32)


_voices: Voices | None = None


def _start(people: Path | None) -> None:
    global _voices
    _voices = Voices(people)


def _speak(seed: int) -> Spoken:
    assert _voices is not None
    return _voices.speak(seed)


def speak_all(seeds: Sequence[int], people: Path | None) -> Generator[Spoken, None, None]:
    """Speak the clips of all seeds, in their order, in `NUM_LANES` processes.

    Each process takes every so many-th seed: espeak-ng's voice carries on from one utterance to the next, so the order within a process is
    part of the recipe, whatever number of cores there are.
    """
    context = multiprocessing.get_context("spawn")
    pools = [context.Pool(1, _start, (people,)) for _ in range(NUM_LANES)]

    def ask(first: int) -> list[Iterator[Spoken]]:
        asked = seeds[first : first + CLIPS_ASKED]
        return [pool.imap(_speak, asked[lane::NUM_LANES], chunksize=4) for lane, pool in enumerate(pools)]

    try:
        coming = ask(0)
        for first in range(0, len(seeds), CLIPS_ASKED):
            lanes, coming = coming, ask(first + CLIPS_ASKED)  # the next are spoken while these are listened to
            for index in range(min(CLIPS_ASKED, len(seeds) - first)):
                yield next(lanes[index % NUM_LANES])
    finally:
        for pool in pools:
            pool.terminate()
