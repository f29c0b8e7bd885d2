"""How English says amounts, years, times and fractions, against num2words and by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from num2words import num2words

from stt_ft.text.english import english_cardinals, english_fractions, english_times, english_years


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**15))
def test_cardinals_hold_num2words_reading(number: int) -> None:
    assert tuple(num2words(number).replace(",", "").replace("-", " ").split()) in english_cardinals(number)


@pytest.mark.parametrize(
    ("number", "way"),
    [(105, "a hundred and five"), (1200, "twelve hundred"), (1234, "twelve hundred thirty four"), (105, "one hundred five")],
)
def test_cardinals_know_how_people_say_it(number: int, way: str) -> None:
    assert tuple(way.split()) in english_cardinals(number)


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
    assert " ".join(english_years(number)[0]) == first


@pytest.mark.parametrize(
    ("hour", "minute", "half", "way"),
    [(10, 30, "", "half past ten"), (10, 5, "", "ten oh five"), (10, 0, "", "ten o'clock"), (9, 45, "pm", "quarter to ten p m")],
)
def test_times(hour: int, minute: int, half: str, way: str) -> None:
    assert tuple(way.split()) in english_times(hour, minute, half)


@pytest.mark.parametrize(
    ("above", "below", "way"), [(1, 2, "a half"), (3, 4, "three quarters"), (2, 3, "two thirds"), (5, 7, "five over seven")]
)
def test_fractions(above: int, below: int, way: str) -> None:
    assert tuple(way.split()) in english_fractions(above, below)
