"""How French says amounts, years, times and fractions, against num2words and by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from num2words import num2words

from stt_ft.core.errors import TextError
from stt_ft.text.french import french, french_cardinals, french_ordinals, french_times, french_years


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**15))
def test_cardinals_hold_num2words_reading(number: int) -> None:
    assert tuple(num2words(number, lang="fr").replace("-", " ").split()) in french_cardinals(number, dialect="fr")


@pytest.mark.parametrize(
    ("hour", "minute", "way"),
    [(10, 30, "dix heures et demie"), (12, 0, "midi"), (1, 0, "une heure"), (21, 21, "vingt et une heures vingt et une")],
)
def test_times(hour: int, minute: int, way: str) -> None:
    assert tuple(way.split()) in french_times(hour, minute, "", dialect="fr")


def test_ordinals_and_years() -> None:
    assert french_ordinals(1, dialect="fr") == [("premier",), ("première",)]
    assert ("dix", "neuf", "cent", "quatre", "vingt", "seize") in french_years(1996, dialect="fr")


def test_unknown_dialect_is_refused() -> None:
    with pytest.raises(TextError, match="fr, be, ch"):
        french("qc")
