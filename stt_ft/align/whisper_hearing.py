"""What Whisper makes of a clip whose text is known: when each word is said, in which way numbers were said, and which digits sound misread.

Numbers are aligned in spoken form, so that each of their words has its own time. Where a number can be said in several ways ("zero", "oh"),
the whole readings are compared (`readings`); where a digit may have been misread, the decoder's own expectation at that place decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from stt_ft.align.aligned_word import AlignedWord, LeftOut
from stt_ft.align.placing import place_words
from stt_ft.align.readings import choose_readings
from stt_ft.align.whisper_model import FRAMES_PER_S, Reading, WhisperModel
from stt_ft.core.doubts import Rival
from stt_ft.core.errors import AlignmentError
from stt_ft.core.timing import samples_to_s
from stt_ft.text.digit_words import digits_of_words
from stt_ft.text.spoken_forms import LANGUAGES, SpokenToken, language_named

_MISREAD_CONFIDENCE = 0.9
"""A digit counts as misread when another is expected at its place with this share of the probability that digits have."""


@dataclass(frozen=True, kw_only=True)
class HeardWord:
    """A word as the decoder expects it; `misread` is how sure it is that the script has another digit there, None where it agrees."""

    text: str
    misread: float | None = None


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What became of a text: for each of its tokens the words with their times, the words as the decoder expects them, the next reading.

    Of tokens in `left_out` there are no words; only long clips have such stretches.
    """

    timed: list[list[AlignedWord]]
    expected: list[list[HeardWord]]
    rivals: list[Rival | None]
    left_out: tuple[LeftOut, ...] = ()


@dataclass(kw_only=True)
class Hearing:
    """A text on its way through the decoder: its sound, its tokens, and the words chosen for each token."""

    samples: np.ndarray
    tokens: Sequence[SpokenToken]
    said: list[tuple[str, ...]]

    @classmethod
    def of(cls, samples: np.ndarray, tokens: Sequence[SpokenToken]) -> Hearing:
        return cls(samples=samples, tokens=tokens, said=[token.lattice.words for token in tokens])

    def words(self) -> list[tuple[int, str]]:
        """Return (index of the token, word) in order."""
        return [(index, word) for index, words in enumerate(self.said) for word in words]


def listen(model: WhisperModel, features: torch.Tensor, hearings: Sequence[Hearing], *, language: str) -> list[Heard | AlignmentError]:
    """Align every hearing in one decoder pass, once the readings of its numbers are chosen by ear.

    Args:
        features: encoder output [B, F, D], one row a hearing.

    Returns:
        for each hearing what was heard, or why it cannot be aligned.
    """
    heard: dict[int, Heard | AlignmentError] = {}
    for row, hearing in enumerate(hearings):
        num_tokens = len(_encode(model, hearing))
        if num_tokens > model.max_text_tokens:
            limit = f"Whisper reads at most {model.max_text_tokens} at once: cut the clip"
            heard[row] = AlignmentError(f"its script has {num_tokens} tokens in {samples_to_s(len(hearing.samples)):.0f} s; {limit}")
    rows = [row for row in range(len(hearings)) if row not in heard]
    choices = {row: _choose(model, features[row], hearings[row]) for row in rows}
    readings = dict(zip(rows, _read(model, features, hearings, rows), strict=True))
    for row in rows:
        try:
            timed = _timed(model, hearings[row], readings[row])
            expected = _expected(model, hearings[row], readings[row], language)
            heard[row] = Heard(timed=timed, expected=expected, rivals=choices[row])
        except AlignmentError as error:
            heard[row] = error
    return [heard[row] for row in range(len(hearings))]


def _encode(model: WhisperModel, hearing: Hearing) -> list[int]:
    return [token for _, word in hearing.words() for token in model.tokens_of(word)]


def _read(model: WhisperModel, features: torch.Tensor, hearings: Sequence[Hearing], rows: Sequence[int]) -> list[Reading]:
    return model.read(features[list(rows)], [_encode(model, hearings[row]) for row in rows]) if rows else []


def _choose(model: WhisperModel, features: torch.Tensor, hearing: Hearing) -> list[Rival | None]:
    """Take the readings that fit the sound [F, D] best; return those that came second."""
    choice = choose_readings(model, features, hearing.tokens)
    hearing.said = choice.said
    return choice.rivals


def _timed(model: WhisperModel, hearing: Hearing, reading: Reading) -> list[list[AlignedWord]]:
    """Return the words of each token with times from the decoder's attention and the mean probability of their tokens."""
    if not bool(reading.log_probs.isfinite().all()):
        raise AlignmentError("the Whisper model's output is not finite: a broken checkpoint, or numbers too large for float16")
    duration_s = samples_to_s(len(hearing.samples))
    num_frames = max(1, min(reading.scores.shape[-1], int(np.ceil(duration_s * FRAMES_PER_S))))
    shares = model.attention.log_shares(reading.scores[:, :-1], num_frames)  # [L, F]
    text = _encode(model, hearing)
    probs = [float(reading.log_probs[place, token].exp()) for place, token in enumerate(text)]
    said: list[tuple[int, str, slice]] = []
    place = 0
    for index, word in hearing.words():
        stop = place + len(model.tokens_of(word))
        if any(glyph.isalnum() for glyph in word):
            said.append((index, word, slice(place, stop)))
        place = stop
    timed: list[list[AlignedWord]] = [[] for _ in hearing.tokens]
    if not said:
        return timed
    with_sound = np.concatenate([np.arange(tokens.start, tokens.stop) for _, _, tokens in said])
    spans = place_words(
        hearing.samples, shares[with_sound], [tokens.stop - tokens.start for _, _, tokens in said], shares_per_s=FRAMES_PER_S
    )
    for (index, word, tokens), (start_s, end_s) in zip(said, spans, strict=True):
        confidence = float(np.mean(probs[tokens]))
        timed[index].append(AlignedWord(text=word, start_s=round(start_s, 4), end_s=round(end_s, 4), confidence=confidence))
    return timed


def _expected(model: WhisperModel, hearing: Hearing, reading: Reading, language: str) -> list[list[HeardWord]]:
    """Return the words of each token, digits replaced by the digits that the decoder surely expects in their place."""
    digits = language_named(language).digits if language in LANGUAGES else ()
    firsts = [model.tokens_of(word)[0] for word in digits]
    expected: list[list[HeardWord]] = [[] for _ in hearing.tokens]
    place = 0
    for index, word in hearing.words():
        heard = HeardWord(text=word)
        value = digits_of_words([word])
        if word in digits and len(value) == 1:
            probs = reading.log_probs[place, firsts].exp()
            share, likeliest = float(probs.max() / probs.sum().clamp(min=1e-12)), int(probs.argmax())
            if likeliest != int(value) and share > _MISREAD_CONFIDENCE:
                heard = HeardWord(text=digits[likeliest], misread=share)
        expected[index].append(heard)
        place += len(model.tokens_of(word))
    return expected


def mismatch_of(script: str, expected: Sequence[Sequence[HeardWord]]) -> dict[str, Any] | None:
    """Return what was heard where a digit of the script was read as another, or None."""
    misread = [word.misread for words in expected for word in words if word.misread is not None]
    if not misread:
        return None
    heard = " ".join(word.text for words in expected for word in words)
    return {"script": script, "heard": heard, "confidence": round(min(misread), 3)}
