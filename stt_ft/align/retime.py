"""Give every word of a span its own time: inside the span, in order, never overlapping, never of zero length."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from stt_ft.core.errors import AlignmentError

LEAST_WORD_S = 0.01
"""No word is shorter than this."""

_VOWELS = re.compile("[aeiouy]+")


@dataclass(frozen=True)
class Timed:
    """A word and its span in seconds."""

    text: str
    start_s: float
    end_s: float


def divide_by_syllables(words: Sequence[str], start_s: float, end_s: float) -> list[Timed]:
    """Share the span out among `words` by their syllables; raises `AlignmentError` when it is too short for them."""
    _require_room(words, start_s, end_s)
    weights = [num_syllables(word) for word in words]
    spare_s = (end_s - start_s) - LEAST_WORD_S * len(words)
    timed, begin_s, taken = [], start_s, 0
    for index, word in enumerate(words):
        taken += weights[index]
        stop_s = end_s if index == len(words) - 1 else start_s + LEAST_WORD_S * (index + 1) + spare_s * taken / sum(weights)
        timed.append(Timed(word, begin_s, stop_s))
        begin_s = stop_s
    return timed


def fit_into_span(words: Sequence[Timed], start_s: float, end_s: float) -> list[Timed]:
    """Move `words` as little as needed to lie in order inside the span; raises `AlignmentError` when it is too short for them."""
    _require_room([word.text for word in words], start_s, end_s)
    fitted: list[Timed] = []
    free_s = start_s
    for index, word in enumerate(words):
        rest_s = LEAST_WORD_S * (len(words) - index)
        begin_s = min(max(word.start_s, free_s), end_s - rest_s)
        next_start_s = words[index + 1].start_s if index + 1 < len(words) else end_s
        latest_s = end_s - (rest_s - LEAST_WORD_S)
        stop_s = min(max(min(word.end_s, max(next_start_s, begin_s)), begin_s + LEAST_WORD_S), latest_s)
        fitted.append(Timed(word.text, begin_s, stop_s))
        free_s = stop_s
    return fitted


def widen(start_s: float, end_s: float, *, num_words: int, after_s: float, before_s: float) -> tuple[float, float]:
    """Return a span with room for `num_words`, grown as little as needed towards its neighbours at `after_s` and `before_s`.

    Raises:
        AlignmentError: the neighbours leave too little room.
    """
    start_s, end_s = max(start_s, after_s), min(end_s, before_s)
    missing_s = num_words * LEAST_WORD_S * 1.01 - (end_s - start_s)
    if missing_s <= 0:
        return start_s, end_s
    end_s = min(before_s, end_s + missing_s)
    start_s = max(after_s, min(start_s, end_s - num_words * LEAST_WORD_S * 1.01))
    if end_s - start_s < num_words * LEAST_WORD_S:
        raise AlignmentError(f"no room for {num_words} words between {after_s:.2f} s and {before_s:.2f} s")
    return start_s, end_s


def num_syllables(word: str) -> int:
    """Return about how many syllables `word` has, at least one: its groups of vowels, a last silent "e" not counted."""
    letters = "".join(glyph for glyph in unicodedata.normalize("NFKD", word.lower()) if not unicodedata.combining(glyph))
    groups = len(_VOWELS.findall(letters))
    if groups > 1 and letters.endswith("e") and not letters.endswith(("le", "ee", "ie", "oe", "ye")):
        groups -= 1
    return max(1, groups)


def _require_room(words: Sequence[str], start_s: float, end_s: float) -> None:
    if end_s - start_s < LEAST_WORD_S * len(words) - 1e-9:
        raise AlignmentError(f"{len(words)} words do not fit between {start_s:.3f} s and {end_s:.3f} s")
