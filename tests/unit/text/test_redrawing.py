"""A prompt said anew: other digits, the same words around them, and what is said is what the numbers say."""

from __future__ import annotations

import random

import pytest

from stt_ft.core.errors import TextError
from stt_ft.text.digit_words import ENGLISH_DIGITS, FRENCH_DIGITS
from stt_ft.text.redrawing import Redrawn, holds_number, redraw


def anew(text: str, seed: int = 0, language: str = "en") -> Redrawn:
    return redraw(text, random.Random(seed), language=language, is_new=lambda digits: True)


def digits_said(words: tuple[str, ...], names: tuple[str, ...] = ENGLISH_DIGITS) -> str:
    """Read digit words back, independently of the product's own reader."""
    values = {name: str(value) for value, name in enumerate(names)} | {"oh": "0"}
    read, times = "", 1
    for word in words:
        times, read = (2, read) if word == "double" else (1, read + values[word] * times)
    return read


@pytest.mark.parametrize("number", ["3562049", "356 2049", "356 … 2049", "three five six … two oh four nine", "(356) 20-49"])
def test_a_number_in_any_form_becomes_another_of_about_its_length(number: str) -> None:
    for seed in range(50):
        redrawn = anew(f"my order number is {number}, thank you", seed)
        start, end = redrawn.prompt.number_span or (0, 0)
        assert redrawn.prompt.words[:start] == ("my", "order", "number", "is")
        assert redrawn.prompt.words[end:] == ("thank", "you")
        assert (digits_said(redrawn.prompt.words[start:end]),) == redrawn.numbers
        assert 6 <= len(redrawn.numbers[0]) <= 8
        assert redrawn.numbers[0] != "3562049"
        assert end in redrawn.prompt.breaks
        assert redrawn.asks_for_silence == ("…" in number)


def test_readings_vary() -> None:
    said = [" ".join(anew("the code is 100200300", seed).labels) for seed in range(100)]
    for word in ("zero", "oh", "double"):
        assert 5 < sum(word in text.split() for text in said) < 95


def test_every_number_of_a_prompt_is_drawn_and_pauses_lie_inside_each() -> None:
    redrawn = anew("it is 8915476, no wait, 0374956")
    (first,) = redrawn.prompt.other_numbers
    assert len(set(redrawn.numbers)) == 2
    for (start, end), digits in zip((redrawn.prompt.number_span or (0, 0), first), redrawn.numbers, strict=True):
        assert digits_said(redrawn.prompt.words[start:end]) == digits
        assert not redrawn.prompt.is_inside_number(start)
        assert redrawn.prompt.is_inside_number(start + 1)
        assert not redrawn.prompt.is_inside_number(end)


def test_labels_keep_the_scripts_capitals_and_marks_and_the_words_said_have_none() -> None:
    redrawn = anew("Yes, I have two boxes for order 5382106, can you check?")
    assert redrawn.labels[:7] == ("Yes,", "I", "have", "two", "boxes", "for", "order")
    assert redrawn.labels[-3:] == ("can", "you", "check?")
    assert redrawn.prompt.words[0] == "Yes"
    assert len(redrawn.labels) == len(redrawn.prompt.words)


@pytest.mark.parametrize("text", ["We need four more chairs", "no one came at seven", "it costs 1,250", "in 20 minutes", "oh hello"])
def test_quantities_are_no_dictated_numbers(text: str) -> None:
    assert not holds_number(text)
    assert anew(text, 0).prompt == anew(text, 1).prompt
    assert anew(text).prompt.kind == "ordinary"


def test_a_number_that_may_not_be_said_is_drawn_again_and_longer_where_none_is_left() -> None:
    used: set[str] = set()
    for seed in range(1100):
        (number,) = redraw("code 123", random.Random(seed), language="en", is_new=lambda digits: digits not in used).numbers
        used.add(number)
    assert len(used) == 1100


def test_french_numbers_are_said_in_french() -> None:
    redrawn = anew("mon numéro est le 06 80 46 91 32", language="fr")
    start, end = redrawn.prompt.number_span or (0, 0)
    assert digits_said(redrawn.prompt.words[start:end], FRENCH_DIGITS) == redrawn.numbers[0]


def test_a_language_whose_numbers_are_not_known_is_refused() -> None:
    with pytest.raises(TextError, match="language 'de'"):
        anew("Nummer 12345", language="de")
