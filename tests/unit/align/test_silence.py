"""Silence is taken out of words, but not the closure of a stop consonant."""

from __future__ import annotations

import numpy as np

from stt_ft.align.aligned_word import AlignedWord
from stt_ft.align.silence import trim_silence

RATE_HZ = 24_000


def sound(*parts: tuple[float, float]) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate([rng.standard_normal(round(length_s * RATE_HZ)) * level for length_s, level in parts]).astype(np.float32)


def trimmed(samples: np.ndarray, start_s: float, end_s: float) -> tuple[float, float]:
    ((word,),) = trim_silence([[AlignedWord(text="one", start_s=start_s, end_s=end_s, confidence=1.0)]], samples)
    return word.start_s, word.end_s


def test_leading_and_trailing_silence_goes() -> None:
    samples = sound((1.0, 1e-4), (0.5, 0.2), (1.0, 1e-4))
    start_s, end_s = trimmed(samples, 0.2, 2.3)
    assert abs(start_s - 1.0) <= 0.011
    assert abs(end_s - 1.5) <= 0.011


def test_a_short_closure_stays() -> None:
    samples = sound((1.0, 1e-4), (0.5, 0.2), (1.0, 1e-4))
    assert trimmed(samples, 0.9, 1.6) == (0.9, 1.6)


def test_a_word_in_silence_and_a_sound_without_pauses_stay() -> None:
    assert trimmed(sound((1.0, 1e-4), (0.5, 0.2)), 0.1, 0.6) == (0.1, 0.6)
    assert trimmed(sound((2.0, 0.1)), 0.1, 1.9) == (0.1, 1.9)
    assert trimmed(np.zeros(0, dtype=np.float32), 0.0, 0.5) == (0.0, 0.5)
