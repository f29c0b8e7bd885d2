"""Which words dictate a number, and from where to where, in both languages."""

from __future__ import annotations

import pytest

from stt_ft.text.inverse.said_digits import dictated_numbers, number_runs


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("order number [one two nine six eight zero three] please", "1296803"),
        ("call me at [double oh seven] now", "007"),
        ("it is [seven eighty eight] i think", "788"),
        ("call [twenty one sixty nine] please", "2169"),
        ("the code is [seven eighty-eight] ok", "788"),
        ("my phone is [four one five, five fifty five, oh one ninety nine] thanks", "4155550199"),
        ("the code is [a one b two c three] thanks", "123"),
        ("flight [u a seven eighty eight] to paris", "788"),
        ("mon numéro est le [zéro six douze trente quatre cinquante six soixante dix huit] merci", "0612345678"),
        ("appelez le [zéro six, quatre-vingt-dix, vingt et un] merci", "069021"),
        ("c'est le code [un double sept zéro] voilà", "1770"),
        ("call [06 12 34 56 78] please", "0612345678"),
        ("call [555-0199] please", "5550199"),
        ("the code is [A1B2C3] thanks", "123"),
    ],
)
def test_a_number_spans_the_words_that_say_it(text: str, number: str) -> None:
    """The brackets stand where the number begins and ends."""
    words = text.split()
    start, last = (next(at for at, word in enumerate(words) if bracket in word) for bracket in "[]")
    plain = [word.strip("[]") for word in words]
    assert number_runs(plain) == [(start, last + 1)]
    assert [one.digits for one in dictated_numbers(plain)] == [number]


@pytest.mark.parametrize(
    "text",
    [
        "i have one or two orders",
        "j'ai vingt et un ans",
        "two hundred pens",
        "deux cents stylos",
        "at half past ten",
        "à dix heures trente",
    ],
)
def test_amounts_times_and_small_numbers_are_none(text: str) -> None:
    assert number_runs(text.split()) == []


def test_numbers_with_words_between_them_are_two() -> None:
    assert number_runs(["four", "five", "six", "and", "then", "seven", "eight", "nine"]) == [(0, 3), (5, 8)]
