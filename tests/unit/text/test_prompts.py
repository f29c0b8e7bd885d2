"""Prompts: the digits said are the digits meant, and splits by digit string never meet."""

from __future__ import annotations

import random

import pytest

from stt_ft.text.digit_words import ENGLISH_DIGITS
from stt_ft.text.prompts import Manner, belongs_to, number_prompt, ordinary_prompt, pauses


def digits_said(words: tuple[str, ...]) -> str:
    """Read spoken digits back, independently of the product's own reader."""
    values = {name: str(value) for value, name in enumerate(ENGLISH_DIGITS)} | {"oh": "0"}
    read, times = "", 1
    for word in words:
        if word == "double":
            times = 2
        else:
            read, times = read + values[word] * times, 1
    return read


def test_number_words_say_the_digits() -> None:
    rng = random.Random(0)
    for _ in range(500):
        prompt = number_prompt(rng)
        assert prompt.number_span is not None
        start, end = prompt.number_span
        assert digits_said(prompt.words[start:end]) == prompt.digits
        assert 3 <= len(prompt.digits) <= 10
        assert prompt.digits in prompt.written.split()
        assert all(0 < index < len(prompt.words) for index in prompt.breaks)


def test_shares_of_digit_strings_are_disjoint_and_about_equal() -> None:
    counts = [0] * 5
    for value in range(3000):
        shares = [share for share in range(5) if belongs_to(f"{value:06d}", (share,))]
        assert len(shares) == 1
        counts[shares[0]] += 1
    assert min(counts) > 500


def test_refused_digit_strings_are_not_dictated() -> None:
    rng = random.Random(1)
    assert all(belongs_to(number_prompt(rng, allowed=lambda digits: belongs_to(digits, (4,))).digits, (4,)) for _ in range(50))


def test_ordinary_sentences_hold_no_long_number() -> None:
    rng = random.Random(2)
    numbers = set(ENGLISH_DIGITS) | {"ten", "twelve", "fifteen", "twenty", "thirty", "forty", "sixty"}
    for _ in range(300):
        prompt = ordinary_prompt(rng)
        run = longest = 0
        for word in prompt.words:
            run = run + 1 if word in numbers else 0
            longest = max(longest, run)
        assert longest <= 2, prompt.text


@pytest.mark.parametrize("manner", Manner)
def test_pauses_are_at_most_a_second_and_a_half(manner: Manner) -> None:
    rng = random.Random(3)
    drawn = [pause for _ in range(300) for pause in pauses(rng, number_prompt(rng), manner).values()]
    assert len(drawn) > 100
    assert min(drawn) > 0
    assert max(drawn) <= 1.5


def test_pauses_of_sentences_are_as_often_and_as_long_as_asked() -> None:
    rng = random.Random(4)
    drawn = [ordinary_prompt(rng) for _ in range(400)]
    breaks = sum(len(prompt.breaks) for prompt in drawn)
    silences_s = [
        silence_s
        for prompt in drawn
        for silence_s in pauses(rng, prompt, Manner.NATURAL, sentence_pause_prob=0.8, max_sentence_pause_s=0.9).values()
    ]
    assert abs(len(silences_s) / breaks - 0.8) < 0.06
    assert 0.7 < max(silences_s) <= 0.9


def test_sentences_hold_every_digit_as_a_word() -> None:
    rng = random.Random(5)
    words = {word for _ in range(3000) for word in ordinary_prompt(rng).words}
    assert {"zero", "oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "double"} <= words
