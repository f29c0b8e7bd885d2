"""Numbers in real people's voices with known word times: single digits that people spoke, put one after the other.

The digits are those of the Free Spoken Digit Dataset (`DIGIT_SPEAKER_INDEX.wav`, 8 kHz, trimmed to the word; Zohar Jackson and others,
CC BY-SA 4.0), or of any folder that names its files so. Glued digits lack the melody of dictation; their times and voices are real.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stt_ft.audio.files import read_audio
from stt_ft.audio.synthesis import Utterance, add_noise
from stt_ft.core.errors import DatasetError
from stt_ft.core.timing import SAMPLE_RATE_HZ, num_samples, samples_to_s
from stt_ft.dataset.sidecar import Word
from stt_ft.text.digit_words import ENGLISH_DIGITS
from stt_ft.text.prompts import Manner, pauses, spoken_digits

LEAD_S, TAIL_S = 0.6, 1.0
"""Silence before the first digit and behind the last."""

FLOOR_RMS = 3e-4
"""Noise under the whole number, -70 dB of full scale: no microphone delivers digital silence."""

SOUNDING_DB = 35.0
"""A take sounds from the first to the last millisecond within this many decibels of its loudest one."""

PEOPLE_HELD_OUT = ("lucas", "theo")
"""Speakers of the Free Spoken Digit Dataset whom neither the tiny model nor any adapter has heard: they are only measured on."""

_NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[^_]+)_\d+\.wav")
_LOUDEST = 0.5


class SpokenDigits:
    """Single digits as people spoke them, by speaker.

    Raises:
        DatasetError: the folder lacks a digit by one of its speakers, or holds none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._paths: dict[tuple[str, str], list[Path]] = {}
        for path in sorted(folder.glob("*.wav")) if folder.is_dir() else []:
            if match := _NAME.fullmatch(path.name):
                self._paths.setdefault((match["speaker"], match["digit"]), []).append(path)
        self.speakers = sorted({speaker for speaker, _ in self._paths})
        if not self.speakers:
            raise DatasetError(f"{folder}: no file is named DIGIT_SPEAKER_INDEX.wav")
        missing = [f"{digit}_{speaker}" for speaker in self.speakers for digit in "0123456789" if (speaker, digit) not in self._paths]
        if missing:
            raise DatasetError(f"{folder}: nobody says {', '.join(missing)}")

    def groups(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the speakers to learn from and those of `PEOPLE_HELD_OUT` to measure on; raises `DatasetError` where either lacks."""
        measured = tuple(speaker for speaker in self.speakers if speaker in PEOPLE_HELD_OUT)
        learnt = tuple(speaker for speaker in self.speakers if speaker not in PEOPLE_HELD_OUT)
        if not measured or not learnt:
            raise DatasetError(
                f"{self.folder}: people's voices need {' or '.join(PEOPLE_HELD_OUT)}, to be measured on, and others to learn from; "
                f"it holds {', '.join(self.speakers)}"
            )
        return learnt, measured

    def take(self, speaker: str, digit: str, rng: random.Random) -> np.ndarray:
        """Return one of the takes of `digit` by `speaker`, 24 kHz, from where it begins to sound to where it ends."""
        samples = read_audio(rng.choice(self._paths[speaker, digit]))
        return samples[slice(*sounding(samples))]

    def number(self, speaker: str, digits: str, gaps_s: Sequence[float], rng: random.Random) -> Utterance:
        """Return `digits` said by `speaker`, with `gaps_s` of silence between neighbours (one fewer than digits).

        Each digit is one of the speaker's takes, drawn by `rng`; the loudest sample of the whole is `_LOUDEST`.
        """
        pieces = [np.zeros(num_samples(LEAD_S), dtype=np.float32)]
        words = []
        begin = len(pieces[0])
        for digit, gap_s in zip(digits, (*gaps_s, TAIL_S), strict=True):
            take = self.take(speaker, digit, rng)
            start_s, end_s = samples_to_s(begin), samples_to_s(begin + len(take))
            words.append(Word(text=ENGLISH_DIGITS[int(digit)], start_s=start_s, end_s=end_s))
            pieces += [take, np.zeros(num_samples(gap_s), dtype=np.float32)]
            begin += len(take) + len(pieces[-1])
        samples = np.concatenate(pieces)
        gain = _LOUDEST / float(np.abs(samples).max())
        noise = np.random.default_rng(rng.getrandbits(64))
        return Utterance(samples=add_noise(samples, gain=gain, noise_rms=FLOOR_RMS, rng=noise), words=tuple(words))


def mixed_gaps(rng: random.Random, count: int) -> list[float]:
    """Return gaps as between glued digits in the project's measurements: 0.02 to 0.2 s, one in eight 0.3 to 0.8 s."""
    return [rng.uniform(0.3, 0.8) if rng.random() < 1 / 8 else rng.uniform(0.02, 0.2) for _ in range(count)]


def natural_gaps(rng: random.Random, digits: str) -> list[float]:
    """Return gaps as between the digits of a number that a person reads out: `Manner.NATURAL`, and up to 0.2 s from word to word."""
    prompt = spoken_digits(rng, digits)
    pauses_s = pauses(rng, prompt, Manner.NATURAL)
    return [rng.uniform(0.0, 0.2) + pauses_s.get(index, 0.0) for index in range(1, len(digits))]


def sounding(samples: np.ndarray, below_db: float = SOUNDING_DB) -> tuple[int, int]:
    """Return the first sample of what sounds and the one behind its last: milliseconds within `below_db` of the loudest one.

    The files of two of the six people keep 65 ms of quiet on either side at the median, and up to 0.9 s: their edges are not the word's.
    """
    step = SAMPLE_RATE_HZ // 1000
    power = (np.pad(samples, (0, -len(samples) % step)).astype(np.float64) ** 2).reshape(-1, step).mean(axis=1)
    loud = np.flatnonzero(power >= power.max() * 10 ** (-below_db / 10))
    return int(loud[0]) * step, min((int(loud[-1]) + 1) * step, len(samples))
