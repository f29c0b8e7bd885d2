"""Digit words: what says a digit, and what only does so in company."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stt_ft.text.digit_words import ENGLISH_DIGITS, FRENCH_DIGITS, DigitRun, digit_runs, digits_of_words, is_digit_word


@pytest.mark.parametrize(
    ("words", "digits"),
    [
        ("order one two nine six eight zero three", "1296803"),
        ("four one double five oh", "41550"),
        ("triple seven O two", "77702"),
        ("zéro six douze", "06"),
        ("555 double 0 1234", "555001234"),
        ("five, five. (six)", "556"),
        ("double double five", "55"),
        ("oh hello", ""),
        ("double trouble", ""),
        ("", ""),
    ],
)
def test_digits_of_words(words: str, digits: str) -> None:
    assert digits_of_words(words.split()) == digits


def test_oh_counts_only_beside_a_digit() -> None:
    assert digit_runs("oh the code is oh five".split()) == [DigitRun(start=4, stop=6, digits="05")]  # noqa: SIM905


@pytest.mark.parametrize("word", ["One", "nine.", "oh", "double", "1296803", "555-1234", "un", "٣"])
def test_words_that_may_say_digits(word: str) -> None:
    assert is_digit_word(word)


@pytest.mark.parametrize("word", ["ten", "hello", "", "A1", "ones", "-"])
def test_words_that_say_none(word: str) -> None:
    assert not is_digit_word(word)


@settings(deadline=None, max_examples=60)
@given(st.text("0123456789", min_size=1, max_size=20), st.sampled_from([ENGLISH_DIGITS, FRENCH_DIGITS]))
def test_spelled_digits_are_read_back(digits: str, names: tuple[str, ...]) -> None:
    assert digits_of_words([names[int(digit)] for digit in digits]) == digits


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(max_size=8), max_size=12))
def test_any_words_are_read_without_failing(words: list[str]) -> None:
    assert digits_of_words(words).isdigit() or digits_of_words(words) == ""
