"""How English and French say amounts, years, times and fractions, against num2words and by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from num2words import num2words

from stt_ft.core.errors import TextError
from stt_ft.text import languages


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**15))
def test_cardinals_hold_num2words_reading(number: int) -> None:
    assert tuple(num2words(number).replace(",", "").replace("-", " ").split()) in languages.english_cardinals(number)
    assert tuple(num2words(number, lang="fr").replace("-", " ").split()) in languages.french_cardinals(number, dialect="fr")


@pytest.mark.parametrize(
    ("number", "way"),
    [(105, "a hundred and five"), (1200, "twelve hundred"), (1234, "twelve hundred thirty four"), (105, "one hundred five")],
)
def test_cardinals_know_how_people_say_it(number: int, way: str) -> None:
    assert tuple(way.split()) in languages.english_cardinals(number)


@pytest.mark.parametrize(
    ("number", "first"),
    [
        (1996, "nineteen ninety six"),
        (1905, "nineteen oh five"),
        (1900, "nineteen hundred"),
        (2000, "two thousand"),
        (2005, "two thousand five"),
        (2024, "twenty twenty four"),
    ],
)
def test_years(number: int, first: str) -> None:
    assert " ".join(languages.english_years(number)[0]) == first


@pytest.mark.parametrize(
    ("hour", "minute", "half", "way"),
    [(10, 30, "", "half past ten"), (10, 5, "", "ten oh five"), (10, 0, "", "ten o'clock"), (9, 45, "pm", "quarter to ten p m")],
)
def test_times(hour: int, minute: int, half: str, way: str) -> None:
    assert tuple(way.split()) in languages.english_times(hour, minute, half)


@pytest.mark.parametrize(
    ("hour", "minute", "way"),
    [(10, 30, "dix heures et demie"), (12, 0, "midi"), (1, 0, "une heure"), (21, 21, "vingt et une heures vingt et une")],
)
def test_french_times(hour: int, minute: int, way: str) -> None:
    assert tuple(way.split()) in languages.french_times(hour, minute, "", dialect="fr")


@pytest.mark.parametrize(
    ("above", "below", "way"), [(1, 2, "a half"), (3, 4, "three quarters"), (2, 3, "two thirds"), (5, 7, "five over seven")]
)
def test_fractions(above: int, below: int, way: str) -> None:
    assert tuple(way.split()) in languages.english_fractions(above, below)


def test_french_ordinals_and_years() -> None:
    assert languages.french_ordinals(1, dialect="fr") == [("premier",), ("première",)]
    assert ("dix", "neuf", "cent", "quatre", "vingt", "seize") in languages.french_years(1996, dialect="fr")


def test_unknown_dialect_is_refused() -> None:
    with pytest.raises(TextError, match="fr, be, ch"):
        languages.french("qc")
