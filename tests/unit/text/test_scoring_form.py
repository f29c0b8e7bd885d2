"""The form in which transcripts are compared."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stt_ft.text.written_style import scoring_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("My order, it's READY.", ["my", "order", "it's", "ready"]),
        ("four-five — 1,296,803!", ["four", "five", "1296803"]),
        ("Don\u2019t pay 3,5 or 3.5%", ["don't", "pay", "3.5", "or", "3.5"]),
        ("555-1234", ["555", "1234"]),
        ("L'été à Noël", ["l'été", "à", "noël"]),
        ("'quoted' dogs'", ["quoted", "dogs"]),
        ("… — !", []),
    ],
)
def test_scoring_words(text: str, words: list[str]) -> None:
    assert scoring_words(text) == words


def test_number_words_and_glyphs_stay_different() -> None:
    assert scoring_words("one two nine") != scoring_words("129")


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=40))
def test_scoring_twice_is_scoring_once(text: str) -> None:
    assert scoring_words(" ".join(scoring_words(text))) == scoring_words(text)
