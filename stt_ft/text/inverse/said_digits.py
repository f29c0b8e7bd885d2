"""The digits that words say, and which of them dictate a number: the one reader of scores, splits, spans and pages.

Words are read as `written_numbers` writes them, in English or French, marks passed over: "seven eighty eight", "zéro six douze trente
quatre", "A one B two C three" are numbers as "one two nine" is. A *number* is a run of at least `MIN_NUMBER_DIGITS` digits that are
dictated part by part: no amount ("two hundred"), no time of day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stt_ft.text.digit_words import digits_of_words
from stt_ft.text.inverse.vocabulary import is_mark, language_of, marks_around
from stt_ft.text.inverse.written_numbers import WrittenToken, written_tokens

MIN_NUMBER_DIGITS = 3
"""Fewest digits in a row that count as a dictated number: "one or two" is ordinary speech."""


def said_digits(words: Sequence[str]) -> list[WrittenToken]:
    """Return the tokens of `words` that say digits. Marks part no number, for a model may write them anywhere.

    A digit word of the other language says its digit as well: a word too many is an error in whatever language it is.
    """
    places = [index for index, word in enumerate(words) if not is_mark(word)]
    plain = [marks_around(words[index])[1] or words[index] for index in places]
    said: list[WrittenToken] = []
    for token in written_tokens(plain, language_of(plain)):
        digits = token.digits or digits_of_words(token.text.split())
        if digits:
            said.append(replace(token, digits=digits, start=places[token.start], stop=places[token.stop - 1] + 1))
    return said


def dictated_numbers(words: Sequence[str]) -> list[WrittenToken]:
    """Return the numbers that `words` dictate; neighbours are one ("06 12 34 56 78"), and its `text` is theirs without spaces."""
    numbers: list[WrittenToken] = []
    for token in said_digits(words):
        if not token.is_dictated:
            continue
        before = numbers[-1] if numbers else None
        if before is not None and not any(not is_mark(word) for word in words[before.stop : token.start]):
            numbers[-1] = replace(before, stop=token.stop, text=before.text + token.text, digits=before.digits + token.digits)
        else:
            numbers.append(token)
    return [number for number in numbers if len(number.digits) >= MIN_NUMBER_DIGITS]


def number_runs(words: Sequence[str]) -> list[tuple[int, int]]:
    """Return the runs of `words` (first, last + 1) that dictate a number."""
    return [(number.start, number.stop) for number in dictated_numbers(words)]
