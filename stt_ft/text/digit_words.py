"""Digit words and the digits they stand for: "four double five oh" is 4550. The one table that reading, scoring and converting share.

English and French are read side by side, for their digit words do not collide. "oh", "o", "double" and "triple" are ordinary words too, and
count only in the company of a digit: "oh hello" holds none.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

ENGLISH_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
FRENCH_DIGITS = ("zéro", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf")

_DIGIT_OF_WORD = {
    **{word: str(digit) for digit, word in enumerate(ENGLISH_DIGITS)},
    **{word: str(digit) for digit, word in enumerate(FRENCH_DIGITS)},
    "une": "1",
    "niner": "9",
}
ZERO_IN_COMPANY = frozenset({"oh", "o", "ô"})
REPEAT_OF_WORD = {"double": 2, "triple": 3, "treble": 3, "quadruple": 4}
_LONE_MARKS = (",", ".")


@dataclass(frozen=True, kw_only=True)
class DigitRun:
    """Words `start` to `stop` (exclusive) of a list, which together say `digits`."""

    start: int
    stop: int
    digits: str


def is_digit_word(word: str) -> bool:
    """Return whether `word` says digits and nothing else: a digit word, glyphs, or one that may ("oh", "double") in the right company."""
    word = bare_word(word)
    return word in _DIGIT_OF_WORD or word in ZERO_IN_COMPANY or word in REPEAT_OF_WORD or glyph_digits(word) is not None


def digit_runs(words: Sequence[str]) -> list[DigitRun]:
    """Return the longest runs of neighbouring words that say digits. "no one" holds a run of one; the caller sets a least length.

    A comma or full stop that stands alone between two words, as a model may write it, parts no run.
    """
    places = [index for index, word in enumerate(words) if word.strip() not in _LONE_MARKS]
    bare = [bare_word(words[index]) for index in places]
    runs: list[DigitRun] = []
    position = 0
    while position < len(bare):
        stop, digits = _run_from(bare, position)
        if digits:
            runs.append(DigitRun(start=places[position], stop=places[stop - 1] + 1, digits=digits))
        position = max(stop, position + 1)
    return runs


def digits_of_words(words: Sequence[str]) -> str:
    """Return all the digits that `words` say, in order; other words are passed over."""
    return "".join(run.digits for run in digit_runs(words))


def is_repeat_word(word: str) -> bool:
    """Return whether `word` says how often the digit after it comes: "double", "triple"."""
    return bare_word(word) in REPEAT_OF_WORD


def _run_from(bare: Sequence[str], position: int) -> tuple[int, str]:
    """Read the run that begins at `position`; return where it ends and what it says ("" when only "oh" is there)."""
    digits, sure = "", False
    while position < len(bare):
        word = bare[position]
        repeat = REPEAT_OF_WORD.get(word)
        if repeat is not None:
            following = bare[position + 1] if position + 1 < len(bare) else ""
            digit = _digit(following)
            if digit is None:
                break
            digits, sure, position = digits + digit * repeat, True, position + 2
            continue
        digit = _digit(word) or glyph_digits(word)
        if digit is None:
            break
        sure = sure or word not in ZERO_IN_COMPANY
        digits, position = digits + digit, position + 1
    return position, digits if sure else ""


def _digit(word: str) -> str | None:
    if word in ZERO_IN_COMPANY:
        return "0"
    digit = _DIGIT_OF_WORD.get(word)
    return digit if digit is not None else glyph_digits(word) if len(word) == 1 else None


def glyph_digits(word: str) -> str | None:
    """Return the ASCII digits of a word made of digit glyphs (of any script) and grouping marks alone, else None."""
    digits = "".join(str(unicodedata.decimal(glyph)) for glyph in word if glyph.isdecimal())
    return digits if digits and all(glyph.isdecimal() or glyph in "-,." for glyph in word) else None


@functools.lru_cache(maxsize=10_000)
def bare_word(word: str) -> str:
    """Return a word in lower case, without the marks around it."""
    return unicodedata.normalize("NFC", word).lower().strip(" \t\n.,;:!?\"'()[]-\u2013\u2014\u2026\u00ab\u00bb\u201c\u201d\u2018\u2019")
