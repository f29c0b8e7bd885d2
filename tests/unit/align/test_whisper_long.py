"""A clip longer than Whisper's window: every word is found where it was planted, and what does not fit is named and left out.

By a decoder that knows the sound, which shows the bookkeeping; and by Whisper's real weights on people's digits.
"""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from stt_ft.align.aligner import AlignmentJob
from stt_ft.align.whisper_aligner import WhisperWork
from stt_ft.align.whisper_hearing import mismatch_of
from stt_ft.align.whisper_long import align_long
from stt_ft.align.whisper_model import FRAMES_PER_S, LAGS, WINDOW_S, AttentionWeights, DecoderOutput
from stt_ft.audio.files import write_wav
from stt_ft.core.errors import AlignmentError
from stt_ft.core.timing import SAMPLE_RATE_HZ
from stt_ft.simulation.glued import SpokenDigits, mixed_gaps
from stt_ft.text.lattice import fixed
from stt_ft.text.spoken_forms import SpokenToken

WORD_S = 0.4
LOWEST = 100
LOOKAHEAD = 12
"""Words that the decoder may be led past: more than any test leaves out of its script."""


class KnowingModel:
    """Stands for Whisper: reads off the samples which word sounds when,
    and expects just those. Word `i` has level `(i + LOWEST) / 1000`."""

    max_text_tokens = 443

    def __init__(self, words: list[str], misread: dict[int, str] | None = None) -> None:
        digits = "zero one two three four five six seven eight nine".split()  # noqa: SIM905
        self.words = words
        self.ids = {word: index for index, word in enumerate(dict.fromkeys([*words, *digits]))}
        self.tokenizer = SimpleNamespace(eot=len(self.ids))
        self.attention = AttentionWeights(heads=((0, 0),), weights=np.array([[float(lag == 0)] for lag in LAGS], dtype=np.float32))
        self.misread = misread or {}

    def tokens_of(self, *words: str) -> list[int]:
        return [self.ids[word] for word in words]

    def encode(self, sounds: list[np.ndarray], window_s: float = WINDOW_S) -> torch.Tensor:
        step = SAMPLE_RATE_HZ // FRAMES_PER_S
        levels = np.zeros((len(sounds), round(window_s * FRAMES_PER_S)))
        for row, sound in enumerate(sounds):
            assert len(sound) <= window_s * SAMPLE_RATE_HZ
            frames = np.abs(sound[: len(sound) // step * step]).reshape(-1, step).max(axis=1)
            levels[row, : len(frames)] = frames
        return torch.from_numpy(levels)[:, :, None]

    @property
    def writer(self) -> SimpleNamespace:
        return SimpleNamespace(write=self._write)

    def _write(self, features: torch.Tensor, durations_s: list[float], *, num_beams: int) -> list[SimpleNamespace]:
        assert all(0 < duration_s <= WINDOW_S for duration_s in durations_s)
        return [SimpleNamespace(text=" ".join(self.heard(row[:, 0].numpy())[0])) for row in features]

    def heard(self, levels: np.ndarray) -> tuple[list[str], list[int]]:
        """Return the words that sound in a window, and their numbers."""
        sounding = np.round(levels * 1000).astype(int) - LOWEST  # [F]
        whole = [index for index in dict.fromkeys(sounding[sounding >= 0]) if (sounding == index).sum() >= WORD_S * FRAMES_PER_S - 2]
        return [self.misread.get(index, self.words[index]) for index in whole], whole

    def read(self, features: torch.Tensor, texts: list[list[int]]) -> list[DecoderOutput]:
        return [self._read(row[:, 0].numpy(), text) for row, text in zip(features, texts, strict=True)]

    def _read(self, levels: np.ndarray, text: list[int]) -> DecoderOutput:
        sounding = np.round(levels * 1000).astype(int) - LOWEST  # [F]
        words, whole = self.heard(levels)
        expected = [self.ids[word] for word in words]
        told = [self.ids[self.words[index]] for index in whole]  # as the script has it, misread or not
        log_probs = torch.full((len(text) + 1, len(self.ids) + 1), -20.0)
        said = 0  # like Whisper's, this decoder goes on behind what it has been told, if that is said at all
        for place in range(len(text) + 1):
            log_probs[place, expected[said] if said < len(expected) else self.tokenizer.eot] = -0.01
            if place < len(text) and text[place] in told[said : said + 1 + LOOKAHEAD]:
                said += told[said:].index(text[place]) + 1
            elif place < len(text) and text[place] in expected[said : said + 1 + LOOKAHEAD]:
                said += expected[said:].index(text[place]) + 1
        scores = torch.zeros(1, len(text) + 1, len(levels))
        for place in range(min(len(text), len(whole))):
            scores[0, place, sounding == whole[place]] = 20.0
        return DecoderOutput(scores=scores, log_probs=log_probs)


def names(count: int) -> list[str]:
    """Return as many different words."""
    return (
        [f"{first}{second}m" for first in "bcdfghklmnpr" for second in "aeiou"][:count]
        if count <= 60
        else names(60) + [f"{name}s" for name in names(count - 60)]
    )


def clip(num_words: int, *, tail_s: float = 1.0, seed: int = 0, gap_s: tuple[float, float] = (0.1, 1.1)) -> tuple[np.ndarray, list[float]]:
    """Return a sound of words of `WORD_S` each at random distances, and where they begin."""
    rng = np.random.default_rng(seed)
    starts_s = np.round(np.cumsum(WORD_S + rng.uniform(*gap_s, num_words)), 2)
    samples = np.zeros(round((starts_s[-1] + WORD_S + tail_s) * SAMPLE_RATE_HZ), dtype=np.float32)
    for index, start_s in enumerate(starts_s):
        first, length = round(start_s * SAMPLE_RATE_HZ), round(WORD_S * SAMPLE_RATE_HZ)
        samples[first : first + length] = rng.choice([-1, 1], length) * (index + LOWEST) / 1000
    return samples, starts_s.tolist()


def tokens(words: list[str]) -> list[SpokenToken]:
    return [SpokenToken(start=index, stop=index + 1, written=(word,), lattice=fixed([word])) for index, word in enumerate(words)]


@pytest.mark.parametrize("tail_s", [1.0, 45.0])
def test_every_word_is_found_where_it_was_planted(tail_s: float) -> None:
    words = names(100)
    samples, starts_s = clip(len(words), tail_s=tail_s)
    model: Any = KnowingModel(words)
    aligned, left_out = align_long(model, samples, tokens(words), language="en")
    assert [word.text for token in aligned for word in token.words] == words
    assert left_out == ()
    np.testing.assert_allclose([token.words[0].start_s for token in aligned], starts_s, atol=0.03)
    np.testing.assert_allclose([token.words[0].end_s for token in aligned], np.array(starts_s) + WORD_S, atol=0.03)


def test_where_nobody_pauses_the_words_at_a_cut_are_heard_again_whole() -> None:
    words = names(100)
    samples, starts_s = clip(len(words), gap_s=(0.02, 0.06))
    model: Any = KnowingModel(words)
    aligned, _ = align_long(model, samples, tokens(words), language="en")
    assert [word.text for token in aligned for word in token.words] == words
    np.testing.assert_allclose([token.words[0].start_s for token in aligned], starts_s, atol=0.06)


def test_words_that_nobody_says_are_left_out_by_their_place_and_the_rest_is_kept() -> None:
    said = names(80)
    samples, starts_s = clip(len(said))
    script = [*said[:40], "four", "five", "nine", "two", *said[40:]]
    model: Any = KnowingModel(said)
    aligned, left_out = align_long(model, samples, tokens(script), language="en")
    assert [token.words for token in aligned[40:44]] == [[]] * 4
    kept = [*aligned[:40], *aligned[44:]]
    np.testing.assert_allclose([token.words[0].start_s for token in kept], starts_s, atol=0.03)
    (stretch,) = left_out
    assert (stretch.script, stretch.heard) == ("four five nine two", "")
    assert starts_s[39] + WORD_S - 0.03 <= stretch.start_s <= stretch.end_s <= starts_s[40] + 0.03


def test_speech_that_the_script_lacks_is_left_out_by_its_times_and_the_rest_is_kept() -> None:
    said = names(80)
    samples, starts_s = clip(len(said))
    model: Any = KnowingModel(said)
    aligned, left_out = align_long(model, samples, tokens([*said[:30], *said[36:]]), language="en")
    kept_s = [token.words[0].start_s for token in aligned]
    np.testing.assert_allclose(kept_s, [*starts_s[:30], *starts_s[36:]], atol=0.03)
    (stretch,) = left_out
    assert (stretch.script, stretch.heard) == ("", " ".join(said[30:36]))
    np.testing.assert_allclose((stretch.start_s, stretch.end_s), (starts_s[30], starts_s[35] + WORD_S), atol=0.03)


def test_a_misread_digit_far_into_the_clip_is_flagged_once() -> None:
    words = [*names(60), "four", "five"]
    samples, _ = clip(len(words))
    model: Any = KnowingModel(words, misread={60: "nine"})
    mismatch = mismatch_of("the script", align_long(model, samples, tokens(words), language="en")[0])
    assert mismatch is not None
    assert mismatch["heard"].split()[-3:] == [words[59], "nine", "five"]
    assert mismatch["heard"].count("nine") == 1


def test_another_text_is_refused() -> None:
    said = names(60)
    samples, _ = clip(len(said))
    model: Any = KnowingModel(said)
    with pytest.raises(AlignmentError, match=r"the script does not fit the sound: 0 of its 33 words are heard"):
        align_long(model, samples, tokens(["four"] * 3 + ["five", "nine", "two"] * 10), language="en")


def test_silence_is_refused() -> None:
    model: Any = KnowingModel(names(5))
    with pytest.raises(AlignmentError):
        align_long(model, np.zeros(60 * SAMPLE_RATE_HZ, dtype=np.float32), tokens(names(5)), language="en")


def test_a_minute_of_numbers_by_a_person_is_aligned_and_the_number_not_said_is_named(
    tiny_en: Path, spoken_digits: SpokenDigits, tmp_path: Path
) -> None:
    rng = random.Random(5)
    numbers = ["".join(rng.choice("0123456789") for _ in range(rng.randint(5, 10))) for _ in range(9)]
    gaps = [gap for number in numbers for gap in (*mixed_gaps(rng, len(number) - 1), rng.uniform(0.5, 2.0))][:-1]
    utterance = spoken_digits.number("george", "".join(numbers), gaps, rng)
    assert utterance.duration_s > 40
    write_wav(tmp_path / "long.wav", utterance.samples, SAMPLE_RATE_HZ)
    script = " ".join([*numbers[:5], "8402957", *numbers[5:]])
    work = WhisperWork(str(tiny_en), language="en", device="cpu", batch_size=4)
    (result,) = work.results([AlignmentJob(clip_id="long", audio_path=tmp_path / "long.wav", script=script, language="en")])
    assert not result.fault
    assert [stretch.script for stretch in result.left_out] == ["8402957"]
    found = [word for token in result.words for word in token.spoken or ()]
    onsets_s = np.array([word.start_s for word in found]) - [word.start_s for word in utterance.words]
    assert np.median(np.abs(onsets_s)) < 0.02
    assert np.abs(onsets_s).max() < 0.4
