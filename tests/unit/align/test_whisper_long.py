"""A clip longer than Whisper's window, heard by a decoder that knows the sound: every word is found where it was planted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from stt_ft.align.attention import LAGS, AttentionWeights
from stt_ft.align.whisper_hearing import mismatch_of
from stt_ft.align.whisper_long import listen_long
from stt_ft.align.whisper_model import FRAMES_PER_S, WINDOW_S, Reading
from stt_ft.core.errors import AlignmentError
from stt_ft.core.timing import SAMPLE_RATE_HZ
from stt_ft.text.lattice import fixed
from stt_ft.text.spoken_forms import SpokenToken

WORD_S = 0.4


class KnowingModel:
    """Stands for Whisper: reads off the samples which word sounds when (word `i` has level `(i + 1) / 1000`), and expects just those."""

    max_text_tokens = 443

    def __init__(self, words: list[str], misread: dict[int, str] | None = None) -> None:
        digits = "zero one two three four five six seven eight nine".split()  # noqa: SIM905
        self.words = words
        self.ids = {word: index for index, word in enumerate(dict.fromkeys([*words, *digits]))}
        self.tokenizer = SimpleNamespace(eot=len(self.ids))
        self.attention = AttentionWeights(heads=((0, 0),), weights=np.array([[float(lag == 0)] for lag in LAGS], dtype=np.float32))
        self.misread = misread or {}

    def tokens_of(self, word: str) -> list[int]:
        return [self.ids[word]]

    def encode(self, sounds: list[np.ndarray]) -> torch.Tensor:
        (sound,) = sounds
        assert len(sound) <= WINDOW_S * SAMPLE_RATE_HZ
        levels = np.zeros(round(WINDOW_S * FRAMES_PER_S))
        step = SAMPLE_RATE_HZ // FRAMES_PER_S
        frames = sound[: len(sound) // step * step].reshape(-1, step).max(axis=1)
        levels[: len(frames)] = frames
        return torch.from_numpy(levels)[None, :, None]

    def read(self, features: torch.Tensor, texts: list[list[int]]) -> list[Reading]:
        return [self._read(row[:, 0].numpy(), text) for row, text in zip(features, texts, strict=True)]

    def _read(self, levels: np.ndarray, text: list[int]) -> Reading:
        sounding = np.round(levels * 1000).astype(int) - 1  # [F]
        whole = [index for index in dict.fromkeys(sounding[sounding >= 0]) if (sounding == index).sum() >= WORD_S * FRAMES_PER_S - 1]
        expected = [self.ids[self.misread.get(index, self.words[index])] for index in whole]
        log_probs = torch.full((len(text) + 1, len(self.ids) + 1), -20.0)
        for place in range(len(text) + 1):
            log_probs[place, expected[place] if place < len(expected) else self.tokenizer.eot] = -0.01
        scores = torch.zeros(1, len(text) + 1, len(levels))
        for place in range(min(len(text), len(whole))):
            scores[0, place, sounding == whole[place]] = 20.0
        scores[0, -1, np.flatnonzero(sounding == whole[min(len(text), len(whole)) - 1])[-1] + 1 :] = 20.0
        return Reading(scores=scores, log_probs=log_probs)


def clip(num_words: int, *, tail_s: float = 1.0, seed: int = 0) -> tuple[np.ndarray, list[float]]:
    """Return a sound of words of `WORD_S` each at random distances, and where they begin."""
    rng = np.random.default_rng(seed)
    starts_s = np.round(np.cumsum(rng.uniform(0.5, 1.5, num_words)), 2)
    samples = np.zeros(round((starts_s[-1] + WORD_S + tail_s) * SAMPLE_RATE_HZ), dtype=np.float32)
    for index, start_s in enumerate(starts_s):
        first = round(start_s * SAMPLE_RATE_HZ)
        samples[first : first + round(WORD_S * SAMPLE_RATE_HZ)] = (index + 1) / 1000
    return samples, starts_s.tolist()


def tokens(words: list[str]) -> list[SpokenToken]:
    return [SpokenToken(start=index, stop=index + 1, written=(word,), lattice=fixed([word])) for index, word in enumerate(words)]


@pytest.mark.parametrize("tail_s", [1.0, 45.0])
def test_every_word_is_found_where_it_was_planted(tail_s: float) -> None:
    words = [f"word{index}" for index in range(100)]
    samples, starts_s = clip(len(words), tail_s=tail_s)
    model: Any = KnowingModel(words)
    heard = listen_long(model, samples, tokens(words), language="en")
    assert [one.text for timed in heard.timed for one in timed] == words
    found_s = [timed[0].start_s for timed in heard.timed]
    np.testing.assert_allclose(found_s, starts_s, atol=0.15)
    ends_s = [timed[0].end_s for timed in heard.timed]
    assert all(end_s <= next_s for end_s, next_s in zip(ends_s, found_s[1:], strict=False))


def test_a_misread_digit_far_into_the_clip_is_flagged_once() -> None:
    words = [f"word{index}" for index in range(60)] + ["four", "five"]
    samples, _ = clip(len(words))
    model: Any = KnowingModel(words, misread={60: "nine"})
    mismatch = mismatch_of("the script", listen_long(model, samples, tokens(words), language="en").expected)
    assert mismatch is not None
    assert mismatch["heard"].split()[-3:] == ["word59", "nine", "five"]
    assert mismatch["heard"].count("nine") == 1


def test_another_text_is_refused_by_the_time_at_which_it_goes_wrong() -> None:
    words = [f"word{index}" for index in range(60)]
    samples, _ = clip(len(words))
    other: Any = KnowingModel(words)
    other.ids |= {"never": 0, "said": 1}
    with pytest.raises(AlignmentError, match=r"from 0\.0 s on the script does not fit the sound"):
        listen_long(other, samples, tokens(["never"] * 3 + ["said"] * 30), language="en")
